"""Questions to the model with its facts: ask, chat and explain."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revisor.commands.common import (
    DEFAULT_STORE,
    AsOfOption,
    JsonOption,
    NamespaceOption,
    StoreOption,
    moment_of,
    note,
    note_unknown_namespaces,
    open_store,
    output,
    print_json,
    say,
    table,
    turn_json_on,
    visible,
)
from revisor.errors import BadInput, UsageError
from revisor.operations.cases import Case, read_cases, read_prompts

if TYPE_CHECKING:
    from datetime import datetime

    from revisor.engines.answers import Answer, Engine, FactUsed
    from revisor.store import Store

BATCH = 64
_SHOWN_FIRST = ("id", "subject", "object")
PromptArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="PROMPT",
        help="A text for the model to continue; with --chat a question.",
        show_default=False,
    ),
]
MaxTokensOption = Annotated[
    int, typer.Option("--max-tokens", min=1, metavar="N", help="Longest answer.")
]
CHAT_HELP = "Commands: :facts on, :facts off, :why (which facts made the last answer), :quit"


def ask(
    ctx: typer.Context,
    prompt: PromptArgument = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="PROMPTS",
            help="Answer each line of this file; of a .jsonl file each record's `prompt`. One JSON "
            "object a line.",
        ),
    ] = None,
    why: Annotated[
        bool,
        typer.Option(
            "--why",
            help="Also say which facts were used, what was read as their question and how surely, "
            "and what the model says without them.",
        ),
    ] = False,
    base: Annotated[bool, typer.Option("--base", help="Ask the model without the facts.")] = False,
    chat: Annotated[
        bool, typer.Option("--chat", help="Ask the prompt as a question, in the chat template.")
    ] = False,
    max_tokens: MaxTokensOption = 24,
    namespace: NamespaceOption = None,
    as_of: AsOfOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Have the model continue a prompt with the facts that are live."""
    if file is not None:
        turn_json_on(ctx)
    _given(prompt, file, "ask")
    prompts = iter([prompt or ""] if file is None else read_prompts(file))
    moment = moment_of(as_of)
    with open_store(store) as opened:
        note_unknown_namespaces(opened, namespace)
        engine = _engine(opened, namespace, moment)
        while batch := list(islice(prompts, BATCH)):
            answers = engine.generate(batch, max_tokens=max_tokens, facts=not base, chat=chat)
            bases: list[Answer] | list[None] = [None] * len(batch)
            if why:
                bases = engine.generate(batch, max_tokens=max_tokens, facts=False, chat=chat)
            for answer, unedited in zip(answers, bases, strict=True):
                reason = None
                if why and not base:
                    reason = _why_none(
                        opened, answer, chat=chat, namespaces=namespace or None, moment=moment
                    )
                if as_json or file is not None:
                    print_json(_answer_json(answer, unedited, reason))
                else:
                    _say_answer(answer, unedited, reason, chat=chat)


def _given(prompt: str | None, file: Path | None, command: str) -> None:
    """Whether there is either a prompt or a file of them."""
    if (prompt is None) == (file is None):
        raise UsageError(
            "Give either a PROMPT or --file PROMPTS.",
            f'For example: revisor {command} "The CEO of X is"',
        )


def _engine(store: Store, namespace: list[str] | None, moment: datetime | None) -> Engine:
    """The engine of a store; says on standard error what its answers do not know yet."""
    engine: Engine = store.engine(namespaces=namespace or None, moment=moment)
    if store.settings.method == "neuraldb" and store.stale():
        note("Facts have changed since the last build. Run: revisor build", style="yellow")
    return engine


def _why_none(
    store: Store,
    answer: Answer,
    messages: Sequence[Mapping[str, str]] | None = None,
    **options: Any,
) -> str | None:
    """Why an answer, to messages or to its prompt, used no fact; None if it did, or if its method
    has no reasons. The options are those of `Store.explain`."""
    if answer.facts_used or store.settings.method != "revisor":
        return None
    from revisor.operations.why import why_not

    return why_not(store.explain(messages or answer.prompt, **options))


def _answer_json(answer: Answer, base: Answer | None, reason: str | None) -> dict[str, Any]:
    result: dict[str, Any] = {"prompt": answer.prompt, "answer": answer.answer}
    if base is not None:
        result |= {"base_answer": base.answer, "why_not": reason}
    return result | {"facts_used": [asdict(used) for used in answer.facts_used]}


def _say_answer(answer: Answer, base: Answer | None, reason: str | None, *, chat: bool) -> None:
    say(answer.answer)
    if not answer.answer:
        hint = "" if chat else "; --chat asks it as a question"
        note(f"(the model ends the text at once{hint})")
    if base is None:
        return
    say("")
    say(f"without the facts: {base.answer or '(the model ends the text at once)'}")
    say_why(answer.facts_used, reason)


def say_why(used: tuple[FactUsed, ...], reason: str | None) -> None:
    """The facts that were used, or why none was, for people."""
    if not used:
        say("no fact was used: the answer is the model's own")
        if reason is not None:
            say(reason)
        return
    names = [field.name for field in fields(used[0]) if field.name not in _SHOWN_FIRST]
    if not any(getattr(fact, "via", ()) for fact in used):
        names = [name for name in names if name != "via"]
    listing = table("fact", "id", *names, right=[n for n in names if n not in ("question", "via")])
    for fact in used:
        shown = [_told(getattr(fact, name)) for name in names]
        listing.add_row(f"{fact.subject}: {fact.object}", fact.id, *shown)
    output().print(listing)


def _told(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def explain(
    prompt: PromptArgument = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="PROMPTS",
            help="Explain each line of this file; of a .jsonl file each record's `prompt`, with "
            "`chat` and `namespace` as a server's console keeps them.",
        ),
    ] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="As a user's question, in the chat template.")
    ] = False,
    text_only: Annotated[
        bool,
        typer.Option(
            "--text-only",
            help="Do not run the model: leave open whether its logits say that an answer is due.",
        ),
    ] = False,
    namespace: NamespaceOption = None,
    as_of: AsOfOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show what is decided at the end of a prompt, and why: names, questions, facts, scores.

    Where no fact is written the first line says why, and the second what helps. One may still be
    written further on in the answer, which `revisor ask --why` tells.
    """
    from revisor.commands.explaining import explanation_json, say_explanation

    _given(prompt, file, "explain")
    cases = [Case(line=1, prompt=prompt or "")] if file is None else _cases(file)
    if not all(one.prompt.strip() for one in cases):
        raise UsageError("The prompt is empty.", "Write something to be looked at.")
    moment = moment_of(as_of)
    with open_store(store) as opened:
        note_unknown_namespaces(opened, namespace)
        told = []
        for one in cases:
            found = opened.explain(
                one.prompt,
                chat=chat or one.chat,
                needs_model=not text_only,
                namespaces=[one.namespace] if one.namespace else namespace or None,
                moment=moment,
            )
            if as_json:
                told.append(explanation_json(found, opened))
                continue
            if file is not None:
                say(one.prompt, style="bold")
            say_explanation(found, opened)
            if file is not None:
                say("")
    if as_json:
        print_json(told[0] if file is None else {"results": told})


def _cases(file: Path) -> list[Case]:
    """What a file has to be explained: records of a `.jsonl` file, or lines."""
    if file.suffix.lower() == ".jsonl":
        return read_cases(file, needs_fact=False)
    return [Case(line=1, prompt=prompt) for prompt in read_prompts(file)]


def chat(
    max_tokens: MaxTokensOption = 256,
    namespace: NamespaceOption = None,
    as_of: AsOfOption = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Talk to the model with its facts.

    `:facts off` asks the model as it was, which still reads what was said so far; `:why` shows
    which facts made the last answer. Questions may also come through a pipe, one a line.
    """
    moment = moment_of(as_of)
    with open_store(store) as opened:
        note_unknown_namespaces(opened, namespace)
        engine = _engine(opened, namespace, moment)
        if sys.stdin.isatty():
            note(f"{opened.settings.model}. {CHAT_HELP}")
        chosen = {"namespaces": namespace or None, "moment": moment}
        _Conversation(opened, engine, max_tokens, chosen).run()


class _Conversation:
    """One chat: the turns so far, and whether the facts are on and were in the last answer."""

    def __init__(
        self, store: Store, engine: Engine, max_tokens: int, chosen: Mapping[str, Any]
    ) -> None:
        self.store = store
        self.engine = engine
        self.max_tokens = max_tokens
        self.chosen = chosen
        self.facts = True
        self.turns: list[dict[str, str]] = []
        self.last: Answer | None = None
        self.last_facts = True

    def run(self) -> None:
        for line in _typed():
            if line == ":quit":
                return
            if line.startswith(":"):
                self.command(line)
            elif line:
                self.answer(line)

    def command(self, line: str) -> None:
        if line in (":facts on", ":facts off"):
            self.facts = line.endswith("on")
            say(f"facts {'on' if self.facts else 'off'}", style="dim")
        elif line == ":why":
            if self.last is None:
                say("nothing was asked yet", style="dim")
            else:
                reason = None
                if self.last_facts:
                    reason = _why_none(self.store, self.last, self.turns[:-1], **self.chosen)
                say_why(self.last.facts_used, reason)
        else:
            say(CHAT_HELP, style="dim")

    def answer(self, question: str) -> None:
        self.turns.append({"role": "user", "content": question})
        for piece in self.engine.stream(self.turns, max_tokens=self.max_tokens, facts=self.facts):
            sys.stdout.write(visible(piece))
            sys.stdout.flush()
        sys.stdout.write("\n")
        sys.stdout.flush()
        self.last, self.last_facts = self.engine.last, self.facts
        said = self.last.answer if self.last else ""
        self.turns.append({"role": "assistant", "content": said})


def _typed() -> Iterator[str]:
    """The lines that the user types, or that come through a pipe."""
    if not sys.stdin.isatty():
        try:
            for line in sys.stdin:
                line.encode()  # where the locale is C, wrong bytes come as half characters
                yield line.strip()
        except UnicodeError as error:
            raise BadInput("The input is not UTF-8 text.", "Send it in UTF-8.") from error
        return
    import readline  # noqa: F401  (arrow keys and history while typing)

    from rich.prompt import Prompt

    while True:
        try:
            yield Prompt.ask("[bold cyan]you[/bold cyan]", console=output()).strip()
        except EOFError:
            say("")
            return

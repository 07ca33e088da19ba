"""Questions to the model with its facts: ask and chat.

What comes in: prompts. What goes out: answers, and on request which facts made them. What it
does not do: run the model (serve/engine.py does).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revisor.commands.common import (
    DEFAULT_STORE,
    JsonOption,
    StoreOption,
    note,
    open_store,
    output,
    plural,
    print_json,
    say,
    table,
    turn_json_on,
)
from revisor.errors import BadInput, NotFound, UsageError

if TYPE_CHECKING:
    from revisor.serve.engine import Answer, Engine, FactUsed
    from revisor.store import Store

BATCH = 64
CHAT_HELP = "Commands: :facts on, :facts off, :why (which facts made the last answer), :quit"


def ask(
    ctx: typer.Context,
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT", help="A text for the model to continue.", show_default=False
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            metavar="PROMPTS",
            help="Answer each line of this file, one JSON object a line.",
        ),
    ] = None,
    why: Annotated[
        bool,
        typer.Option(
            "--why",
            help="Also say which facts fired, at which token and how surely, "
            "and what the model says without them.",
        ),
    ] = False,
    base: Annotated[bool, typer.Option("--base", help="Ask the model without the facts.")] = False,
    chat: Annotated[
        bool, typer.Option("--chat", help="Ask the prompt as a question, in the chat template.")
    ] = False,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, metavar="N", help="Longest answer.")
    ] = 24,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Have the model continue a prompt with the facts of the last build.

    For example: `revisor ask "The CEO of ACME is" --why`
    """
    if file is not None:
        turn_json_on(ctx)
    if (prompt is None) == (file is None):
        raise UsageError(
            "Give either a PROMPT or --file PROMPTS.", 'For example: revisor ask "The CEO of X is"'
        )
    prompts = iter(_lines(file) if file is not None else [prompt or ""])
    with open_store(store) as opened:
        engine = _engine(opened)
        while batch := list(islice(prompts, BATCH)):
            answers = engine.generate(batch, max_tokens=max_tokens, facts=not base, chat=chat)
            bases: list[Answer] | list[None] = [None] * len(batch)
            if why:
                bases = engine.generate(batch, max_tokens=max_tokens, facts=False, chat=chat)
            for answer, unedited in zip(answers, bases, strict=True):
                if as_json or file is not None:
                    print_json(_answer_json(answer, unedited))
                else:
                    _say_answer(engine, answer, unedited, chat=chat)


def _lines(file: Path) -> list[str]:
    """The prompts of a file: its lines that are not blank."""
    try:
        with file.open(encoding="utf-8-sig") as stream:
            return [line.rstrip("\r\n") for line in stream if line.strip()]
    except OSError as error:
        raise NotFound(f"Cannot read {file}: {error.strerror}.", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{file} is not UTF-8 text.", "Save it as UTF-8.") from error


def _engine(store: Store) -> Engine:
    """The engine on the last build; says on standard error what is not built yet.

    Raises:
        NotBuilt: there was no build.
    """
    engine = store.engine()
    built = engine.view.generation
    if built != store.ledger.generation:
        put, removed = store.ledger.changed_since(built)
        count = len(put) + len(removed)
        note(
            f"{plural(count, 'change')} {'is' if count == 1 else 'are'} not built yet; "
            f"answers are from generation {built}. Run: revisor build",
            style="yellow",
        )
    return engine


def _answer_json(answer: Answer, base: Answer | None) -> dict[str, Any]:
    from dataclasses import asdict

    result: dict[str, Any] = {"prompt": answer.prompt, "answer": answer.answer}
    if base is not None:
        result["base_answer"] = base.answer
    return result | {"facts_used": [asdict(used) for used in answer.facts_used]}


def _say_answer(engine: Engine, answer: Answer, base: Answer | None, *, chat: bool) -> None:
    say(answer.answer)
    if not answer.answer:
        hint = "" if chat else "; --chat asks it as a question"
        note(f"(the model ends the text at once{hint})")
    if base is None:
        return
    say("")
    say(f"without the facts: {base.answer}")
    prompt = None if chat else answer.prompt
    say_why(answer.facts_used, _tokens(engine, prompt))


def _tokens(engine: Engine, prompt: str | None) -> list[str]:
    """The tokens of a plain prompt as text, to name the places where facts fired."""
    if prompt is None:
        return []
    tokenizer = engine.loaded.tokenizer
    return [str(tokenizer.decode([token])) for token in tokenizer(prompt)["input_ids"]]


def say_why(used: tuple[FactUsed, ...], tokens: list[str]) -> None:
    """The facts that fired, for people."""
    if not used:
        say("no fact fired: the answer is the model's own")
        return
    listing = table(
        "fact", "id", "fired at", "cosine", "threshold", "margin",
        right=["cosine", "threshold", "margin"],
    )  # fmt: skip
    for fact in used:
        at = f"token {fact.position}"
        if fact.position < len(tokens):
            at += f" '{tokens[fact.position].strip()}'"
        numbers = (fact.cosine, fact.threshold, fact.cosine - fact.threshold)
        shown = [f"{number:.3f}" for number in numbers]
        listing.add_row(f"{fact.subject}: {fact.object}", fact.id, at, *shown)
    output().print(listing)


def chat(
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, metavar="N", help="Longest answer.")
    ] = 256,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Talk to the model with its facts.

    `:facts off` asks the model as it was, `:why` shows which facts made the
    last answer. Questions may also come through a pipe, one a line.
    """
    with open_store(store) as opened:
        engine = _engine(opened)
        if sys.stdin.isatty():
            note(f"{opened.settings.model}. {CHAT_HELP}")
        _Conversation(engine, max_tokens).run()


class _Conversation:
    """One chat: the turns so far, and whether the facts are on."""

    def __init__(self, engine: Engine, max_tokens: int) -> None:
        self.engine = engine
        self.max_tokens = max_tokens
        self.facts = True
        self.turns: list[dict[str, str]] = []
        self.last: Answer | None = None

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
                say_why(self.last.facts_used, [])
        else:
            say(CHAT_HELP, style="dim")

    def answer(self, question: str) -> None:
        self.turns.append({"role": "user", "content": question})
        for piece in self.engine.stream(self.turns, max_tokens=self.max_tokens, facts=self.facts):
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")
        sys.stdout.flush()
        self.last = self.engine.last
        said = self.last.answer if self.last else ""
        self.turns.append({"role": "assistant", "content": said})


def _typed() -> Iterator[str]:
    """The lines that the user types, or that come through a pipe."""
    if not sys.stdin.isatty():
        for line in sys.stdin:
            yield line.strip()
        return
    import readline  # noqa: F401  (arrow keys and history while typing)

    from rich.prompt import Prompt

    while True:
        try:
            yield Prompt.ask("[bold cyan]you[/bold cyan]", console=output()).strip()
        except EOFError:
            say("")
            return

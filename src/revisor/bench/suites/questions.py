"""Questions as people put them: is the fact that is asked for said, and no other?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import groupby
from typing import Any

from jinja2 import TemplateError

from revisor.bench.asking import SLACK, Bench, ask
from revisor.bench.cases import Case, Plan, Probe
from revisor.bench.datasets import Source
from revisor.bench.deciding import DEFAULT, encoder_named, indexed, judged, misses, relations
from revisor.bench.metrics import begins_with, contains
from revisor.bench.protocol import Editor, Scoped
from revisor.bench.questions import Message, Render, plan_questions
from revisor.bench.suites.base import Sizes, Suite, chosen
from revisor.bench.unedited import UNEDITED

BEYOND = 8  # tokens in which another object may begin


class Questions(Suite):
    """Every text is asked as it is; what counts is what is said, strictly.

    A text that asks for a fact is answered if the answer begins with its object; one that asks for
    none, if the answer has no object of the facts that it could mean.
    """

    name = "questions"

    def plan(self, source: Source, sizes: Sizes, tokenizer: Any) -> Plan:
        is_own = source.own or bool(source.built)
        own = chosen(source, "", sizes)[0].items if is_own else None
        plan = plan_questions(
            source, rendering(tokenizer), n=sizes.n, edits=sizes.edits, seed=sizes.seed, own=own
        )
        return replace(plan, probes=tuple(_with_budget(one, tokenizer) for one in plan.probes))

    def measure(
        self,
        bench: Bench,
        editor: Editor,
        probes: Sequence[Probe],
        base: Mapping[str, Case],
        on_done: Callable[[int], None] | None = None,
    ) -> list[Case]:
        cases = []
        for within, group in groupby(probes, key=lambda one: one.extra["within"]):
            some = list(group)
            with _only(editor, within):
                said = ask(bench, editor, some, base, on_done=on_done)
            cases += [_judged(probe, case) for probe, case in zip(some, said, strict=True)]
        return cases

    def tell(
        self,
        plan: Plan,
        cases: Mapping[str, Sequence[Case]],
        options: Mapping[str, Mapping[str, Any]],
    ) -> dict[str, Any]:
        """Which data sets the encoder has seen, and the texts that were not answered rightly."""
        encoder = encoder_named(str(options.get("revisor", {}).get("encoder", DEFAULT)))
        with indexed(plan.facts) as index:
            missed = {
                method: misses(plan.probes, found, index, encoder)
                for method, found in cases.items()
                if method != UNEDITED
            }
        return {"relations": relations(plan, encoder), "misses": missed}


def _only(editor: Editor, namespace: str | None) -> AbstractContextManager[None]:
    """Restrict the editor, if it can, to facts of a namespace for the length of a block."""
    if namespace is None or not isinstance(editor, Scoped):
        return nullcontext()
    return editor.within([namespace])


def rendering(tokenizer: Any) -> Render:
    """How a model's chat template writes a chat. What the tokenizer adds itself is left out."""
    adds = bool(tokenizer("")["input_ids"])

    def render(messages: Sequence[Message]) -> str | None:
        if not getattr(tokenizer, "chat_template", None):
            return None
        try:
            text = tokenizer.apply_chat_template(
                [dict(one) for one in messages], tokenize=False, add_generation_prompt=True
            )
        except TemplateError:  # some have no place for a system prompt
            return None
        return str(text).removeprefix(tokenizer.bos_token or "") if adds else str(text)

    return render


def _with_budget(probe: Probe, tokenizer: Any) -> Probe:
    """A probe with room for the whole of any object."""
    wanted, others = probe.extra["wanted"], probe.extra["others"]
    texts = [*others, *([] if wanted is None else [wanted])]
    sizes = [len(tokenizer(f" {one}", add_special_tokens=False)["input_ids"]) for one in texts]
    return replace(probe, budget=max(sizes, default=0) + (BEYOND if wanted is None else SLACK))


def _judged(probe: Probe, case: Case) -> Case:
    wanted = probe.extra["wanted"]
    right = wanted is not None and begins_with(case.answer, [wanted])
    wrong = not right and contains(case.answer, probe.extra["others"])
    return replace(case, values=judged(probe, right=right, wrong=wrong))

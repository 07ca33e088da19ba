"""Ask probes of a model, in batches, and make cases of what it says.

loose   as the papers do: the right object is more probable than its rival, the mean
        log-probability a token compared (Meng et al. 2022); without a rival, the share of its
        tokens that are the most probable (Mitchell et al. 2022). Kept: the same next token.
strict  greedy decoding until a natural stop begins with, or equals, an accepted object.
        Kept: the same answer, to its natural stop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from revisor.bench.cases import Case, Probe
from revisor.bench.completing import Completer, Completion
from revisor.bench.metrics import (
    begins_with,
    contains,
    first_line,
    ngram_entropy,
    normalised,
    tfidf_similarity,
    token_accuracy,
)
from revisor.bench.protocol import Editor
from revisor.models.load import LoadedModel
from revisor.neuraldb.editing.request import Context, asked_context
from revisor.neuraldb.editing.score import Score, score_targets

SLACK = 3  # tokens beyond the longest accepted object: to see whether its last word ends there
KEPT = 8  # tokens of an answer that is only compared with another answer
OPEN = 100  # tokens of free text, as in Meng et al. 2022
CHAT = 32  # tokens of an answer in the chat template, which may be a whole sentence
SHOWN = 200  # characters of an answer that are kept


@dataclass(kw_only=True)
class Bench:
    """What all suites measure on; `idf` are word frequencies for consistency, empty without
    reference texts."""

    loaded: LoadedModel
    seed: int = 0
    idf: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.completer = Completer(self.loaded)


def ask(
    bench: Bench,
    editor: Editor,
    probes: Sequence[Probe],
    base: Mapping[str, Case],
    *,
    on_done: Callable[[int], None] | None = None,
) -> list[Case]:
    """The cases of some probes, in their order; the editor must be attached. `base` has, by probe
    id, what the unedited model said, and is empty while that is measured."""
    closed = [probe for probe in probes if probe.kind != "open"]
    cases = dict(zip((p.id for p in closed), _ask_closed(bench, editor, closed, base), strict=True))
    opened = [probe for probe in probes if probe.kind == "open"]
    cases |= zip((p.id for p in opened), _ask_open(bench, editor, opened), strict=True)
    if on_done:
        on_done(len(probes))
    return [cases[probe.id] for probe in probes]


def _ask_closed(
    bench: Bench, editor: Editor, probes: Sequence[Probe], base: Mapping[str, Case]
) -> list[Case]:
    wanted = [_context(bench, editor, probe, probe.wanted[:1]) for probe in probes]
    other = [
        _context(bench, editor, probe, (probe.other,) if probe.other else ()) for probe in probes
    ]
    scores: dict[tuple[int, int], Score] = {}

    def look_at(part: Sequence[int], logits_BV: torch.Tensor) -> None:
        """Score targets of one token by these logits, which need no pass of their own."""
        nll_BV = -logits_BV.float().log_softmax(-1)
        said_B = logits_BV.argmax(-1).tolist()
        for row, index in enumerate(part):
            for side, context in enumerate((wanted[index], other[index])):
                if len(context.target) == 1:
                    scores[index, side] = Score(
                        nll=float(nll_BV[row, context.target[0]]),
                        greedy=said_B[row] == context.target[0],
                        said=(said_B[row],),
                    )

    budgets = [_budget(bench, probe) for probe in probes]
    completions = bench.completer.complete(
        [context.ids for context in wanted], budgets, look_at=look_at
    )
    longer = {
        (index, side): context
        for index, sides in enumerate(zip(wanted, other, strict=True))
        for side, context in enumerate(sides)
        if len(context.target) > 1
    }
    scored = score_targets(bench.loaded, list(longer.values()))
    scores |= zip(longer, scored, strict=True)
    return [
        _judge(
            editor.name,
            probe,
            wanted[index].target,
            scores.get((index, 0)),
            scores.get((index, 1)),
            completions[index],
            base.get(probe.id),
        )
        for index, probe in enumerate(probes)
    ]


def _context(bench: Bench, editor: Editor, probe: Probe, target: Sequence[str]) -> Context:
    asked = editor.reword(probe.prompt, probe.fact)
    text = target[0] if target else ""
    return asked_context(bench.loaded.tokenizer, asked, text, chat=probe.chat)


def _budget(bench: Bench, probe: Probe) -> int:
    if probe.budget:
        return probe.budget
    tokenizer = bench.loaded.tokenizer
    longest = max(
        (
            len(tokenizer(f" {text}", add_special_tokens=False)["input_ids"])
            for text in probe.wanted
        ),
        default=0,
    )
    keeps = probe.kind in ("keeps", "holds")
    return max(longest + SLACK, KEPT if keeps else 0, CHAT if probe.chat else 0)


def _judge(
    method: str,
    probe: Probe,
    target: Sequence[int],
    right: Score | None,
    rival: Score | None,
    completion: Completion,
    before: Case | None,
) -> Case:
    answer = first_line(completion.text)[:SHOWN]
    first = completion.ids[0] if completion.ids else -1
    values: dict[str, float] = {}
    name = probe.score
    if right is not None:
        loose = right.nll < rival.nll if rival else token_accuracy(right.said, target)
        strict = begins_with(answer, probe.wanted)
        if probe.kind == "denies":
            loose = not loose if rival else 1.0 - loose
            strict = not strict
        values |= {name: float(loose), f"{name}_strict": float(strict)}
        if probe.chat and probe.kind == "says":
            values[f"{name}_said"] = float(contains(answer, probe.wanted))
    if probe.kind in ("keeps", "holds"):
        kept = name if probe.kind == "keeps" else f"{name}_kept"
        same = before is None or normalised(answer) == normalised(before.answer)
        values |= {
            kept: float(before is None or first == before.first),
            f"{kept}_strict": float(same),
        }
        if also := probe.extra.get("also"):
            values |= {str(also): values[kept], f"{also}_strict": values[f"{kept}_strict"]}
    return Case(
        method=method,
        probe=probe.id,
        case=probe.case,
        values=values,
        answer=answer,
        first=first,
    )


def _ask_open(bench: Bench, editor: Editor, probes: Sequence[Probe]) -> list[Case]:
    prompts = [_context(bench, editor, probe, ()).ids for probe in probes]
    completions = bench.completer.complete(
        prompts, [OPEN] * len(prompts), by_line=False, sample_seed=bench.seed
    )
    cases = []
    for probe, said in zip(probes, completions, strict=True):
        values = {"fluency": ngram_entropy(said.text)}
        reference = str(probe.extra.get("reference", ""))
        if reference and bench.idf:
            values["consistency"] = tfidf_similarity(said.text, reference, bench.idf)
        cases.append(
            Case(
                method=editor.name,
                probe=probe.id,
                case=probe.case,
                values=values,
                answer=said.text[:SHOWN],
            )
        )
    return cases

"""The suite `questions` by the text alone: what the gate would write where an answer is due.

No model is asked, and none is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from revisor.bench.cases import Case, Plan, Probe
from revisor.bench.datasets import Source, read_items
from revisor.bench.questions import NATURAL, OWN, SETS, chatml, plan_questions
from revisor.bench.summary import DIGITS, entry, means
from revisor.config import SENTENCE_ENCODER, sentence_encoder
from revisor.errors import NotSupported
from revisor.facts.changes import Put
from revisor.facts.fact import Fact
from revisor.facts.ledger import Ledger
from revisor.gate.choice import Candidate, Decision, chosen
from revisor.gate.decide import candidates, window
from revisor.gate.encoders import open_encoder
from revisor.gate.explained import explained
from revisor.gate.scope import NORMAL, THRESHOLDS
from revisor.gate.state import asked_at
from revisor.index import FactIndex, View
from revisor.language.names import Mention, mentions
from revisor.question.encoder import QuestionEncoder, encoder_from

TEXT = "text"  # as the name of a method
DEFAULT = "default"
STEPS = 40  # of the thresholds between 0 and 1 that are compared
COMPARED = (0.001, 0.01, *(step / STEPS for step in range(1, STEPS)), 0.99, 0.999)


def encoder_named(name: str) -> QuestionEncoder:
    """The encoder in a file, or the one that a store's setting `encoder` names ("default");
    ModelUnavailable or NotSupported if it cannot be used."""
    if name == DEFAULT or name.startswith(SENTENCE_ENCODER):
        return open_encoder(sentence_encoder(name))
    try:
        return encoder_from(Path(name))
    except (OSError, ValueError) as error:
        raise NotSupported(
            f"No question encoder can be read from {name} ({error}).",
            "Take the one that is shipped, or a file of tools/train_question_encoder.py.",
        ) from error


def by_text(
    source: Source,
    encoder: QuestionEncoder,
    *,
    n: int | None = None,
    edits: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The suite's result by the text alone, as of `runner.evaluate`; see `plan_questions`."""
    own = None if source.data is None else read_items(source.data).items
    plan = plan_questions(source, chatml, n=n, edits=edits, seed=seed, own=own)
    with indexed(plan.facts) as index:
        found = [candidates(*_read(probe, index), encoder) for probe in plan.probes]
        cases = [
            judged_case(probe, chosen(some, NORMAL))
            for probe, some in zip(plan.probes, found, strict=True)
        ]
        missed = misses(plan.probes, cases, index, encoder)
    return {
        "suite": "questions",
        "n": plan.n,
        "edits": len(plan.facts),
        "model": "the text alone",
        "seed": seed,
        "dropped": dict(plan.dropped),
        "methods": {TEXT: entry(means(cases, {}, seed=seed), {})},
        "relations": relations(plan, encoder),
        "thresholds": by_threshold(plan.probes, found, seed=seed),
        "misses": {TEXT: missed},
    }


def by_threshold(
    probes: Sequence[Probe], found: Sequence[Sequence[Candidate]], *, seed: int
) -> list[dict[str, Any]]:
    """The scores of each kind of text at every threshold, in rising order; `setting` is the
    strictness that has this threshold, with intervals, or None."""
    names = {value: name for name, value in THRESHOLDS.items()}
    told = []
    for threshold in sorted({*COMPARED, *names}):
        cases = []
        for probe, some in zip(probes, found, strict=True):
            case = judged_case(probe, chosen(some, threshold))
            cases.append(replace(case, values={probe.score: case.values[probe.score]}))
        setting = names.get(threshold)
        scores = entry(means(cases, {}, seed=seed), {}) if setting else _plain_means(cases)
        told.append({"threshold": threshold, "setting": setting, **scores})
    return told


def _plain_means(cases: Sequence[Case]) -> dict[str, float]:
    """Every score's mean over its cases, as `means` without the intervals."""
    by_case: dict[tuple[str, str], list[float]] = {}
    for case in cases:
        for name, value in case.values.items():
            by_case.setdefault((name, case.case), []).append(value)
    by_score: dict[str, list[float]] = {}
    for (name, _), values in by_case.items():
        by_score.setdefault(name, []).append(fmean(values))
    return {name: round(fmean(values), DIGITS) for name, values in by_score.items()}


@contextmanager
def indexed(facts: Sequence[Fact]) -> Iterator[FactIndex]:
    """An index of facts, in memory, over a ledger that goes with it."""
    with (
        TemporaryDirectory(prefix="revisor-eval-") as folder,
        Ledger.open(Path(folder) / "ledger.sqlite", create=True) as ledger,
    ):
        ledger.apply(map(Put, facts), actor="eval", reason="measured")
        with FactIndex.open(ledger) as index:
            yield index


def decided(
    probe: Probe, index: FactIndex, encoder: QuestionEncoder, threshold: float = NORMAL
) -> Case:
    """The decision where a probe's text ends, as a case."""
    return judged_case(probe, chosen(candidates(*_read(probe, index), encoder), threshold))


def judged_case(probe: Probe, found: Decision | None) -> Case:
    """A decision where a probe's text ends, as a case."""
    said = "" if found is None else found.fact.object
    right = found is not None and said == probe.extra["wanted"]
    values = judged(probe, right=right, wrong=found is not None and not right)
    return Case(method=TEXT, probe=probe.id, case=probe.case, values=values, answer=said)


def judged(probe: Probe, *, right: bool, wrong: bool) -> dict[str, float]:
    """The scores of a text: whether the object that it asks for is said, and whether another is."""
    values = {name: float(right) for name in probe.extra["right"]}
    return values | {name: float(wrong) for name in probe.extra["wrong"]}


def misses(
    probes: Sequence[Probe], cases: Sequence[Case], index: FactIndex, encoder: QuestionEncoder
) -> list[dict[str, Any]]:
    """The texts that were not answered rightly, with the nearest fact and its score."""
    by_probe = {case.probe: case for case in cases}
    found = []
    for probe in probes:
        case = by_probe.get(probe.id)
        if case is None or case.values == judged(probe, right=True, wrong=False):
            continue
        nearest = next(iter(explained(*_read(probe, index), encoder)), None)
        found.append(
            {
                "id": probe.id,
                "score": probe.score,
                "text": probe.prompt,
                "expected": probe.extra["wanted"],
                "got": case.answer or None,
                "nearest": None if nearest is None else _told(nearest),
            }
        )
    return found


def _told(nearest: Candidate) -> dict[str, Any]:
    return {
        "object": nearest.object,
        "question": nearest.question,
        "template": nearest.template,
        "score": round(nearest.score, 4),
        "silenced": nearest.silenced,
    }


def relations(plan: Plan, encoder: QuestionEncoder) -> dict[str, str]:
    """Of each data set, `seen` or `unseen`: whether the encoder was trained on its relations. An
    encoder's `unseen` names those that it was not trained on."""
    unseen: frozenset[str] = getattr(encoder, "unseen", frozenset())
    there = {probe.id.partition("/")[0] for probe in plan.probes}
    names = [name for name in (NATURAL, *SETS, OWN) if name in there]
    return {name: "unseen" if name in unseen else "seen" for name in names}


def labelled(score: str, result: Mapping[str, Any]) -> str:
    """A score's name, marked where the encoder has not seen the relations it is about."""
    found: Mapping[str, str] = result.get("relations", {})
    unseen = [name for name in found if found[name] == "unseen"]
    is_unseen = any(score == name or score.startswith(f"{name}_") for name in unseen)
    return f"{score} (unseen)" if is_unseen else score


def _read(probe: Probe, index: FactIndex) -> tuple[str, list[Mention], View]:
    """What is decided on: the end of a text, the names in it, the facts that are there."""
    text, within = probe.prompt, probe.extra["within"]
    view = index.view(namespaces=None if within is None else [within])
    end = asked_at(text, len(text))
    part = text[window(text, end) : end]
    return part, mentions(part, view), view

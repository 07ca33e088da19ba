"""The suite `questions` by the text alone: what the gate would write where an answer is due.

No model is asked, and none is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from revisor.bench.cases import Case, Plan, Probe
from revisor.bench.datasets import Source, read_items
from revisor.bench.questions import NATURAL, OWN, SETS, chatml, plan_questions
from revisor.bench.summary import entry, means
from revisor.config import SENTENCE_ENCODER, sentence_encoder
from revisor.errors import NotSupported
from revisor.facts.changes import Put
from revisor.facts.fact import Fact
from revisor.facts.ledger import Ledger
from revisor.gate.decide import Candidate, Decision, decide, explained, window
from revisor.gate.encoders import open_encoder
from revisor.gate.state import asked_at
from revisor.index import FactIndex, View
from revisor.language.names import Mention, mentions
from revisor.question.encoder import QuestionEncoder, encoder_from

TEXT = "text"  # as the name of a method
DEFAULT = "default"


def encoder_named(name: str) -> QuestionEncoder:
    """The encoder of a file, or the one that a store's setting `encoder` names ("default").

    Raises:
        ModelUnavailable, NotSupported: it cannot be used.
    """
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
    """The result of the suite, as `runner.evaluate` gives it, of the text alone.

    Args:
        n, edits, seed: see `plan_questions`.

    Raises:
        BadInput: a file is damaged.
    """
    own = None if source.data is None else read_items(source.data).items
    plan = plan_questions(source, chatml, n=n, edits=edits, seed=seed, own=own)
    with indexed(plan.facts) as index:
        cases = [decided(probe, index, encoder) for probe in plan.probes]
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
        "misses": {TEXT: missed},
    }


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


def decided(probe: Probe, index: FactIndex, encoder: QuestionEncoder) -> Case:
    """What is decided where a text ends."""
    found = _decision(probe, index, encoder)
    said = "" if found is None else found.fact.object
    right = found is not None and said == probe.extra["wanted"]
    values = judged(probe, right=right, wrong=found is not None and not right)
    return Case(method=TEXT, probe=probe.id, case=probe.case, values=values, answer=said)


def judged(probe: Probe, *, right: bool, wrong: bool) -> dict[str, float]:
    """The values of a text: whether the object is said that it asks for, and whether another is."""
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
    """Of each data set whether the encoder's training had its relations: `seen` or `unseen`.

    An encoder names in `unseen` those that it has not seen.
    """
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


def _decision(probe: Probe, index: FactIndex, encoder: QuestionEncoder) -> Decision | None:
    return decide(*_read(probe, index), encoder)

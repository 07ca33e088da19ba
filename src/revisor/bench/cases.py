"""What crosses the seams of an evaluation: items, probes, plans and cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from revisor.facts.fact import Fact


@dataclass(frozen=True, kw_only=True)
class Local:
    """A prompt beside a fact, with an answer of its own.

    Attributes:
        prompt: full text.
        answers: accepted ones, the first for probabilities.
        score: what it measures, such as `specificity`.
        subject: where known; if it is edited too, the prompt is dropped.
        against: the object that must not be more probable; None to count tokens instead.
    """

    prompt: str
    answers: tuple[str, ...]
    score: str
    subject: str | None = None
    against: str | None = None


@dataclass(frozen=True, kw_only=True)
class Item:
    """A fact with what it is measured by, none of which a build knows: other `wordings` as full
    texts, `constructed` ones from templates where the data keeps them apart, `local` prompts with
    answers of their own, and `open` prompts for free text."""

    fact: Fact
    wordings: tuple[str, ...] = ()
    constructed: tuple[str, ...] = ()
    local: tuple[Local, ...] = ()
    open: tuple[str, ...] = ()

    @property
    def before(self) -> str | None:
        """The object before the edit."""
        return self.fact.object_before


@dataclass(frozen=True, kw_only=True)
class Keep:
    """A prompt whose answer no fact may change, with its subject if the record has one."""

    prompt: str
    subject: str | None = None


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One question, and what is made of the answer.

    Attributes:
        id: unique in the suite, the same in every run of the same plan.
        case: the fact or text it belongs to; intervals draw whole cases.
        score: the score that it counts towards.
        prompt: the method may reword it.
        wanted: accepted answers, the first for probabilities; empty where none is right.
        other: the answer that `wanted` competes with in probability.
        fact: the edited fact it is about or beside, for methods that are given the right one.
        kind: `says`: it shall say `wanted`. `holds`: so, and what it said before. `keeps`: only
            what it said before. `denies`: it shall not say `wanted`. `open`: any text. Other
            kinds belong to the suite that makes them.
        chat: ask as a user's turn in the chat template.
        budget: most tokens of an answer.
        extra: what a suite needs besides.
    """

    id: str
    case: str
    score: str
    prompt: str
    wanted: tuple[str, ...] = ()
    other: str | None = None
    fact: Fact | None = None
    kind: str = "says"
    chat: bool = False
    budget: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run does.

    Attributes:
        facts: all that go into the model.
        n: how many facts (or texts, or questions a task) are measured, by about as many `probes`.
        dropped: what was left out, with counts.
        idf: word frequencies for consistency; empty where it is not measured.
    """

    facts: tuple[Fact, ...]
    probes: tuple[Probe, ...]
    n: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    idf: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What came of one probe with one method: `values` by name of score, the `answer`, and its
    `first` token, to compare with another method's."""

    method: str
    probe: str
    case: str
    values: Mapping[str, float]
    answer: str = ""
    first: int = -1


def dedupe(texts: Sequence[str]) -> tuple[str, ...]:
    """Texts without repetitions, in order."""
    return tuple(dict.fromkeys(texts))

"""Facts that a text may ask for, and which of them it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from revisor.language.names import Mention
from revisor.question.predicates import BESIDE, on_one_side

SEVERAL = 2.0  # times as good as for one fact the odds of one of several have to be
NAMELESS = 4.0  # and of a question in which nothing stands for the name
PLAIN = 4.0  # and of a name that is written as words of the language are
PROSE = 16.0  # and of a sentence of running text, which asks nobody
ANSWERED = "already answered"
FINAL = BESIDE | {ANSWERED}
"""Rules by which a text asks for nothing that another fact could tell, if the fact that they
silence is the nearest."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A fact that may be asked for, and the reading of the text by which it is.

    Attributes:
        handle: of the fact, in the view.
        question: what was read, with `{}` for the name.
        template: the fact's wording that is nearest.
        score: how surely the question asks for the template, 0..1.
        is_due: an answer begins here whatever the model's logits: the fact's own prompt ends here,
            or the answerer's turn opens.
        order: of the question among several that were put.
        rivals: how many facts about the name hold at the time that is asked for.
        is_nameless: nothing in the question stands for the name: "Opening hours?" in a later turn.
        is_plain: the name is written as a word of the language; see `needed`.
        is_prose: an unfinished sentence of a long text is read, in other words than the fact's.
        silenced: the rule by which it is not written, None if there is none.
        via: ids of the facts by which the question describes the subject, "the CEO of ACME";
            empty where it names it.
    """

    handle: int
    id: str
    subject: str
    object: str
    namespace: str
    question: str
    template: str
    score: float
    mention: Mention
    is_due: bool = False
    order: int = 0
    rivals: int = 1
    is_nameless: bool = False
    is_plain: bool = False
    is_prose: bool = False
    silenced: str | None = None
    via: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The fact that is asked for where a text ends: the nearest candidate.

    `threshold` is the score that it needed, `runner_up` the nearest candidate of another fact.
    """

    fact: Candidate
    threshold: float
    runner_up: Candidate | None = None


def needed(candidate: Candidate, threshold: float) -> float:
    """The score that a candidate has to reach.

    With several facts about a name that hold then, the wording has to tell which: the odds must be
    `SEVERAL` times as good. A question that names nothing may be about anything: `NAMELESS` times.
    "time" among names with capitals, or in an unfinished sentence, is more likely a word than the
    magazine: `PLAIN` times. A long text that goes on by itself is most often not there to be
    answered: `PROSE` times.
    """
    times = SEVERAL if candidate.rivals > 1 else 1.0
    times *= NAMELESS if candidate.is_nameless else 1.0
    times *= PLAIN if candidate.is_plain else 1.0
    times *= PROSE if candidate.is_prose else 1.0
    odds = times * threshold / max(1 - threshold, 1e-9)
    return odds / (1 + odds) if times > 1 else threshold


def rank(candidate: Candidate) -> tuple[bool, bool, float, bool]:
    """The sort key of candidates, the greatest first."""
    return candidate.silenced is None, not candidate.is_plain, candidate.score, candidate.is_due


def chosen(found: Sequence[Candidate], threshold: float) -> Decision | None:
    """The decision among `candidates` at a threshold."""
    good = [one for one in found if one.silenced is None and one.score >= needed(one, threshold)]
    fit = [one for one in good if not one.via] or good
    if not fit:
        return None
    best = fit[0]
    # The nearest fact was given already, or is not meant: the text asks for no other, but for one
    # about whom it describes.
    nearer = (one for one in found if one.score > best.score and one.via == best.via)
    if any(one.silenced in FINAL for one in nearer) and not on_one_side(
        best.question, best.template
    ):
        return None
    # Of several questions that were put the first is answered first.
    best = min(fit, key=lambda one: one.order)
    second = next((one for one in found if one.handle != best.handle), None)
    return Decision(fact=best, threshold=needed(best, threshold), runner_up=second)

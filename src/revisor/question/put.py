"""What may be asked where a text ends, and the questions that were put before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from revisor.language.names import Mention
from revisor.question import forms

Kind = Literal["completion", "question", "statement", "pronoun", "ellipsis", "record"]


@dataclass(frozen=True, slots=True)
class Question:
    """What may be asked where a text ends, as a template.

    Attributes:
        kind: how it was read: a sentence to be completed; a question that was put; a statement (it
            asks only as a fact's own wording); with a pronoun for the name; going on with an
            earlier question; a field of a record.
        answered_from: where in the text its answer may have begun.
        opens: an answer begins here, whatever the model: the answerer's turn has just opened.
        order: its place among several questions that were put.
        restates: questions put earlier that an answer repeats in fewer words: it asks for what
            they ask for, or for nothing.
        running: characters of the running text that ends with an unfinished sentence.
        replied_from: where the answer to several questions begins of which this one is next.
        ahead: the readings of each of those that were put before it.
    """

    text: str
    mention: Mention
    kind: Kind
    answered_from: int
    opens: bool = False
    order: int = 0
    restates: tuple[str, ...] = ()
    running: int = 0
    replied_from: int | None = None
    ahead: tuple[tuple[Question, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Put:
    """A question that was put.

    Attributes:
        readings: the likeliest first; none if it is about no known name.
        frame: with `{}` for whatever it is about; None where that cannot be told.
        names_another: it is about an unknown name.
        names_nothing: it is about no name ("Explain photosynthesis"), or, if it has readings,
            perhaps about none ("Why is water wet?").
        topic: names that a text is asked for about ("Write a profile of ACME.").
    """

    end: int
    readings: tuple[Question, ...] = ()
    frame: str | None = None
    names_another: bool = False
    names_nothing: bool = False
    topic: tuple[Mention, ...] = ()

    @property
    def about(self) -> tuple[Mention, ...]:
        """The names that it may be about, the likeliest first."""
        return tuple(dict.fromkeys((*(one.mention for one in self.readings), *self.topic)))

    @property
    def of_person(self) -> bool:
        """Whether a person answers it: "Who leads ACME?"."""
        rules, read = forms.parsed(self.frame or "")
        return any(one.text in rules.who_words | rules.person_nouns for one in read[:8])

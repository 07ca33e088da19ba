"""What may be asked where a text ends, and the questions that were put before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from revisor.language.names import Mention
from revisor.question import forms

Kind = Literal["completion", "question", "statement", "pronoun", "ellipsis", "record"]


@dataclass(frozen=True, slots=True)
class Question:
    """What may be asked where a text ends.

    Attributes:
        text: in the form of a template: `{}` stands for the name.
        mention: the name that it is about.
        kind: how it was read: a sentence to be completed, a question that was put, a statement
            (which asks for something only if it is a fact's own wording), one whose name a
            pronoun stands for, one that goes on with an earlier one, a field of a record.
        answered_from: where in the text its answer may have begun.
        opens: an answer is to begin here, whatever the model: the turn of who answers has just
            opened, and who asks has put this question.
        order: of several questions that were put, which one it is.
        restates: questions that were put, whose words an answer says again, fewer of them: it asks
            for what they ask for, or for nothing.
        running: characters of the running text that ends with an unfinished sentence.
        replied_from: where the answer to several questions begins, of which this one is next; None
            if it is not one of them.
        ahead: the readings of each of those that were put ahead of it.
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
        end: where it ends.
        readings: of it, the likeliest first; none if it is about nobody whose name is known.
        frame: the question with `{}` for whomever it is about; None where that cannot be told.
        names_another: it is about a name that is not known.
        names_nothing: it is about no name at all ("Explain photosynthesis"), or, where it has
            readings, perhaps about none ("Why is water wet?").
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

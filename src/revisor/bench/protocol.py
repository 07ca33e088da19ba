"""What a method of giving a model facts is, and what the suites may ask of one that has a gate."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from revisor.facts.fact import Fact
from revisor.neuraldb.editing.check import Failure

__all__ = ["Editor", "Failure", "Fire", "Fires", "Gated", "Scoped"]


@runtime_checkable
class Editor(Protocol):
    """A method of editing, bound to one model.

    Attributes:
        name: the method's name on the command line.
    """

    name: str

    def fit(self, facts: Sequence[Fact]) -> list[Failure]:
        """Add facts to those it has; called several times it edits sequentially.

        Returns the facts that it knows it could not write; an empty list promises nothing.
        """

    def attached(self) -> AbstractContextManager[None]:
        """The model with the facts; on exit it is the base again, bit for bit."""

    def undo(self, ids: Collection[str]) -> None:
        """Remove facts; NotSupported if the method cannot."""

    def reword(self, prompt: str, fact: Fact | None = None) -> str:
        """The prompt as the method hands it to the model.

        `fact` is the one it is about, for methods that are given the right one (in-context).
        """

    @property
    def stored_bytes(self) -> int:
        """Bytes that must be kept beside the base model to have the facts again."""


@dataclass(frozen=True, kw_only=True)
class Fire:
    """A fact used by a gate behind the token at `position`, its score `margin` above the
    threshold."""

    position: int
    fact_id: str
    subject: str
    margin: float


@dataclass(frozen=True, kw_only=True)
class Fires:
    """What a gate does in a text, in its order; by `quiet_margin` the highest score without a fire
    misses the threshold (None where not every position is scored)."""

    fires: tuple[Fire, ...]
    quiet_margin: float | None = None


@runtime_checkable
class Gated(Protocol):
    """An editor whose facts are used where a gate says so."""

    def fires(self, ids: Sequence[int]) -> Fires:
        """What the gate does in a text of these tokens; the facts need not be attached."""


@runtime_checkable
class Scoped(Protocol):
    """An editor that can leave facts of other namespaces aside."""

    def within(self, namespaces: Collection[str]) -> AbstractContextManager[None]:
        """Meanwhile only facts of these namespaces are there."""

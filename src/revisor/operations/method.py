"""What a store does by its method, and the plain values that it is asked with."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from revisor.errors import UsageError
from revisor.operations.resources import Resources
from revisor.workspace import Workspace

if TYPE_CHECKING:
    from revisor.facts.fact import Fact
    from revisor.gate.gate import FactGate
    from revisor.neuraldb.method import Workspace as BankWorkspace
    from revisor.operations.asking import AskedFacts
    from revisor.operations.explain import Explanation


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which facts answer; those that are live and hold, without.

    Attributes:
        generation: of the facts; None for the live one, which is followed.
        namespaces: only facts of these; None for all.
        moment: what is taken for now (aware); None for the present.

    Raises:
        UsageError: the generation is no number, namespaces are one text, or the moment is no aware
            datetime.
    """

    generation: int | None = None
    namespaces: Collection[str] | None = None
    moment: datetime | None = None

    def __post_init__(self) -> None:
        named, moment = self.namespaces, self.moment
        if self.generation is not None and not isinstance(self.generation, int):
            raise UsageError(
                f"The generation {self.generation!r} is no number.",
                "Give its number; store.ledger.tags() has those of the tags.",
            )
        if isinstance(named, str):  # whose letters would be taken for names, of which none is there
            raise UsageError(
                f"The namespaces are one text, {named!r}, not several names.", f"Write [{named!r}]."
            )
        if moment is None:
            return
        if not isinstance(moment, datetime):
            raise UsageError(
                f"The moment {moment!r} is no datetime.",
                "Give one with a time zone, such as datetime(2026, 1, 31, tzinfo=UTC).",
            )
        if moment.tzinfo is None:
            raise UsageError(f"The moment {moment} has no time zone.", "Give it one, such as UTC.")

    @property
    def is_all(self) -> bool:
        """Whether nothing is chosen."""
        return self.generation is None and self.namespaces is None and self.moment is None


class Method:
    """What the methods have in common: what only the other one has is refused by name.

    Args:
        workspace: where the store's things are.
        resources: its index and its model.
    """

    other: str

    def __init__(self, workspace: Workspace, resources: Resources) -> None:
        self.workspace = workspace
        self.resources = resources

    def close(self) -> None:
        """Let go of what engines use."""

    def gate(
        self,
        selection: Selection,
        *,
        model: Any = None,
        tokenizer: Any = None,
        needs_model: bool = True,
    ) -> FactGate:
        """What decides and writes."""
        raise self.lacks("a gate at the output")

    def explain(
        self,
        prompt: str | Sequence[Mapping[str, str]],
        selection: Selection,
        *,
        chat: bool,
        needs_model: bool,
    ) -> Explanation:
        """What is decided at the end of a prompt."""
        raise self.lacks("a gate at the output")

    def ask_facts(self, facts: Iterable[Fact] | None, selection: Selection) -> AskedFacts:
        """Facts asked their own prompts and paraphrases."""
        raise self.lacks("check --ask")

    @property
    def bank_workspace(self) -> BankWorkspace:
        """What the operations of `neuraldb` work on."""
        raise self.lacks("banks")

    def lacks(self, what: str) -> UsageError:
        """The error of an operation that this method has not."""
        return UsageError(
            f"This store's method is {self.workspace.settings.method}, which lacks {what}.",
            f"Make one with: revisor init --method {self.other}",
        )

"""The model as it is, as one of the methods."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext

from revisor.bench.protocol import Failure
from revisor.facts.fact import Fact

UNEDITED = "unedited"


class Unedited:
    """The baseline that every score stands beside."""

    name = UNEDITED
    stored_bytes = 0

    def fit(self, facts: Sequence[Fact]) -> list[Failure]:
        return []

    def attached(self) -> AbstractContextManager[None]:
        return nullcontext()

    def undo(self, ids: Collection[str]) -> None:
        return

    def reword(self, prompt: str, fact: Fact | None = None) -> str:
        return prompt

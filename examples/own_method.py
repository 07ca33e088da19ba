"""A method of one's own beside revisor's in `revisor eval`: it tells all facts ahead of a prompt.

A package that holds this file names it in its pyproject.toml; `revisor eval --methods told` and
recipes then take it, and check its options:

    [project.entry-points."revisor.methods"]
    told = "own_method:METHOD"
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from revisor import Fact
from revisor.bench.methods.binding import Binding
from revisor.bench.methods.registry import Method
from revisor.bench.protocol import Failure


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a file for `--options` may say of it, under [MODEL.told]."""

    last: int = 20  # facts that are told


class Editor:
    """See revisor.bench.protocol.Editor. The model is `binding.loaded`; this one leaves it be."""

    def __init__(self, binding: Binding, options: Options, *, name: str) -> None:
        self.name, self.options = name, options
        self.facts: dict[str, Fact] = {}

    def fit(self, facts: Sequence[Fact]) -> list[Failure]:
        self.facts |= {fact.id: fact for fact in facts}
        return []

    @contextmanager
    def attached(self) -> Iterator[None]:
        yield

    def undo(self, ids: Collection[str]) -> None:
        for one in ids:
            self.facts.pop(one, None)

    def reword(self, prompt: str, fact: Fact | None = None) -> str:
        return "".join(f"{line}\n" for line in self._told()) + prompt

    @property
    def stored_bytes(self) -> int:
        return sum(len(line.encode()) for line in self._told())

    def _told(self) -> list[str]:
        return [f"{one.text} {one.object}." for one in self.facts.values()][-self.options.last :]


METHOD = Method(editor="own_method:Editor", options="Options")

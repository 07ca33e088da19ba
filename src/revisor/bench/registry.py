"""Methods and suites by name: the package's own, and those that other packages bring.

Another package declares one as an entry point: its name, and where the object is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Any

from revisor.errors import NotFound, NotSupported


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Objects of one `kind` (for messages) by name: the package's `own`, which come first, and
    those of the entry point `group` of other packages."""

    kind: str
    group: str
    own: Mapping[str, Any]

    @property
    def names(self) -> list[str]:
        """All names, the package's own first; nothing is imported."""
        return list(dict.fromkeys([*self.own, *sorted(entry_points(group=self.group).names)]))

    def get(self, name: str) -> Any:
        """The object of a name.

        Raises:
            NotFound: there is none.
            NotSupported: another package's cannot be loaded.
        """
        if name in self.own:
            return self.own[name]
        for entry in entry_points(group=self.group, name=name):
            try:
                return entry.load()
            except Exception as error:
                raise NotSupported(
                    f"The {self.kind} '{name}' ({entry.value}) cannot be loaded: {error}.",
                    "Mend or uninstall the package that brings it.",
                ) from error
        raise NotFound(f"There is no {self.kind} '{name}'.", did_you_mean(name, self.names))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for a name that is not among the known ones."""
    names = sorted(known)
    near = get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    return f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(names)}."

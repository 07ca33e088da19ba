"""Whether a store is as it was written: its settings, its ledger, every file of its banks."""

from __future__ import annotations

from collections.abc import Iterator

from revisor.workspace import Workspace


def settings_faults(ws: Workspace) -> Iterator[str]:
    """Whether store.toml is the one that was last noted in the audit."""
    for event in ws.ledger.events():
        noted = event.details.get("settings")
        if noted is not None:
            if noted != ws.settings_digest():
                yield (
                    f"{ws.path / 'store.toml'} was changed since {event.at}. If that was meant, "
                    "`revisor build` takes it over."
                )
            return

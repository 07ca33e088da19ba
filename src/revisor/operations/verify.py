"""Whether a store is as it was written: its settings, its ledger, every file of its banks."""

from __future__ import annotations

from collections.abc import Iterator

from revisor.facts.audit import Event
from revisor.workspace import Workspace


def settings_faults(ws: Workspace) -> Iterator[str]:
    """Whether store.toml is the one that was last noted in the audit."""
    event = _noted(ws)
    if event is not None and event.details["settings"] != ws.settings_digest():
        yield (
            f"{ws.path / 'store.toml'} was changed since {event.at}. If that was meant, "
            "`revisor build` takes it over."
        )


def take_settings_over(ws: Workspace, *, actor: str) -> None:
    """Note in the audit that store.toml is meant as it is, if another one was noted."""
    if any(settings_faults(ws)):
        generation, digest = ws.ledger.generation, ws.settings_digest()
        ws.ledger.record("settings", actor=actor, generation=generation, settings=digest)


def _noted(ws: Workspace) -> Event | None:
    return next((one for one in ws.ledger.events() if "settings" in one.details), None)

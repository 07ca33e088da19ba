"""Where a store's things are: the plain value that operations take."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from revisor.config import StoreSettings, read_settings
from revisor.facts.ledger import Ledger
from revisor.facts.private import sha256_of

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """The present."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """A store's folder, settings and facts; no model.

    Attributes:
        path: the folder, with `store.toml` in it.
        settings: what the store is bound to.
        ledger: its facts.
        clock: tells which facts hold.
    """

    path: Path
    settings: StoreSettings
    ledger: Ledger
    clock: Clock = system_clock

    @classmethod
    def open(cls, path: Path, *, clock: Clock | None = None) -> Workspace:
        """Of the store in a folder.

        Raises:
            NotFound: there is none.
            BadInput: `store.toml` has faults.
        """
        settings = read_settings(path / "store.toml")
        ledger = Ledger.open(settings.database or path / "ledger.sqlite")
        return cls(path=path, settings=settings, ledger=ledger, clock=clock or system_clock)

    @property
    def index(self) -> Path:
        """Where the index of the facts lies."""
        return self.path / "index"

    def probe(self, fingerprint: str) -> Path:
        """Where the probe of a model lies that the store was made for."""
        return self.path / "probes" / f"{fingerprint}.safetensors"

    @property
    def banks(self) -> Path:
        """Where the banks of the method `neuraldb` lie."""
        return self.path / "banks"

    def settings_digest(self) -> str:
        """What names the content of `store.toml`."""
        return hashlib.sha256((self.path / "store.toml").read_bytes()).hexdigest()[:16]

    def note_export(self, file: Path, proof: Path, *, actor: str) -> None:
        """Note in the audit what the store was exported to, and the hash of the file by which it is
        known again."""
        digest = sha256_of(proof)
        self.ledger.record_if_writable("export", actor=actor, file=str(file), sha256=digest)

    def settings_faults(self) -> Iterator[str]:
        """Whether `store.toml` is not the one that was last noted in the audit."""
        noted = next((one for one in self.ledger.events() if "settings" in one.details), None)
        if noted is not None and noted.details["settings"] != self.settings_digest():
            yield (
                f"{self.path / 'store.toml'} was changed since {noted.at}. If that was meant, "
                "`revisor build` takes it over."
            )

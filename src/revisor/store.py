"""A store: facts, the model they are bound to, and the banks built from them.

What comes in: facts and commands of a user. What goes out: a model that answers with the facts.
What it does not do: any of the work itself; it puts ledger, build, bank, gate and engine together.

    STORE/store.toml                               what it is bound to
    STORE/ledger.sqlite                            the facts: the truth
    STORE/banks/FINGERPRINT/gen-0000007/...        rows: a product of facts, model and settings
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revisor.config import (
    StoreSettings,
    read_settings,
)
from revisor.errors import BadInput
from revisor.facts.changes import Generation, Put, Remove
from revisor.facts.check import Finding
from revisor.facts.fact import Fact
from revisor.facts.imports import Added, OnConflict, import_facts
from revisor.facts.ledger import Ledger

if TYPE_CHECKING:
    from datetime import datetime

    from torch import nn

    from revisor.life.erase import Erased
    from revisor.life.exported import Exported
    from revisor.models.load import LoadedModel
    from revisor.models.spec import Spec
    from revisor.neuraldb.bank.bank import Bank, View
    from revisor.neuraldb.build.build import BuildReport
    from revisor.neuraldb.build.live import Clock, RowsInForce
    from revisor.neuraldb.editing.build import BuildSettings
    from revisor.neuraldb.gate.attach import Gated
    from revisor.neuraldb.gate.watch import Watch
    from revisor.serve.engine import Engine


class Store:
    """A folder with facts and banks; open it with `Store.open` or `Store.init`.

    Example:
        >>> with Store.open("revisor-store") as store:          # doctest: +SKIP
        ...     store.add("facts.jsonl")
        ...     store.build()
        ...     with store.attached(model, tokenizer):
        ...         model.generate(...)
    """

    def __init__(
        self, path: Path, settings: StoreSettings, ledger: Ledger, clock: Clock | None = None
    ) -> None:
        self.path = path
        self.settings = settings
        self.ledger = ledger
        self._clock = clock
        self._leases: list[Any] = []

    @classmethod
    def init(
        cls,
        path: str | Path,
        *,
        model: str,
        dtype: str = "auto",
        device: str = "auto",
        layer: int | None = None,
        preset: str = "revisor",
        layers_path: str | None = None,
        projection_path: str | None = None,
        database: str | None = None,
        exact: bool = False,
        bits: int | None = None,
        scope: str = "question",
        search: str = "auto",
    ) -> Store:
        """Make a store: open the model once, choose a layer, write `store.toml`.

        Args:
            model: `smollm2`, a Hugging Face id, a folder or a `.gguf` file.
            layer: the gate's layer; without it the one known for the model, or the best by a
                short probe of the model's own keys.
            database: SQLAlchemy URL of a ledger elsewhere, such as PostgreSQL; one that has facts
                is used with them.
            exact, scope, search: see `StoreSettings`.
            bits: the same; None for the preset's own, 8, or 32 in `paper`.

        Raises:
            UsageError: there is a store already, or an unknown preset.
            ModelUnavailable, UnknownFamily: the model cannot be used.
        """
        from revisor.life.making import make_store

        return make_store(
            cls,
            Path(path),
            model=model,
            dtype=dtype,
            device=device,
            layer=layer,
            preset=preset,
            layers_path=layers_path,
            projection_path=projection_path,
            database=database,
            exact=exact,
            bits=bits,
            scope=scope,
            search=search,
        )

    @classmethod
    def open(cls, path: str | Path, *, clock: Clock | None = None) -> Store:
        """Open a store that is there; no model is opened until one is needed.

        Args:
            clock: tells which facts hold; the system's by default.

        Raises:
            NotFound: there is none.
            BadInput: `store.toml` has faults.
        """
        path = Path(path)
        settings = read_settings(path / "store.toml")
        ledger = Ledger.open(settings.database or path / "ledger.sqlite")
        return cls(path, settings, ledger, clock)

    @classmethod
    def restore(
        cls, archive: str | Path, path: str | Path, *, database: str | None = None, actor: str = ""
    ) -> Store:
        """Make a store from an archive that `export` wrote: all of it, or nothing.

        Args:
            database: URL of an empty database for the ledger; an SQLite file in the store without.

        Raises:
            BadInput: it is no archive, or not what its manifest says.
            UsageError: there is something at `path` already.
        """
        from revisor.life.archive import file_hash, unpack

        unpack(Path(archive), Path(path), database=database)
        store = cls.open(path)
        store.ledger.record(
            "restore",
            actor=actor,
            generation=store.ledger.generation,
            archive=file_hash(Path(archive)),
            settings=store.settings_digest(),
        )
        return store

    def close(self) -> None:
        """Let go of the database and of the banks that engines of this store use."""
        for lease in self._leases:
            lease.close()
        self._leases.clear()
        self.ledger.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model the store is bound to, opened at the first use."""
        from revisor.models.load import load_model

        return load_model(
            self.settings.model, dtype=self.settings.dtype, device=self.settings.device
        )

    @cached_property
    def spec(self) -> Spec:
        """Where that model's FFN is."""
        return self._spec_of(self.loaded.model)

    def _spec_of(self, model: nn.Module) -> Spec:
        from revisor.models.spec import spec_of

        return spec_of(
            model,
            layers_path=self.settings.layers_path,
            projection_path=self.settings.projection_path,
        )

    # Facts

    def add(
        self,
        source: str | Path | Iterable[Fact],
        *,
        actor: str = "",
        reason: str = "",
        on_conflict: OnConflict = "stop",
        skip_known: bool = False,
    ) -> Added:
        """Import a file, or facts, in one transaction: all of it or nothing.

        Args:
            on_conflict: what becomes of facts that contradict one another: `stop` imports
                nothing, `keep` keeps what came first, `replace` takes what came last.
            skip_known: leave out facts whose object the base model says by itself; opens it.

        Raises:
            BadInput: lines that cannot be read, all listed.
            Conflict: facts that contradict one another, all listed.
        """
        return import_facts(
            self.ledger,
            source,
            actor=actor,
            reason=reason,
            on_conflict=on_conflict,
            known_to_base=self.known_to_base if skip_known else None,
        )

    def known_to_base(self, facts: Sequence[Fact]) -> set[str]:
        """The ids of those facts that the base model says by itself: greedy, token for token."""
        from revisor.neuraldb.build.known import known_facts

        return known_facts(self.loaded, facts)

    def check(self) -> list[Finding]:
        """What is wrong or worth knowing about the live facts taken together."""
        from revisor.facts.check import findings

        return findings(self.ledger.facts())

    def set_object(self, fact_id: str, obj: str, *, actor: str = "", reason: str = "") -> Fact:
        """Give a fact a new object: a new revision of it.

        Raises:
            NotFound: no live fact has this id.
            BadInput: the object is empty.
        """
        if not obj.strip():
            raise BadInput("The object is empty.", "Give what the model shall say.")
        fact = replace(self.ledger.get(fact_id), object=obj.strip())
        self.ledger.apply([Put(fact)], actor=actor, reason=reason)
        return fact

    def remove(self, fact_ids: Sequence[str], *, actor: str = "", reason: str = "") -> int:
        """End some facts; their history stays.

        Raises:
            NotFound: no live fact has one of these ids; nothing is removed.
        """
        whole = {self.ledger.get(fact_id).id for fact_id in fact_ids}
        changes = [Remove(fact_id) for fact_id in sorted(whole)]
        return self.ledger.apply(changes, actor=actor, reason=reason).removed

    def purge(self, fact_ids: Sequence[str], *, actor: str = "", reason: str = "") -> Erased:
        """Erase facts, live or removed, and all they ever were: text, vectors, exports.

        Raises:
            NotFound: no fact ever had one of these ids; nothing is erased.
            UsageError: one of them is the reverse of a fact that stays.
            Conflict: another process builds, or reads the database (see life/erase.py).
        """
        from revisor.life.erase import purge

        ids = self.ledger.with_reverses(self.ledger.ids_of(fact_ids))
        return purge(self, ids, actor=actor, reason=reason)

    def rollback(self, to: int | str, *, actor: str = "", reason: str = "") -> Generation:
        """Make the facts of an earlier generation hold again, as a new generation."""
        return self.ledger.rollback(to, actor=actor, reason=reason)

    # Banks

    @cached_property
    def fingerprint(self) -> str:
        """Of the model at hand."""
        from revisor.models.load import fingerprint

        return fingerprint(self.loaded, layer=self.settings.layer)

    @property
    def banks(self) -> Path:
        """Where the banks of the model at hand lie."""
        return self.path / "banks" / self.fingerprint

    def built_generation(self) -> int | None:
        """The newest bank's generation, None before the first build."""
        from revisor.neuraldb.bank.files import generations

        found = generations(self.banks)
        return found[-1] if found else None

    def stale(self) -> bool:
        """Whether facts have changed since the last build."""
        return self.built_generation() != self.ledger.generation

    def build_settings(self) -> BuildSettings:
        """What the preset and `store.toml` say of a build."""
        from revisor.neuraldb.editing.presets import preset_settings

        mine = self.settings
        settings = preset_settings(mine.preset, mine.layer, mine.gamma, mine.scope)
        return replace(settings, bits=mine.bits)

    def settings_digest(self) -> str:
        """What names the content of `store.toml`."""
        return hashlib.sha256((self.path / "store.toml").read_bytes()).hexdigest()[:16]

    def build(
        self, *, actor: str = "", workers: int | None = None, ray: str | None = None
    ) -> BuildReport:
        """Write the rows of what changed, check them through the gate, publish a generation.

        Args:
            workers: processes that make rows, each with the model in it; without it, or with 1,
                this one does. A script that asks for several must guard what it runs by
                `if __name__ == "__main__":`, as multiprocessing wants it.
            ray: address of a Ray cluster on which they run (extra `scale`); without `workers`
                one a GPU, or one a machine.

        Raises:
            WorkersLost: workers die one after the other.
            NotSupported, UsageError: ray is not installed, or there is no such cluster.
            Conflict: another process is building.
            CannotWrite: the disk is full, or the store may only be read.
        """
        from revisor.neuraldb.build.build import build
        from revisor.neuraldb.build.hands import Hands

        return build(self, actor=actor, hands=Hands(workers=workers, ray=ray))

    def collect(self, keep: int, *, actor: str = "") -> list[int]:
        """Remove all banks but the last `keep` generations of each model; finish an erasure.

        A generation that a process uses, or that a tag names, stays.

        Returns:
            The generations of which a bank was removed.
        """
        from revisor.life.collect import collect_store

        return collect_store(self, keep, actor=actor)

    def bank(self) -> Bank:
        """The newest bank, every file of it compared with its hash.

        Raises:
            NotBuilt: there is none yet.
            WrongModel: there are only banks of other models.
            StoreDamaged: it cannot be read, or was changed.
        """
        from revisor.life.opening import open_bank

        bank, lease = open_bank(self)
        lease.close()
        return bank

    def rows_in_force(self, bank: Bank | None = None) -> RowsInForce:
        """The rows of a bank (the newest by default) that are in force, moment by moment."""
        from revisor.neuraldb.build.live import RowsInForce, system_clock

        bank = bank or self.bank()
        timed = self.ledger.timed(generation=bank.generation)
        return RowsInForce(bank, timed, self._clock or system_clock)

    def view(self, *, now: datetime | None = None) -> View:
        """The rows in force: those whose facts hold at `now`, the present by default."""
        rows = self.rows_in_force()
        return rows.view() if now is None else rows.at(now)

    @contextmanager
    def attached(
        self, model: Any = None, tokenizer: Any = None, *, watch: Watch | None = None
    ) -> Iterator[Gated]:
        """Give a model the store's facts for the length of a block.

        Facts that begin or end to hold meanwhile do so in the model, too. After the block a
        model of your own is as it was, its training mode and gradients included.

        Args:
            model, tokenizer: your own, which must be what the store was built for; without them
                the store's.
            watch: collects which rows fire.

        Raises:
            WrongModel: model or tokenizer are not those the bank was built for.
            NotBuilt: there is no bank yet.
        """
        from revisor.life.opening import attached

        with attached(self, model, tokenizer, watch) as gated:
            yield gated

    def engine(self) -> Engine:
        """An engine over the newest bank; what holds at each moment is what it answers with.

        The bank stays on disk until the store is closed.
        """
        from revisor.life.opening import live_engine, note_load, open_bank

        bank, lease = open_bank(self)
        self._leases.append(lease)
        note_load(self, bank)
        return live_engine(self, self.rows_in_force(bank))

    # The whole

    def export(self, file: str | Path, *, actor: str = "") -> int:
        """Write the store to a file: an archive of all of it (.zip), or its live facts (JSONL).

        Returns:
            How many live facts were written.

        Raises:
            UsageError: the file's folder is not there.
            CannotWrite: the file cannot be written.
        """
        from revisor.life.archive import export

        return export(self, Path(file), actor=actor)

    def export_model(self, folder: str | Path, *, actor: str = "") -> Exported:
        """Write the model with the facts of the last build as a folder that transformers opens.

        `AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)` has them in force;
        it does not need revisor.

        Raises:
            UsageError: there is something at `folder`, or no folder to put it in.
            NotBuilt: there is no bank yet.
            NotSupported: the model's class is not one of transformers'.
            CannotWrite: the folder cannot be written; nothing is left behind.
        """
        from revisor.life.exported import export_model

        return export_model(self, Path(folder), actor=actor)

    def verify(self) -> list[str]:
        """Everything wrong with the store: settings, ledger, banks; empty if it is whole."""
        from revisor.life.verify import store_faults

        return store_faults(self)

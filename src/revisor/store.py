"""A store: facts, the model they are bound to, and the banks built from them.

What comes in: facts and commands of a user. What goes out: a model that answers with the facts.
What it does not do: any of the work itself; it puts ledger, build, bank, gate and engine together.

    STORE/store.toml                               what it is bound to
    STORE/ledger.sqlite                            the facts: the truth
    STORE/banks/FINGERPRINT/gen-0000007/...        rows: a product of facts, model and settings
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revisor.config import (
    PRESETS,
    SWEPT_LAYERS,
    StoreSettings,
    read_settings,
    write_settings,
)
from revisor.errors import BadInput, Conflict, Fault, NotBuilt, UsageError, WrongModel
from revisor.facts.changes import Put, Remove
from revisor.facts.check import conflicts_between
from revisor.facts.fact import Fact, normal_form
from revisor.facts.ledger import Ledger
from revisor.facts.load import FactFile
from revisor.progress import Progress

if TYPE_CHECKING:
    from torch import nn

    from revisor.bank.bank import Bank, View
    from revisor.editing.build import BuildSettings
    from revisor.gate.attach import Gated
    from revisor.gate.watch import Watch
    from revisor.models.load import LoadedModel
    from revisor.models.spec import Spec
    from revisor.serve.engine import Engine

SHARD = 512  # facts whose rows are written before the next are begun
KEPT = 2  # bank generations kept on disk


@dataclass(frozen=True, kw_only=True)
class Added:
    """What became of an import."""

    generation: int
    added: int
    updated: int
    unchanged: int
    duplicates: int


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What a build did.

    Attributes:
        rows: rows in the bank.
        facts: facts written by this build (not those whose rows stood already).
        seconds: wall time, without opening the model.
        facts_per_second: of those facts.
        failed: live facts that the model does not answer with: {id, fault}.
        generation: of the ledger that the bank shows.
    """

    rows: int
    facts: int
    seconds: float
    facts_per_second: float
    failed: list[dict[str, str]]
    generation: int


class Store:
    """A folder with facts and banks; open it with `Store.open` or `Store.init`.

    Example:
        >>> with Store.open("revisor-store") as store:          # doctest: +SKIP
        ...     store.add("facts.jsonl")
        ...     store.build()
        ...     with store.attached(model, tokenizer):
        ...         model.generate(...)
    """

    def __init__(self, path: Path, settings: StoreSettings, ledger: Ledger) -> None:
        self.path = path
        self.settings = settings
        self.ledger = ledger

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
    ) -> Store:
        """Make a store: open the model once, choose a layer, write `store.toml`.

        Args:
            model: `smollm2`, a Hugging Face id, a folder or a `.gguf` file.
            layer: the gate's layer; without it the one known for the model, or the best by a
                short probe of the model's own keys.

        Raises:
            UsageError: there is a store already, or an unknown preset.
            ModelUnavailable, UnknownFamily: the model cannot be used.
        """
        from revisor.models.load import load_model
        from revisor.models.spec import spec_of

        path = Path(path)
        if (path / "store.toml").exists():
            raise UsageError(
                f"There is a store at {path} already.", "Use it, or choose another --store."
            )
        if preset not in PRESETS:
            raise UsageError(f"Unknown preset '{preset}'.", f"Choose one of: {', '.join(PRESETS)}.")
        loaded = load_model(model, dtype=dtype, device=device)
        spec = spec_of(loaded.model, layers_path=layers_path, projection_path=projection_path)
        if layer is None:
            layer = SWEPT_LAYERS.get(model)
        if layer is None:
            layer = _probed_layer(loaded, spec)
        spec.ffn_projection(layer)
        settings = StoreSettings(
            model=model
            if model == "smollm2" or not Path(model).exists()
            else str(Path(model).resolve()),
            dtype=_dtype_name(loaded),
            device=device,
            layer=layer,
            preset=preset,
            layers_path=layers_path,
            projection_path=projection_path,
        )
        path.mkdir(parents=True, exist_ok=True)
        ledger = Ledger.open(path / "ledger.sqlite", create=True)
        write_settings(path / "store.toml", settings)
        store = cls(path, settings, ledger)
        store.__dict__.update(loaded=loaded, spec=spec)
        return store

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Open a store that is there; no model is opened until one is needed.

        Raises:
            NotFound: there is none.
            BadInput: `store.toml` has faults.
        """
        path = Path(path)
        settings = read_settings(path / "store.toml")
        return cls(path, settings, Ledger.open(settings.database or path / "ledger.sqlite"))

    def close(self) -> None:
        """Let go of the database."""
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
        self, source: str | Path | Iterable[Fact], *, actor: str = "", reason: str = ""
    ) -> Added:
        """Import a file, or facts, in one transaction: all of it or nothing.

        Raises:
            BadInput: lines that cannot be read, all listed.
            Conflict: facts that contradict one another, all listed.
        """
        duplicates = 0
        if isinstance(source, str | Path):
            file = FactFile(source)
            facts = list(file)
            duplicates = len(file.duplicates)
            file.raise_if_bad()
            reason = reason or f"import of {Path(source).name}"
        else:
            facts = list(source)
        found = conflicts_between(facts, self.ledger)
        if found:
            raise Conflict(
                f"{len(found)} fact(s) contradict one another; nothing was imported.",
                "Correct the file, or remove the fact that is wrong: revisor rm ID",
                [Fault(line=0, fault=str(conflict)) for conflict in found],
            )
        made = self.ledger.apply((Put(fact) for fact in facts), actor=actor, reason=reason)
        return Added(
            generation=made.number,
            added=made.added,
            updated=made.updated,
            unchanged=made.unchanged,
            duplicates=duplicates,
        )

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
        whole = [self.ledger.get(fact_id).id for fact_id in fact_ids]
        made = self.ledger.apply([Remove(fact_id) for fact_id in whole], actor=actor, reason=reason)
        return made.removed

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
        from revisor.bank.files import generations

        found = generations(self.banks)
        return found[-1] if found else None

    def stale(self) -> bool:
        """Whether facts have changed since the last build."""
        return self.built_generation() != self.ledger.generation

    def build_settings(self) -> BuildSettings:
        """What the preset and `store.toml` say of a build."""
        from revisor.editing.presets import preset_settings

        return preset_settings(self.settings.preset, self.settings.layer, self.settings.gamma)

    def build(self) -> BuildReport:
        """Write the rows of what changed, check them through the gate, publish a generation.

        Rows are written in shards as they are made; a build that was killed takes up where it
        was. Facts of one subject are rebuilt together, all others keep their rows.
        """
        from revisor.bank.files import save_bank
        from revisor.editing.build import check_rows, empty_bank, row_facts, threshold
        from revisor.editing.calibration import calibrate

        settings = self.build_settings()
        generation = self.ledger.generation
        live = {fact.id: fact for fact in self.ledger.facts()}
        calibration = calibrate(self.loaded, self.spec, settings.layer, whiten=settings.whiten)
        began = time.monotonic()
        recipe = _digest(asdict(settings))
        before, old_failed = self._standing(recipe)
        known: dict[str, str] = {}
        if before is None:
            bank = empty_bank(self.spec, calibration, settings)
            wanted = list(live.values())
        else:
            bank = before
            wanted, known = self._changed(bank, live, old_failed)
            if not wanted and bank.generation == generation:
                return _report(bank, [], 0.0, _listed(known))
        todo = {fact.id for fact in wanted}
        for row_id in bank.ids:
            if any(i in todo or i not in live for i in row_facts(row_id)):
                bank.drop(row_id, generation)
        made: list[str] = []
        steps = 0.0
        with Progress("Writing facts", total=len(wanted), unit="facts") as progress:
            for shard in _by_subject(wanted):
                rows, shard_steps = self._shard(shard, calibration, settings, recipe, progress)
                steps += shard_steps * len(shard)
                for row in rows:
                    bank.put(row, generation)
                    made.append(row.row_id)
        with Progress("Checking through the gate", total=len(made), unit="rows") as progress:
            touched = made + self._touched(bank, wanted, live, set(made))
            failed = check_rows(self.loaded, self.spec, bank, live, touched, settings, generation)
            progress.advance(len(made))
        bank.generation = generation
        seconds = time.monotonic() - began
        faults = [{"id": f.fact_id, "fault": f.fault} for f in failed]
        asked = {i for row_id in touched for i in row_facts(row_id)}
        faults += _listed({i: known[i] for i in known if i not in asked and i in live})
        save_bank(
            bank.view(),
            self.banks,
            fingerprint=self.fingerprint,
            model=self.settings.model,
            layer=settings.layer,
            build={
                "recipe": recipe,
                "preset": self.settings.preset,
                "gamma": threshold(calibration, settings),
                "facts": len(wanted),
                "seconds": round(seconds, 3),
                "mean_steps": round(steps / max(1, len(wanted)), 2),
                "encoder": calibration.encoder.kind,
            },
            failed=faults,
        )
        self._tidy()
        return _report(bank, wanted, seconds, faults)

    def _standing(self, recipe: str) -> tuple[Bank | None, dict[str, str]]:
        """The newest bank, if it was built by this recipe, and what failed in it."""
        from revisor.bank.files import generation_folder, load_bank, read_manifest

        newest = self.built_generation()
        if newest is None:
            return None, {}
        folder = generation_folder(self.banks, newest)
        manifest = read_manifest(folder)
        if manifest.build.get("recipe") != recipe or newest > self.ledger.generation:
            return None, {}
        bank = load_bank(folder, fingerprint=self.fingerprint, check=True)
        return bank, {entry["id"]: entry["fault"] for entry in manifest.failed}

    def _changed(
        self, bank: Bank, live: dict[str, Fact], old_failed: dict[str, str]
    ) -> tuple[list[Fact], dict[str, str]]:
        """Facts to write: those of every subject that changed since the bank was built."""
        from revisor.editing.build import row_facts

        put, gone = self.ledger.changed_since(bank.generation)
        subjects = {normal_form(fact.subject) for fact in put}
        subjects |= {normal_form(self.ledger.history(i)[-1].fact.subject) for i in gone}
        rowed = {i for row_id in bank.ids for i in row_facts(row_id)} | old_failed.keys()
        wanted = [
            fact
            for fact in live.values()
            if normal_form(fact.subject) in subjects or fact.id not in rowed
        ]
        todo = {fact.id for fact in wanted}
        return wanted, {i: fault for i, fault in old_failed.items() if i not in todo}

    def _shard(
        self,
        facts: list[Fact],
        calibration: Any,
        settings: BuildSettings,
        recipe: str,
        progress: Progress,
    ) -> tuple[list[Any], float]:
        """Rows of some facts: read from an earlier, killed build, or made and written."""
        from revisor.bank.files import generation_folder, load_bank, save_bank
        from revisor.editing.build import build_rows, empty_bank

        name = _digest([recipe, [asdict(fact) for fact in facts]])
        root = self.banks / ".partial" / name
        if generation_folder(root, 0).exists():
            progress.advance(len(facts))
            return list(load_bank(generation_folder(root, 0), check=True).rows()), 0.0
        built = build_rows(
            self.loaded, self.spec, calibration, facts, settings, on_done=progress.advance
        )
        bank = empty_bank(self.spec, calibration, settings)
        for row in built.rows:
            bank.put(row, 0)
        save_bank(
            bank.view(),
            root,
            fingerprint=self.fingerprint,
            model=self.settings.model,
            layer=settings.layer,
            build={"recipe": recipe},
            failed=[],
        )
        return built.rows, built.steps

    def _touched(
        self, bank: Bank, wanted: Sequence[Fact], live: dict[str, Fact], made: set[str]
    ) -> list[str]:
        """Standing rows whose prompts name a subject that was just written."""
        from revisor.editing.build import row_facts

        names = {normal_form(fact.subject) for fact in wanted}
        longest = max((len(name.split()) for name in names), default=0)
        found = []
        for row_id in bank.ids:
            if row_id in made:
                continue
            for fact_id in row_facts(row_id):
                words = normal_form(live[fact_id].text).split()
                spans = (
                    " ".join(words[i : i + n]).strip(".,;:!?\"'")
                    for n in range(1, longest + 1)
                    for i in range(len(words) - n + 1)
                )
                if any(span in names for span in spans):
                    found.append(row_id)
                    break
        return found

    def _tidy(self) -> None:
        """Drop shards of the build that was just published, and generations beyond the kept."""
        from revisor.bank.files import generation_folder, generations

        shutil.rmtree(self.banks / ".partial", ignore_errors=True)
        for old in generations(self.banks)[:-KEPT]:
            shutil.rmtree(generation_folder(self.banks, old), ignore_errors=True)

    def bank(self) -> Bank:
        """The newest bank.

        Raises:
            NotBuilt: there is none yet.
            WrongModel: there are only banks of other models.
            StoreDamaged: it cannot be read.
        """
        from revisor.bank.files import generation_folder, load_bank

        newest = self.built_generation()
        if newest is None:
            self._explain_missing_bank()
        return load_bank(generation_folder(self.banks, newest or 0), fingerprint=self.fingerprint)

    def _explain_missing_bank(self) -> None:
        root = self.path / "banks"
        others = sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
        if others:
            raise WrongModel(
                f"The banks in this store ({', '.join(others)}) were built for another model, "
                f"tokenizer, layer or dtype than the one at hand ({self.fingerprint}).",
                "Run: revisor build",
            )
        count = self.ledger.count()
        raise NotBuilt(
            f"This store was never built; it holds {count} fact(s).",
            "Run: revisor build" if count else "Add facts first: revisor add FILE",
        )

    def view(self, *, now: datetime | None = None) -> View:
        """The rows in force: those whose facts hold at `now`, the present by default."""
        from revisor.editing.build import row_facts

        bank = self.bank()
        moment = now or datetime.now(UTC)
        facts = {fact.id: fact for fact in self.ledger.facts(generation=bank.generation)}
        outside = {
            row_id
            for row_id in bank.ids
            if not any(i in facts and facts[i].valid_at(moment) for i in row_facts(row_id))
        }
        return bank.view(without=outside)

    @contextmanager
    def attached(
        self, model: Any = None, tokenizer: Any = None, *, watch: Watch | None = None
    ) -> Iterator[Gated]:
        """Give a model the store's facts for the length of a block.

        Args:
            model, tokenizer: your own, which must be what the store was built for; without them
                the store's.
            watch: collects which rows fire.

        Raises:
            WrongModel: model or tokenizer are not those the bank was built for.
            NotBuilt: there is no bank yet.
        """
        from revisor.gate.attach import attach
        from revisor.models.load import wrap_model

        bound = ("loaded", "spec", "fingerprint")
        own = {name: self.__dict__[name] for name in bound if name in self.__dict__}
        if model is not None:
            theirs = wrap_model(self.settings.model, model, tokenizer or self.loaded.tokenizer)
            for name in bound:
                self.__dict__.pop(name, None)
            self.__dict__["loaded"] = theirs
        try:
            view = self.view()
        except BaseException:  # a model that is refused does not become the store's
            for name in bound:
                self.__dict__.pop(name, None)
            self.__dict__.update(own)
            raise
        with attach(self.loaded.model, self.spec, self.settings.layer, view, watch=watch) as gated:
            yield gated

    def engine(self) -> Engine:
        """An engine over the newest bank."""
        from revisor.editing.build import row_facts
        from revisor.serve.engine import Engine

        view = self.view()
        facts = {fact.id: fact for fact in self.ledger.facts(generation=view.generation)}

        def facts_of(row_id: str) -> list[Fact]:
            return [facts[i] for i in row_facts(row_id) if i in facts]

        return Engine(self.loaded, self.spec, self.settings.layer, view, facts_of)

    def verify(self) -> list[str]:
        """Everything wrong with the files of the store; empty if it is whole."""
        from revisor.bank.files import generation_folder, generations, hash_faults
        from revisor.errors import RevisorError

        faults = []
        root = self.path / "banks"
        for model in sorted(root.iterdir()) if root.is_dir() else []:
            for generation in generations(model):
                try:
                    faults += hash_faults(generation_folder(model, generation))
                except RevisorError as error:
                    faults.append(error.message)
        return faults


def _listed(faults: dict[str, str]) -> list[dict[str, str]]:
    return [{"id": fact_id, "fault": fault} for fact_id, fault in faults.items()]


def _report(
    bank: Bank, written: Sequence[Fact], seconds: float, failed: list[dict[str, str]]
) -> BuildReport:
    return BuildReport(
        rows=len(bank),
        facts=len(written),
        seconds=round(seconds, 3),
        facts_per_second=round(len(written) / max(seconds, 1e-9), 3) if written else 0.0,
        failed=failed,
        generation=bank.generation,
    )


def _probed_layer(loaded: LoadedModel, spec: Spec) -> int:
    """The best layer by the probe, among those in the first half where subjects are enriched."""
    from revisor.editing.calibration import compare_layers

    depth = spec.depth
    candidates = sorted(
        {min(depth - 1, max(0, round(depth * share / 30))) for share in range(2, 11)}
    )
    with Progress("Probing layers", total=len(candidates), unit="layers") as progress:
        scores = compare_layers(loaded, spec, candidates, on_done=progress.advance)
    return scores[0].layer


def _dtype_name(loaded: LoadedModel) -> str:
    import torch

    names = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
    return names[next(loaded.model.parameters()).dtype]


def _by_subject(facts: Sequence[Fact]) -> Iterator[list[Fact]]:
    """Shards of about `SHARD` facts that never part the facts of one subject."""
    groups: dict[str, list[Fact]] = {}
    for fact in facts:
        groups.setdefault(normal_form(fact.subject), []).append(fact)
    shard: list[Fact] = []
    for group in groups.values():
        if shard and len(shard) + len(group) > SHARD:
            yield shard
            shard = []
        shard = shard + group
    if shard:
        yield shard


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

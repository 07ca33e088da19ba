"""A store: facts, and a model that answers with them. What users call; the work is done below."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revisor.config import StoreSettings, sentence_encoder
from revisor.errors import UsageError
from revisor.facts.changes import Generation, Put, Remove
from revisor.facts.check import Finding, findings
from revisor.facts.fact import Fact
from revisor.facts.imports import Added, OnConflict, import_facts, refuse_conflicts
from revisor.facts.ledger import Ledger
from revisor.workspace import Clock, Workspace, system_clock

if TYPE_CHECKING:
    from datetime import datetime

    from revisor.engines.answers import Engine
    from revisor.engines.transformers import FactLogitsProcessor
    from revisor.gate.gate import FactGate
    from revisor.gate.probe import Probe
    from revisor.gate.trace import Trace
    from revisor.index import FactIndex
    from revisor.models.load import LoadedModel
    from revisor.neuraldb.method import BuildReport
    from revisor.neuraldb.method import Workspace as BankWorkspace
    from revisor.operations.asking import AskedFacts
    from revisor.operations.erase import Erased
    from revisor.operations.explain import Explanation
    from revisor.operations.hf_export import Exported
    from revisor.question.encoder import QuestionEncoder


class Store:
    """A folder with facts, bound to a model; open it with `Store.open` or `Store.init`.

    Example:
        >>> with Store.open("revisor-store") as store:          # doctest: +SKIP
        ...     store.add("facts.jsonl")
        ...     with store.attached(model, tokenizer):
        ...         model.generate(...)
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._lock = threading.RLock()
        self._index: FactIndex | None = None
        self._leases: list[Any] = []

    @classmethod
    def init(
        cls,
        path: str | Path,
        *,
        model: str,
        method: str = "revisor",
        dtype: str = "auto",
        device: str = "auto",
        probe: str = "auto",
        strictness: str = "normal",
        encoder: str = "default",
        database: str | None = None,
        **of_neuraldb: Any,
    ) -> Store:
        """Make a store: open the model once, measure its probe or its layers, write `store.toml`.

        Args:
            model: `smollm2`, a Hugging Face id, a folder or a `.gguf` file.
            method: `revisor`, or `neuraldb` for the system as published.
            probe: `auto`, or `off`.
            strictness: how surely a fact has to be asked for: `low`, `normal` or `high`.
            encoder: what compares questions: `default`, or `sentence-transformers:` and a folder
                or a name.
            database: SQLAlchemy URL of a ledger elsewhere, such as PostgreSQL; one that has facts
                is used with them.
            of_neuraldb: `layer`, `gamma`, `whiten`, `layers_path`, `projection_path`, `bits`,
                `search`: see `StoreSettings`.

        Raises:
            UsageError: there is a store already, or a setting is not known.
            ModelUnavailable, UnknownFamily, ProbeFailed: the model cannot be used.
            ModelUnavailable, NotSupported: the encoder cannot be used.
        """
        from revisor.operations.init import make_store

        wanted = StoreSettings(
            model=model,
            method=method,
            dtype=dtype,
            device=device,
            probe=probe,
            strictness=strictness,
            encoder=encoder,
            database=database,
            **of_neuraldb,
        )
        loaded, fitted = make_store(Path(path), wanted)
        store = cls.open(path)
        store.__dict__.update(loaded=loaded, probe=fitted)
        return store

    @classmethod
    def open(cls, path: str | Path, *, clock: Clock | None = None) -> Store:
        """Open a store that is there; no model is opened until one is needed.

        Args:
            clock: tells which facts hold; the system's by default.

        Raises:
            NotFound: there is none.
            BadInput: `store.toml` has faults.
        """
        return cls(Workspace.open(Path(path), clock=clock))

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
        from revisor.operations.archive import unpack

        unpack(Path(archive), Path(path), database=database, actor=actor)
        return cls.open(path)

    @property
    def path(self) -> Path:
        """The store's folder."""
        return self.workspace.path

    @property
    def settings(self) -> StoreSettings:
        """What it is bound to."""
        return self.workspace.settings

    @property
    def ledger(self) -> Ledger:
        """Its facts and their history."""
        return self.workspace.ledger

    def close(self) -> None:
        """Let go of the database, the index and the banks that engines of this store use."""
        for lease in self._leases:
            lease.close()
        self._leases.clear()
        if self._index is not None:
            self._index.close()
            self._index = None
        self.ledger.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Facts

    def add(
        self,
        source: str | Path | Iterable[Fact],
        *,
        actor: str = "",
        reason: str = "",
        on_conflict: OnConflict = "stop",
        skip_known: bool = False,
        approved_by: str | None = None,
    ) -> Added:
        """Import a file, or facts, in one transaction: all of it or nothing. They are live when
        it returns, unless an older generation was published.

        Args:
            on_conflict: what becomes of facts that contradict one another: `stop` imports
                nothing, `keep` keeps what came first, `replace` takes what came last.
            skip_known: leave out facts whose object the base model says by itself; opens it.
            approved_by: who approved the import, where a namespace asks for approval.

        Raises:
            BadInput: lines that cannot be read, all listed.
            Conflict: facts that contradict one another, all listed.
            NeedsApproval: a namespace asks for approval, and nobody but the actor gave it.
        """
        added = import_facts(
            self.ledger,
            source,
            actor=actor,
            reason=reason,
            on_conflict=on_conflict,
            known_to_base=self.known_to_base if skip_known else None,
            approved_by=approved_by,
        )
        if self.settings.method == "revisor":
            self.index.refresh()  # reads a large import here, not where the next question is asked
        return added

    def known_to_base(self, facts: Sequence[Fact]) -> set[str]:
        """The ids of those facts that the base model says by itself: greedy, token for token."""
        from revisor.neuraldb.build.known import known_facts

        return known_facts(self.loaded, facts)

    def check(
        self, *, namespaces: Collection[str] | None = None, moment: datetime | None = None
    ) -> list[Finding]:
        """What is wrong or worth knowing about the live facts taken together.

        Args:
            namespaces: only facts of these.
            moment: only facts that hold at this (aware) moment.
        """
        return findings(self.ledger.facts(at=moment, namespaces=namespaces))

    def ask_facts(
        self,
        facts: Iterable[Fact] | None = None,
        *,
        namespaces: Collection[str] | None = None,
        moment: datetime | None = None,
    ) -> AskedFacts:
        """Ask facts their own prompts and paraphrases through the gate.

        Args:
            facts: those to ask, if they hold; by default all that are live.
            namespaces, moment: see `gate`.
        """
        from revisor.operations.asking import ask_facts

        self._need("revisor", "check --ask")
        if facts is None:
            facts = self.ledger.facts(generation=self.ledger.live_generation())
        now = moment or self.workspace.clock()
        holding = (fact for fact in _within(facts, namespaces) if fact.valid_at(now))
        gate = self.gate(needs_model=False, namespaces=namespaces, moment=moment)
        return ask_facts(gate, holding)

    def set_object(
        self,
        fact_id: str,
        obj: str,
        *,
        actor: str = "",
        reason: str = "",
        approved_by: str | None = None,
    ) -> Fact:
        """Give a fact a new object: a new revision of it.

        Raises:
            NotFound: no live fact has this id.
            BadInput: the object cannot be one.
            Conflict: with it the fact contradicts others, all listed; nothing is changed.
            NeedsApproval: see `add`.
        """
        fact = replace(self.ledger.get(fact_id), object=obj.strip())
        refuse_conflicts(self.ledger, fact)
        self.ledger.apply([Put(fact)], actor=actor, reason=reason, approved_by=approved_by)
        return fact

    def remove(
        self,
        fact_ids: Sequence[str],
        *,
        actor: str = "",
        reason: str = "",
        approved_by: str | None = None,
    ) -> int:
        """End some facts; their history stays.

        Raises:
            NotFound: no live fact has one of these ids; nothing is removed.
            NeedsApproval: see `add`.
        """
        whole = {self.ledger.get(fact_id).id for fact_id in fact_ids}
        changes = [Remove(fact_id) for fact_id in sorted(whole)]
        made = self.ledger.apply(changes, actor=actor, reason=reason, approved_by=approved_by)
        return made.removed

    def purge(
        self,
        fact_ids: Sequence[str],
        *,
        actor: str = "",
        reason: str = "",
        approved_by: str | None = None,
    ) -> Erased:
        """Erase facts, live or removed, and all they ever were: text, vectors, exports.

        Args:
            approved_by: see `add`.

        Raises:
            NeedsApproval: see `add`; nothing is erased.
            NotFound: no fact ever had one of these ids; nothing is erased.
            UsageError: one of them is the reverse of a fact that stays.
            Conflict: another process builds, or reads the database (see operations/erase.py).
        """
        from revisor.operations.erase import purge

        ids = self.ledger.with_reverses(self.ledger.ids_of(fact_ids))
        erased = purge(self.workspace, ids, actor=actor, reason=reason, approved_by=approved_by)
        if self._index is not None:
            self._index.erase()
        return erased

    def publish(self, generation: int | str, *, actor: str = "", reason: str = "") -> int:
        """Make a generation the live one: the newest, which is followed from then on, or an older
        one, which stays live whatever is added.

        Raises:
            NotFound: there is no such generation.
        """
        return self.ledger.publish(generation, actor=actor, reason=reason)

    def rollback(
        self,
        to: int | str,
        *,
        actor: str = "",
        reason: str = "",
        approved_by: str | None = None,
    ) -> Generation:
        """Make the facts of an earlier generation hold again, as a new generation, and live.

        Raises:
            NotFound: there is no such generation.
            NeedsApproval: see `add`.
        """
        return self.ledger.rollback(to, actor=actor, reason=reason, approved_by=approved_by)

    # The model and its facts

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model the store is bound to, opened at the first use."""
        from revisor.models.load import load_model

        settings = self.settings
        return load_model(settings.model, dtype=settings.dtype, device=settings.device)

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer; the model itself is not opened for it."""
        from revisor.models.load import load_tokenizer

        if "loaded" in self.__dict__:
            return self.loaded.tokenizer
        return load_tokenizer(self.settings.model)

    @property
    def index(self) -> FactIndex:
        """Where facts are looked up; it follows the ledger."""
        from revisor.index import FactIndex

        with self._lock:
            if self._index is None:
                self._index = FactIndex.open(self.ledger, self.workspace.index)
            return self._index

    @cached_property
    def encoder(self) -> QuestionEncoder:
        """What compares questions, as `store.toml` names it.

        Raises:
            ModelUnavailable, NotSupported: it cannot be opened, or does not tell questions apart.
        """
        from revisor.gate.encoders import open_encoder

        return open_encoder(sentence_encoder(self.settings.encoder))

    @cached_property
    def probe(self) -> Probe | None:
        """What tells where an answer is due; None if the store goes by the text alone."""
        return None if self.settings.probe == "off" else self._probe_for(self.loaded)

    def gate(
        self,
        model: Any = None,
        tokenizer: Any = None,
        *,
        generation: int | None = None,
        namespaces: Collection[str] | None = None,
        moment: datetime | None = None,
        needs_model: bool = True,
    ) -> FactGate:
        """What decides and writes, for an engine of one's own.

        Args:
            model, tokenizer: the user's own; the store's without.
            generation: of the facts; the live one, followed, without.
            namespaces: only facts of these.
            moment: what is taken for now (aware): questions that tell no time are answered with
                the facts that hold then.
            needs_model: False to go without a probe, by the text alone.

        Raises:
            UsageError: the store's method is another.
            ProbeFailed: the user's model does not tell where an answer is due.
        """
        from revisor.gate.decide import THRESHOLDS
        from revisor.gate.gate import FactGate

        self._need("revisor", "a gate at the output")
        probe = self._probe_of(model, tokenizer) if needs_model else None
        if tokenizer is None:
            tokenizer = self.tokenizer if not needs_model else self.loaded.tokenizer
        index, clock = self.index, self.workspace.clock

        def view() -> Any:
            when = moment
            if when is None and clock is not system_clock:
                when = clock()
            return index.view(generation=generation, namespaces=namespaces, moment=when)

        return FactGate(
            view=view,
            tokenizer=tokenizer,
            encoder=self.encoder,
            probe=probe,
            threshold=THRESHOLDS[self.settings.strictness],
        )

    def _probe_of(self, model: Any, tokenizer: Any) -> Probe | None:
        if self.settings.probe == "off":
            return None
        if model is None or ("loaded" in self.__dict__ and model is self.loaded.model):
            return self.probe
        from revisor.models.load import left_as_it_was, wrap_model

        with left_as_it_was(model):
            own = self.tokenizer if tokenizer is None else tokenizer
            return self._probe_for(wrap_model(self.settings.model, model, own))

    def _probe_for(self, loaded: LoadedModel) -> Probe:
        """By fingerprint: the model may be another than the store was made for."""
        from revisor.gate.functional import read_probe
        from revisor.gate.probe import load_probe, probe_fingerprint, require

        found = read_probe(self.workspace.probe(probe_fingerprint(loaded)))
        if found is None:
            found = load_probe(loaded)
        require(found.figures, loaded.name)
        return found

    @contextmanager
    def attached(
        self,
        model: Any = None,
        tokenizer: Any = None,
        *,
        trace: Trace | None = None,
        generation: int | None = None,
        namespaces: Collection[str] | None = None,
        moment: datetime | None = None,
    ) -> Iterator[Any]:
        """Give a model the store's facts for the length of a block.

        Facts that are added, changed or removed meanwhile, or that begin or end to hold, do so in
        the next answer. After the block a model of your own is as it was.

        Args:
            model, tokenizer: your own; without them the store's.
            trace: collects the facts used.
            generation, namespaces, moment: see `gate`.

        Raises:
            WrongModel: of the method `neuraldb`: they are not those the bank was built for.
            NotBuilt: of the method `neuraldb`: there is no bank yet.
        """
        if self.settings.method == "neuraldb":
            from revisor.neuraldb.method import attached as with_bank

            with with_bank(self.bank_workspace, model, tokenizer) as gated:
                yield gated
            return
        from revisor.engines.transformers import attached

        gate = self.gate(
            model, tokenizer, generation=generation, namespaces=namespaces, moment=moment
        )
        own = self.loaded.model if model is None else model
        with attached(own, gate.tokenizer, gate, trace=trace) as bound:
            yield bound

    def logits_processor(
        self, tokenizer: Any, *, model: Any = None, trace: Trace | None = None
    ) -> FactLogitsProcessor:
        """A logits processor for `generate`, one for each call; put it first.

        Args:
            tokenizer: the model's.
            model: your own, if it is not the one that the store is bound to.
        """
        from revisor.engines.transformers import FactLogitsProcessor

        return FactLogitsProcessor(self.gate(model, tokenizer), tokenizer, trace=trace)

    def engine(
        self, *, namespaces: Collection[str] | None = None, moment: datetime | None = None
    ) -> Any:
        """Answers with the facts that are live and hold at each moment, batched or streamed.

        Args:
            namespaces, moment: see `gate`.
        """
        if namespaces is not None or moment is not None:
            self._need("revisor", "choice of facts by namespace or time")
        if self.settings.method == "neuraldb":
            from revisor.neuraldb.method import engine

            made, lease = engine(self.bank_workspace)
            self._leases.append(lease)
            return made
        from revisor.engines.answers import Engine

        gate = self.gate(namespaces=namespaces, moment=moment)
        answers: Engine = Engine(self.loaded, gate)
        return answers

    def explain(
        self,
        prompt: str | Sequence[Mapping[str, str]],
        *,
        chat: bool = False,
        needs_model: bool = True,
        namespaces: Collection[str] | None = None,
        moment: datetime | None = None,
    ) -> Explanation:
        """What is decided at the end of a prompt, and why.

        Args:
            prompt: a text, or the messages of a chat.
            chat: the prompt is a user's turn in the model's chat template.
            needs_model: False to leave open whether the model's logits say that an answer is due.
            namespaces, moment: see `gate`.
        """
        from revisor.operations.explain import explain

        gate = self.gate(needs_model=needs_model, namespaces=namespaces, moment=moment)
        loaded = self.loaded if needs_model else None
        return explain(gate, prompt, chat=chat, loaded=loaded, leave_open=not needs_model)

    # The method neuraldb

    @property
    def bank_workspace(self) -> BankWorkspace:
        """What the operations of the method `neuraldb` work on."""
        from revisor.neuraldb.method import NeuralDBSettings
        from revisor.neuraldb.method import Workspace as BankWorkspace

        with self._lock:
            made: BankWorkspace | None = self.__dict__.get("_bank_workspace")
            if made is None:
                made = BankWorkspace(
                    path=self.path,
                    settings=NeuralDBSettings.of(self.settings),
                    ledger=self.ledger,
                    open_model=lambda: self.loaded,
                    clock=self.workspace.clock,
                    note=lambda: {"settings": self.workspace.settings_digest()},
                )
                self.__dict__["_bank_workspace"] = made
            return made

    def build(
        self, *, actor: str = "", workers: int | None = None, ray: str | None = None
    ) -> BuildReport:
        """Of the method `neuraldb`: write the rows of what changed, check them through the gate,
        publish a bank. Of `revisor`, whose facts are live at once, there is nothing to build.

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
        from revisor.neuraldb.method import BuildReport, WorkerOptions, build
        from revisor.operations.verify import take_settings_over

        if self.settings.method == "revisor":
            take_settings_over(self.workspace, actor=actor)
            return BuildReport(
                rows=0,
                facts=0,
                seconds=0.0,
                facts_per_second=0.0,
                failed=[],
                generation=self.ledger.live_generation(),
            )
        return build(
            self.bank_workspace, actor=actor, options=WorkerOptions(workers=workers, ray=ray)
        )

    def stale(self) -> bool:
        """Whether `build` has something to do."""
        if self.settings.method == "revisor":
            return False
        from revisor.neuraldb.method import stale

        return stale(self.bank_workspace)

    def _need(self, method: str, what: str) -> None:
        if self.settings.method != method:
            raise UsageError(
                f"This store's method is {self.settings.method}, which has no {what}.",
                f"Make one with: revisor init --method {method}",
            )

    # A store as a whole

    def collect(self, keep: int, *, actor: str = "") -> list[int]:
        """Remove all banks but the last `keep` generations of each model; finish an erasure.

        A generation that a process uses, or that a tag names, stays. A store of the method
        `revisor` needs no bank: what version 0.1 left in it goes.

        Returns:
            The generations of which a bank was removed.
        """
        from revisor.operations.collect import collect_banks
        from revisor.operations.erase import finish

        gone = collect_banks(self.workspace, self.bank_workspace, keep)
        if self.ledger.unscrubbed:
            finish(self.workspace)
        if gone:
            self.ledger.record(
                "gc", actor=actor, generation=self.ledger.generation, removed=sorted(gone)
            )
        return gone

    def export(self, file: str | Path, *, actor: str = "") -> int:
        """Write the facts to a JSONL file, or the whole store to a `.zip`.

        Returns:
            How many facts.

        Raises:
            UsageError, CannotWrite: there is no such folder, or the file cannot be written.
        """
        from revisor.operations.archive import export

        return export(self.workspace, Path(file), actor=actor)

    def export_model(self, folder: str | Path, *, actor: str = "") -> Exported:
        """Write the model with its facts as a folder that transformers opens without revisor.

        Raises:
            UsageError: there is something at `folder` already.
            NotBuilt: of the method `neuraldb`: there is no bank yet.
            CannotWrite: the folder cannot be written; nothing is left behind.
        """
        if self.settings.method == "neuraldb":
            from revisor.neuraldb.method import export_model as with_bank

            exported: Exported = with_bank(self.bank_workspace, Path(folder), actor=actor)
            return exported
        from revisor.operations.hf_export import export_model

        return export_model(self.workspace, self.loaded, self.gate(), Path(folder), actor=actor)

    def verify(self) -> list[str]:
        """Everything wrong with settings, ledger and banks; empty if the store is whole."""
        from revisor.operations.verify import settings_faults

        faults = [*settings_faults(self.workspace), *self.ledger.verify()]
        if self.settings.method == "neuraldb":
            from revisor.neuraldb.method import bank_faults

            faults += bank_faults(self.bank_workspace)
        return faults


def _within(facts: Iterable[Fact], namespaces: Collection[str] | None) -> Iterator[Fact]:
    """Those of some facts that are of these namespaces; all without."""
    return (fact for fact in facts if namespaces is None or fact.namespace in namespaces)

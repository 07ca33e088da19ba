"""A store: facts, and a model that answers with them. What users call; the work is done below."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revisor.config import settings_from
from revisor.facts import imports
from revisor.facts.changes import Generation
from revisor.facts.check import Finding, findings
from revisor.facts.fact import Fact
from revisor.facts.imports import Added, OnConflict
from revisor.operations import archive as archives
from revisor.operations.at_output import AtOutput
from revisor.operations.method import Selection
from revisor.operations.resources import Resources
from revisor.operations.with_bank import WithBank
from revisor.workspace import Clock, Workspace

if TYPE_CHECKING:  # what needs torch is imported where it is used: facts alone are quick without
    from revisor.engines.transformers import FactLogitsProcessor
    from revisor.gate.gate import FactGate
    from revisor.gate.probe import Probe
    from revisor.gate.trace import Trace
    from revisor.index import FactIndex
    from revisor.models.load import LoadedModel
    from revisor.neuraldb import method as neuraldb
    from revisor.operations.asking import AskedFacts
    from revisor.operations.erase import Erased
    from revisor.operations.explain import Explanation
    from revisor.operations.hf_export import Exported
    from revisor.question.encoder import QuestionEncoder


class Store:
    """A folder with facts, bound to a model; open it with `Store.open` or `Store.init`.

    Of all methods: `actor` and `reason` are who makes a change, and why, as the history has them;
    `approved_by` is who approved it, where a namespace asks for that. A fact's id may be given by
    its first letters (4 or more), a generation by its number or a tag. A store may be used by
    several threads.

    Attributes:
        workspace: the three below, and a clock.
        path: the store's folder.
        settings: what it is bound to.
        ledger: its facts and their history.

    Example:
        >>> with Store.open("revisor-store") as store:          # doctest: +SKIP
        ...     store.add("facts.jsonl")
        ...     with store.attached(model, tokenizer):
        ...         model.generate(...)
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.path, self.settings, self.ledger = workspace.path, workspace.settings, workspace.ledger
        self._resources = Resources(workspace)
        kind = WithBank if self.settings.method == "neuraldb" else AtOutput
        self._method: AtOutput | WithBank = kind(workspace, self._resources)

    @classmethod
    def init(cls, path: str | Path, *, model: str, **settings: Any) -> Store:
        """Make a store: open the model once, measure its probe or its layers, write `store.toml`.

        Args:
            model: a packaged one (`smollm2`, `qwen2.5-coder-1.5b`), a Hugging Face id, a folder
                or a `.gguf` file.
            settings: any other of `StoreSettings`, such as `method` or `database`; what is not
                given is its default, or chosen for the model.

        Raises:
            UsageError: there is a store already.
            BadInput: a setting is not known, or cannot have this value.
            ModelUnavailable, UnknownFamily, NotSupported: the model cannot be used.
            ModelUnavailable, NotSupported: the encoder cannot be used.
        """
        from revisor.operations.init import make_store

        loaded, fitted = make_store(Path(path), settings_from({"model": model, **settings}))
        store = cls.open(path)
        store._resources.loaded, store._resources.probe = loaded, fitted
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
        archives.unpack(Path(archive), Path(path), database=database, actor=actor)
        return cls.open(path)

    def close(self) -> None:
        """Let go of the database, the index and the banks; what is used afterwards opens again."""
        self._method.close()
        self._resources.close()
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
            source: a file that `revisor add` reads, or facts.
            on_conflict: what becomes of facts that contradict one another: `stop` imports
                nothing, `keep` keeps what came first, `replace` takes what came last.
            skip_known: leave out facts whose object the base model says by itself; opens it.
            approved_by: who approved the import, where a namespace asks for approval.

        Raises:
            BadInput: lines that cannot be read, all listed.
            Conflict: facts that contradict one another, all listed.
            NeedsApproval: a namespace asks for approval, and nobody but the actor gave it.
        """
        added = imports.import_facts(
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
        chosen = Selection(namespaces=namespaces, moment=moment)
        return findings(self.ledger.facts(at=chosen.moment, namespaces=chosen.namespaces))

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
        chosen = Selection(namespaces=namespaces, moment=moment)
        return self._method.ask_facts(facts, chosen)

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
        return imports.set_object(
            self.ledger, fact_id, obj, actor=actor, reason=reason, approved_by=approved_by
        )

    def remove(
        self,
        fact_ids: Sequence[str],
        *,
        actor: str = "",
        reason: str = "",
        approved_by: str | None = None,
    ) -> int:
        """End some facts; their history stays. Tells how many, their reverses among them.

        Raises:
            NotFound: no live fact has one of these ids; nothing is removed.
            NeedsApproval: see `add`.
        """
        return imports.remove(
            self.ledger, fact_ids, actor=actor, reason=reason, approved_by=approved_by
        )

    def purge(
        self,
        fact_ids: Sequence[str],
        *,
        actor: str = "",
        reason: str = "",
        approved_by: str | None = None,
    ) -> Erased:
        """Erase facts, live or removed, and all they ever were: text, vectors, exports.

        Raises:
            NeedsApproval: see `add`; nothing is erased.
            NotFound: no fact ever had one of these ids; nothing is erased.
            UsageError: one of them is the reverse of a fact that stays.
            Conflict: another process builds, or reads the database.
        """
        from revisor.operations.erase import purge

        ids = self.ledger.with_reverses(self.ledger.ids_of(fact_ids))
        erased = purge(self.workspace, ids, actor=actor, reason=reason, approved_by=approved_by)
        self._resources.erase_from_index()
        return erased

    def publish(
        self,
        generation: int | str,
        *,
        actor: str = "",
        reason: str = "",
        approved_by: str | None = None,
    ) -> int:
        """Make a generation the live one: the newest, which is followed from then on, or an older
        one, which stays live whatever is added. Tells its number.

        Raises:
            NotFound: there is no such generation.
            NeedsApproval: an older one has other facts in a namespace that asks for approval.
        """
        return self.ledger.publish(generation, actor=actor, reason=reason, approved_by=approved_by)

    def rollback(
        self, to: int | str, *, actor: str = "", reason: str = "", approved_by: str | None = None
    ) -> Generation:
        """Make the facts of an earlier generation hold again, as a new generation, and live.

        Raises:
            NotFound: there is no such generation.
            NeedsApproval: see `add`.
        """
        return self.ledger.rollback(to, actor=actor, reason=reason, approved_by=approved_by)

    # The model and its facts

    @property
    def loaded(self) -> LoadedModel:
        """The model the store is bound to, opened at the first use unless one was assigned."""
        return self._resources.loaded

    @loaded.setter
    def loaded(self, loaded: LoadedModel) -> None:
        self._resources.loaded = loaded

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer; the model itself is not opened for it."""
        return self._resources.tokenizer

    @property
    def index(self) -> FactIndex:
        """Where facts are looked up; it follows the ledger."""
        return self._resources.index

    @property
    def encoder(self) -> QuestionEncoder:
        """What compares questions, as `store.toml` names it."""
        return self._resources.encoder

    @property
    def probe(self) -> Probe | None:
        """What tells where an answer is due; None if the store goes by the text alone."""
        return self._resources.probe

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
            generation: number of the facts' generation; the live one, followed, without.
            namespaces: only facts of these.
            moment: what is taken for now (aware), where a question tells no time.
            needs_model: False to go without a probe, by the text alone.

        Raises:
            NotFound: there is no such generation.
            UsageError: the store's method is another, or an argument is not of its kind.
            NotSupported: the user's model does not tell where an answer is due.
        """
        chosen = Selection(generation=generation, namespaces=namespaces, moment=moment)
        return self._method.gate(chosen, model=model, tokenizer=tokenizer, needs_model=needs_model)

    def attached(
        self,
        model: Any = None,
        tokenizer: Any = None,
        *,
        trace: Trace | None = None,
        generation: int | None = None,
        namespaces: Collection[str] | None = None,
        moment: datetime | None = None,
    ) -> AbstractContextManager[Any]:
        """Give a model the store's facts for the length of a block.

        What changes meanwhile does so in the next answer. The model has the facts in all threads,
        and in blocks within the block: where both would write, the inner one does. After the
        block, also if an exception ends it, a model of your own is as it was.

        Args:
            model, tokenizer: your own; without them the store's.
            trace: collects the facts used by one call of `generate`; for the next one, open a new
                block with a new trace.
            generation, namespaces, moment: see `gate`.

        Returns:
            A context manager; `as` gives the model with its gate (`Attached`).

        Raises:
            NotFound, UsageError, NotSupported: see `gate`.
            WrongModel: of the method `neuraldb`: they are not those the bank was built for.
            NotBuilt: of the method `neuraldb`: there is no bank yet.
        """
        chosen = Selection(generation=generation, namespaces=namespaces, moment=moment)
        return self._method.attached(model, tokenizer, chosen, trace)

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
        """Answers with the facts that hold at each moment, batched or streamed.

        Args:
            namespaces, moment: see `gate`.

        Returns:
            An `Engine`.
        """
        return self._method.engine(Selection(namespaces=namespaces, moment=moment))

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

        Raises:
            UsageError: the prompt is empty, or no prompt; or see `gate`.
        """
        chosen = Selection(namespaces=namespaces, moment=moment)
        return self._method.explain(prompt, chosen, chat=chat, needs_model=needs_model)

    @property
    def bank_workspace(self) -> neuraldb.Workspace:
        """What operations of `neuraldb` work on; UsageError where the method is another."""
        return self._method.bank_workspace

    def build(
        self, *, actor: str = "", workers: int | None = None, ray: str | None = None
    ) -> neuraldb.BuildReport:
        """Of the method `neuraldb`: write and check the rows of what changed, publish a bank.

        Args:
            workers: processes that make rows, each with the model in it; without, this one does.
                Of several a script needs `if __name__ == "__main__":` around what it runs.
            ray: address of a Ray cluster on which they run (extra `scale`); without `workers`
                one a GPU, or one a machine.

        Raises:
            WorkersLost: workers die one after the other.
            NotSupported, UsageError: ray is not installed, or there is no such cluster.
            Conflict: another process is building.
            CannotWrite: the disk is full, or the store may only be read.
        """
        return self._method.build(actor=actor, workers=workers, ray=ray)

    def stale(self) -> bool:
        """Whether `build` has something to do."""
        return self._method.stale()

    # A store as a whole

    def collect(self, keep: int, *, actor: str = "") -> list[int]:
        """Remove all banks but the last `keep` generations of each model; finish an erasure.

        A generation that a process uses, or that a tag names, stays.

        Returns:
            The generations of which a bank was removed.
        """
        from revisor.operations.erase import note_collected

        gone = self._method.collect(keep)
        note_collected(self.workspace, gone, actor=actor)
        return gone

    def export(self, file: str | Path, *, actor: str = "") -> int:
        """Write the facts to a JSONL file, or the whole store to a `.zip`; tells how many.

        Raises:
            UsageError, CannotWrite: there is no such folder, or the file cannot be written.
        """
        return archives.export(self.workspace, Path(file), actor=actor)

    def export_model(self, folder: str | Path, *, actor: str = "") -> Exported:
        """Write the model with its facts as a folder that transformers opens without revisor.

        Raises:
            UsageError: there is something at `folder` already.
            NotBuilt: of the method `neuraldb`: there is no bank yet.
            CannotWrite: the folder cannot be written; nothing is left behind.
        """
        return self._method.export_model(Path(folder), actor=actor)

    def verify(self) -> list[str]:
        """Everything wrong with settings, ledger and banks; empty if the store is whole."""
        settings = self.workspace.settings_faults()
        return [*settings, *self.ledger.verify(), *self._method.faults()]

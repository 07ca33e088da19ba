"""The method `revisor` of a store: facts are found in the text and written at the output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revisor.errors import UsageError
from revisor.facts.fact import Fact
from revisor.operations.method import Method, Selection
from revisor.workspace import system_clock

if TYPE_CHECKING:
    from revisor.engines.answers import Engine
    from revisor.gate.gate import FactGate
    from revisor.gate.trace import Trace
    from revisor.neuraldb.method import BuildReport
    from revisor.operations.asking import AskedFacts
    from revisor.operations.explain import Explanation
    from revisor.operations.hf_export import Exported

# Modules that import torch are imported where they are used, so that commands on facts alone are
# quick.


class AtOutput(Method):
    """Facts are live when their transaction commits, and no model is changed for them."""

    other = "neuraldb"

    def gate(
        self,
        selection: Selection,
        *,
        model: Any = None,
        tokenizer: Any = None,
        needs_model: bool = True,
    ) -> FactGate:
        """What decides and writes, for the user's model or the store's."""
        from revisor.gate.gate import FactGate
        from revisor.gate.scope import THRESHOLDS

        resources, clock = self.resources, self.workspace.clock
        _check_own(model, tokenizer)
        probe = resources.probe_of(model, tokenizer) if needs_model else None
        if tokenizer is None:
            tokenizer = resources.loaded.tokenizer if needs_model else resources.tokenizer
        index = resources.index
        if selection.generation is not None:  # refused here, not in the middle of an answer
            index.view(generation=selection.generation)

        def view() -> Any:
            moment = selection.moment
            if moment is None and clock is not system_clock:
                moment = clock()
            return index.view(
                generation=selection.generation, namespaces=selection.namespaces, moment=moment
            )

        return FactGate(
            view=view,
            tokenizer=tokenizer,
            encoder=resources.encoder,
            probe=probe,
            threshold=THRESHOLDS[self.workspace.settings.strictness],
        )

    @contextmanager
    def attached(
        self, model: Any, tokenizer: Any, selection: Selection, trace: Trace | None
    ) -> Iterator[Any]:
        """A model with the facts, for the length of a block."""
        from revisor.engines.transformers import attached

        gate = self.gate(selection, model=model, tokenizer=tokenizer)
        own = self.resources.loaded.model if model is None else model
        with attached(own, gate.tokenizer, gate, trace=trace) as bound:
            yield bound

    def engine(self, selection: Selection) -> Engine:
        """Answers with the facts that are live and hold at each moment."""
        from revisor.engines.answers import Engine

        gate = self.gate(selection)
        return Engine(self.resources.loaded, gate)

    def explain(
        self,
        prompt: str | Sequence[Mapping[str, str]],
        selection: Selection,
        *,
        chat: bool,
        needs_model: bool,
    ) -> Explanation:
        """What is decided at the end of a prompt, and why."""
        from revisor.operations.explain import explain

        gate = self.gate(selection, needs_model=needs_model)
        loaded = self.resources.loaded if needs_model else None
        return explain(gate, prompt, chat=chat, loaded=loaded, leave_open=not needs_model)

    def ask_facts(self, facts: Iterable[Fact] | None, selection: Selection) -> AskedFacts:
        """Facts asked their own prompts and paraphrases through the gate."""
        from revisor.operations.asking import ask_facts

        ledger, namespaces = self.workspace.ledger, selection.namespaces
        if facts is None:
            facts = ledger.facts(generation=ledger.live_generation())
        now = selection.moment or self.workspace.clock()
        holding = (
            fact
            for fact in facts
            if (namespaces is None or fact.namespace in namespaces) and fact.valid_at(now)
        )
        return ask_facts(self.gate(selection, needs_model=False), holding)

    def build(self, *, actor: str, workers: int | None, ray: str | None) -> BuildReport:
        """There is nothing to build; settings that were changed by hand are taken over."""
        from revisor.neuraldb.method import BuildReport

        ws, ledger = self.workspace, self.workspace.ledger
        if any(ws.settings_faults()):
            ledger.record("settings", actor=actor, settings=ws.settings_digest())
        live = ledger.live_generation()
        return BuildReport(
            rows=0, facts=0, seconds=0.0, facts_per_second=0.0, failed=[], generation=live
        )

    def stale(self) -> bool:
        """Never: facts are live at once."""
        return False

    def collect(self, keep: int) -> list[int]:
        """Remove the banks that version 0.1 left."""
        from revisor.operations.erase import collect_old_banks

        return collect_old_banks(self.workspace, keep)

    def export_model(self, folder: Path, *, actor: str) -> Exported:
        """Write the model with its facts as a folder."""
        from revisor.operations.hf_export import export_model

        gate = self.gate(Selection())
        return export_model(self.workspace, self.resources.loaded, gate, folder, actor=actor)

    def faults(self) -> list[str]:
        """None: what this method keeps is made again where it is damaged."""
        return []


def _check_own(model: Any, tokenizer: Any) -> None:
    """Refuse what is no model, or no tokenizer, before anything is measured with it."""
    if model is not None and not hasattr(model, "modules"):
        raise UsageError(
            f"A {type(model).__name__} cannot be given facts.",
            "Pass a causal language model of transformers, then its tokenizer.",
        )
    if tokenizer is not None and not hasattr(tokenizer, "get_vocab"):
        raise UsageError(
            f"A {type(tokenizer).__name__} is no tokenizer.", "Pass the model, then its tokenizer."
        )

"""Facts in a `llama_cpp.Llama`: its own completions, by its list of logits processors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from llama_cpp import LogitsProcessorList

from revisor.engines.llama_model import wrap_llama
from revisor.engines.llama_tokens import GgufTokenizer
from revisor.errors import NotSupported, UsageError
from revisor.gate.functional import Probe, require
from revisor.gate.gate import FactGate
from revisor.gate.probe import load_probe
from revisor.gate.trace import Trace

log = logging.getLogger(__name__)

# Options by which llama.cpp forbids tokens itself; then no other may be ruled out.
_GRAMMARS = ("grammar", "response_format", "tools", "functions")


class GivesGate(Protocol):
    """What facts are taken from: a `Store`."""

    @property
    def settings(self) -> Any: ...

    def gate(self, *, tokenizer: Any, needs_model: bool, **choice: Any) -> FactGate: ...


class LlamaFacts:
    """Completions of a GGUF model with facts. As a `Llama` itself, it is for one thread at a time.

    Facts that are added, changed or removed meanwhile are in the next answer. Hidden states and
    caches are llama.cpp's own on the same text; where no fact is written, so are the logits.

    Args:
        llama: as you opened it.
        facts: a store, made for any model, or a gate.
        probe: what tells from the model's logits where an answer is due. `auto` takes it from the
            cache, or fits it there, which takes minutes; `off` goes by the text alone.
        choice: of a store, which facts: `generation`, `namespaces`, `moment`; see `Store.gate`.

    Raises:
        NotSupported: the model drafts tokens ahead, has an adapter that is not in its file, or
            does not tell where an answer is due.

    Example:
        >>> llama = Llama("model.gguf", n_ctx=4096)                          # doctest: +SKIP
        >>> facts = LlamaFacts(llama, Store.open("revisor-store"))           # doctest: +SKIP
        >>> facts.create_completion("The CEO of ACME is", temperature=0)     # doctest: +SKIP
    """

    def __init__(
        self,
        llama: Any,
        facts: FactGate | GivesGate,
        *,
        probe: Probe | str = "auto",
        **choice: Any,
    ) -> None:
        if llama.draft_model is not None:
            raise NotSupported(
                "A draft model guesses tokens ahead of the text, which facts have to follow.",
                "Open the Llama without draft_model.",
            )
        self.llama = llama
        tokenizer = GgufTokenizer(llama.model, llama)
        if not isinstance(facts, FactGate):
            probe = "off" if facts.settings.probe == "off" else probe
            facts = facts.gate(tokenizer=tokenizer, needs_model=False, **choice)
        elif choice:
            raise UsageError(
                f"A gate has its facts already, so {', '.join(choice)} cannot be chosen.",
                "Pass the store, or make the gate with the choice.",
            )
        self.gate = replace(facts, tokenizer=tokenizer, probe=_probe_for(llama, probe))

    def create_completion(
        self, prompt: str | Sequence[int], *, facts: bool = True, **options: Any
    ) -> Any:
        """`Llama.create_completion`, whose answer tells in `revisor` which facts were used.

        Args:
            prompt: a text or its tokens.
            facts: False for the model by itself.
            options: as `Llama.create_completion` takes them.

        Returns:
            What it returns: an answer, or with `stream` an iterator over pieces of it, of which
            the last tells of the facts. Log probabilities are those of the model without facts.
        """
        given = prompt if isinstance(prompt, str) else list(prompt)
        return self._answered(
            self.llama.create_completion, {"prompt": given} | options, with_facts=facts
        )

    def create_chat_completion(
        self, messages: Sequence[Mapping[str, Any]], *, facts: bool = True, **options: Any
    ) -> Any:
        """`Llama.create_chat_completion`, with facts as in `create_completion`."""
        return self._answered(
            self.llama.create_chat_completion,
            {"messages": list(messages)} | options,
            with_facts=facts,
        )

    def logits_processor(
        self, *, trace: Trace | None = None, final: bool = True
    ) -> LogitsProcessorList:
        """What writes facts into one call of `Llama.generate` or another that takes processors.

        `trace` receives the decisions, as of row 0. With `final` False no token is ruled out, for
        calls whose grammar may forbid what is written.
        """
        return _Processors([FactWriter(self.gate, trace=trace, final=final)])

    def _answered(
        self, call: Callable[..., Any], options: dict[str, Any], *, with_facts: bool
    ) -> Any:
        if not with_facts:
            return call(**options)
        final = all(options.get(name) is None for name in _GRAMMARS)
        writer = FactWriter(self.gate, trace=Trace(), final=final)
        # The gate is to see the model's own logits, so it comes first.
        processors = _Processors([writer, *(options.pop("logits_processor", None) or ())])
        made = call(logits_processor=processors, **options)
        if options.get("stream"):
            return _told_at_end(made, writer)
        writer.check()
        return made | {"revisor": writer.told()}


class FactWriter:
    """Writes the facts in force at an answer's beginning into its logits; with `final` a written
    token is the only one left."""

    def __init__(self, gate: FactGate, *, trace: Trace | None, final: bool) -> None:
        self._trace = trace or Trace()
        self._batch = gate.batch(trace=self._trace)
        self._final = final
        self._error: Exception | None = None

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Scores (V,) of the token behind `input_ids` (T,), float32; both are numpy arrays."""
        if self._error is not None:
            return scores
        try:
            ids_1T = torch.from_numpy(np.array(input_ids, dtype=np.int64))[None]
            logits_1V = torch.from_numpy(scores)[None]
            new_1V = self._batch.step(ids_1T, logits_1V, final=self._final)
        except Exception as error:  # llama.cpp, which calls, can take none
            log.exception("facts could not be written; the model goes on by itself")
            self._error = error
            return scores
        return scores if new_1V is logits_1V else new_1V[0].numpy()

    def check(self) -> None:
        """Raise what went wrong while the answer was written."""
        if self._error is not None:
            raise self._error

    def told(self) -> dict[str, Any]:
        """The facts used, in the shape that the server gives them."""
        used = [
            {
                "id": one.fact_id,
                "subject": one.subject,
                "object": one.object,
                "question": one.question,
                "score": one.score,
                "threshold": one.threshold,
                "position": one.position,
            }
            for one in self._trace.of(0)
        ]
        return {"facts_used": used}


class _Processors(LogitsProcessorList):  # type: ignore[misc]
    """A list that `logit_bias` does not lose: llama-cpp-python goes on with what `extend`
    returns."""

    def extend(self, more: Any) -> _Processors:
        super().extend(more)
        return self


def _told_at_end(pieces: Iterator[Any], writer: FactWriter) -> Iterator[Any]:
    for piece in pieces:
        writer.check()
        if any(choice.get("finish_reason") for choice in piece["choices"]):
            piece = piece | {"revisor": writer.told()}
        yield piece


def _probe_for(llama: Any, probe: Probe | str) -> Probe | None:
    if isinstance(probe, Probe):
        return probe
    if probe == "off":
        return None
    if probe != "auto":
        raise UsageError(f"Unknown probe '{probe}'.", "Choose one of: auto, off.")
    loaded = wrap_llama(llama)
    found = load_probe(loaded)
    require(found.figures, loaded.name)
    return found

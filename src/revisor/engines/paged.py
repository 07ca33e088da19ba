"""Facts in continuous batching (`generate_batch` and its manager).

Letters: B requests with a new token, V vocabulary.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from revisor.engines.bindings import BINDINGS, PAD, Binding, Writing
from revisor.errors import UsageError


class _Prepared(threading.local):
    """Whether this thread has just prepared a batch that facts are written into."""

    ready = False


_PREPARED = _Prepared()


class PagedFacts:
    """Writes each request's facts ahead of the processors (`inner`) of a continuous batch.

    Requests come and go between steps, so each row's text is read from its request when the step is
    prepared. A request keeps the facts that were in force when it came. A manager that outlives its
    block goes on without facts. Rows are other requests from step to step, so there is no trace.
    """

    do_processing = True

    def __init__(self, model: Any, inner: Any) -> None:
        self._model = model
        self._inner = inner
        self._texts: dict[str, list[int]] = {}
        self._groups: dict[str, Writing] = {}
        self._newest: tuple[tuple[Any, ...], Writing] = ((), Writing(bindings=()))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_inner"], name)

    def prepare_tensor_args(self, requests_in_batch: Sequence[Any], arg_storage: Any) -> Any:
        """Note the text of every request that gets a token in this step."""
        states = [request.state for request in requests_in_batch if request.has_new_token]
        self._texts = {
            state.request_id: [*state.initial_tokens, *state.generated_tokens] for state in states
        }
        kept = {request.state.request_id for request in requests_in_batch}
        self._groups = {name: group for name, group in self._groups.items() if name in kept}
        _PREPARED.ready = True
        return self._inner.prepare_tensor_args(requests_in_batch, arg_storage)

    def __call__(self, ids_B: Any, scores_BV: torch.Tensor, args: Any) -> torch.Tensor:
        """Scores (B, V) with the facts, then whatever the other processors do to them."""
        bindings = BINDINGS.of(self._model)
        if bindings:
            scores_BV = self._written(bindings, scores_BV)
        if self._inner.do_processing:
            scores_BV = self._inner(ids_B, scores_BV, args)
        return scores_BV

    def _written(self, bindings: tuple[Binding, ...], scores_BV: torch.Tensor) -> torch.Tensor:
        groups: dict[int, tuple[Writing, list[int]]] = {}
        for row, name in enumerate(self._texts):
            if name not in self._groups:
                self._groups[name] = self._now(bindings)
            group = self._groups[name]
            groups.setdefault(id(group), (group, []))[1].append(row)
        texts = list(self._texts.values())
        for group, rows in groups.values():
            ids_BT = _padded([texts[row] for row in rows], scores_BV.device)
            if len(rows) == len(scores_BV):
                scores_BV = group.step(ids_BT, scores_BV)
                continue
            row_B = torch.tensor(rows, device=scores_BV.device)
            old_BV = scores_BV[row_B]
            new_BV = group.step(ids_BT, old_BV)
            if new_BV is not old_BV:
                scores_BV = scores_BV.index_copy(0, row_B, new_BV)
        return scores_BV

    def _now(self, bindings: tuple[Binding, ...]) -> Writing:
        """The state shared by all requests that come while these facts are in force."""
        facts = [getattr(one.gate.view(), "generation", None) for one in bindings]
        key = (*bindings, *facts)
        if self._newest[0] != key:
            self._newest = key, Writing(bindings=bindings, traced=False)
        return self._newest[1]


@dataclass(frozen=True, kw_only=True)
class PagedCall:
    """A step of continuous batching, whose logits `PagedFacts` gets from the manager."""

    given: Mapping[str, Any]

    def written(self, out: Any) -> Any:
        """The output as it is."""
        return out


def _padded(texts: Sequence[list[int]], device: torch.device) -> torch.Tensor:
    width = max(map(len, texts))
    return torch.tensor([[PAD] * (width - len(text)) + text for text in texts], device=device)


def plain_config(wanted: Any, generation_config: Any) -> Any:
    """The config to run with: eager, synchronous steps that Python takes part in; UsageError if the
    caller asks for CUDA graphs, asynchronous steps or compiled ones."""
    from transformers.generation.configuration_utils import ContinuousBatchingConfig

    held = getattr(generation_config, "continuous_batching_config", None)
    config = copy.deepcopy(wanted or held or ContinuousBatchingConfig())
    graphs = config.use_cuda_graph
    asked = {
        "use_cuda_graph": any(graphs) if isinstance(graphs, tuple) else graphs,
        "use_async_batching": config.use_async_batching,
        "varlen_compile_config": config.varlen_compile_config,
        "decode_compile_config": config.decode_compile_config,
        "default_compile_level": config.default_compile_level,
    }
    if named := [name for name, value in asked.items() if value]:
        raise UsageError(
            f"Facts cannot be written in continuous batching with {', '.join(named)}: such steps "
            "run without asking for the text.",
            "Leave these settings out while facts are attached.",
        )
    config.use_cuda_graph = False
    config.use_async_batching = False
    return config


def with_facts(model: Any, manager: Any) -> Any:
    """Make a new manager write facts; UsageError if it was made, and kept, outside the block."""
    if isinstance(manager.logit_processor, PagedFacts):
        return manager
    if getattr(model, "_cached_continuous_batching_manager", None) is manager:
        raise UsageError(
            "Facts cannot be written by a continuous batching manager made outside the block.",
            "Call model.destroy_cached_continuous_batching_manager() first.",
        )
    manager.logit_processor = PagedFacts(model, manager.logit_processor)
    return manager


def paged_call(given: Mapping[str, Any]) -> PagedCall | None:
    """The step of continuous batching that a forward call is, or None; UsageError if `PagedFacts`
    has not prepared its batch, so that no facts would be written."""
    if "logits_indices" not in given or "cu_seq_lens_q" not in given:
        return None
    ready, _PREPARED.ready = _PREPARED.ready, False
    if not ready:
        raise UsageError(
            "Facts cannot be written by a continuous batching manager made outside the block.",
            "Make it inside, with generate_batch or init_continuous_batching.",
        )
    return PagedCall(given=given)

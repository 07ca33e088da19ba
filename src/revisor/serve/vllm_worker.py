"""The gate inside a vLLM worker: one opaque operation behind the FFN output projection.

What comes in: a loaded model of vLLM's and the batches that it reads. What goes out: the
projection's output edited in place, what fired in each request, and figures. What it does not do:
give requests their editions (vllm.py does, in the engine's process), or put itself into vLLM.

Compiled graphs call the operation and know nothing of rows, so these need no fixed addresses.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from vllm.distributed import get_tensor_model_parallel_world_size, tensor_model_parallel_all_gather
from vllm.forward_context import get_forward_context

from revisor.errors import NotSupported, WrongModel
from revisor.models.load import DTYPE_NAMES
from revisor.models.spec import known_families
from revisor.neuraldb.gate.slots import Batch, SlotGate, SlotHit
from revisor.serve.editions import Editions, generation_of

EDITION = "revisor_edition"  # among a request's extra arguments; empty for the unedited model
OP = "revisor::gate"
REMEMBERED = 4096  # requests whose hits are remembered until somebody asks

_log = logging.getLogger("vllm.revisor")
_workers: list[WorkerGate] = []  # the latest model loaded in this process


@dataclass(kw_only=True)
class _Told:
    """What fired in a request: by position, since a text may be read again after preemption."""

    edition: str
    hits: dict[int, SlotHit] = field(default_factory=dict)


class WorkerGate:
    """The gate of one worker's model.

    Args:
        runner: of vLLM, its model loaded.
        editions: of the store.

    Raises:
        NotSupported, WrongModel: the model's family or dtype is not the store's.
    """

    def __init__(self, runner: Any, editions: Editions) -> None:
        self.runner = runner
        self.editions = editions
        settings, manifest = self.editions.store.settings, self.editions.manifest()
        layers, projection = settings.layers_path, settings.projection_path
        kind = runner.model_config.hf_config.model_type
        family = known_families().get(kind)
        if family is not None and family.output is not None:
            raise NotSupported(
                f"The family '{kind}' has a norm between its FFN and the residual stream, after "
                "which facts are added; the plugin does not do that yet.",
                "Serve the store with: revisor serve",
            )
        if layers is None or projection is None:
            if family is None:
                raise NotSupported(
                    f"The family '{kind}' is not in revisor's table.",
                    "Set layers_path and projection_path in store.toml.",
                )
            layers, projection = layers or family.layers, projection or family.projection
        self.layer = f"{layers}.{manifest.layer}"
        module = runner.get_model().get_submodule(f"{self.layer}.{projection}")
        weight = next(module.parameters())
        self.device, self.dtype = weight.device, runner.model_config.dtype
        if DTYPE_NAMES.get(self.dtype) != settings.dtype:
            raise WrongModel(
                f"The store was built in {settings.dtype}; this model runs in {self.dtype}.",
                "Give vllm the store's --dtype.",
            )
        module.register_forward_hook(gated)
        self.attention = ""
        self.gate: SlotGate | None = None
        self.requests: dict[str, str] = {}
        self.cached: dict[str, int] = {}  # tokens that new requests found in the prefix cache
        self.told: OrderedDict[str, _Told] = OrderedDict()
        self.counts: dict[str, int] = {}
        self.tokens = 0
        self.edition = ""

    def schedule(self, output: Any) -> None:
        """Take note of the requests that come and go."""
        for name in output.finished_req_ids:
            self.requests.pop(name, None)
            self.cached.pop(name, None)
        for new in output.scheduled_new_reqs:
            extra = (new.sampling_params and new.sampling_params.extra_args) or {}
            self.requests[new.req_id] = extra.get(EDITION, "")
            self.cached[new.req_id] = new.num_computed_tokens
            self.told[new.req_id] = _Told(edition=self.requests[new.req_id])
        while len(self.told) > REMEMBERED:
            self.told.popitem(last=False)

    def use(self, used: list[str]) -> None:
        """Open an edition before the first request of it, the first of those in use; let go of
        those that are not."""
        self.editions.view(used[0], self.device, self.dtype)
        self.editions.keep(used)

    def begin(self, input_ids: torch.Tensor | None) -> list[str] | None:
        """Read a batch's tokens before its forward pass; the names of its requests, if it is one.

        Raises:
            NotSupported: a batch of embeddings, or a cache that cannot be read.
        """
        described = get_forward_context().attn_metadata
        if not isinstance(described, dict) or not described:
            return None  # a rehearsal
        if input_ids is None:
            raise NotSupported("The gate goes by token ids; this batch has embeddings.")
        if self.gate is None:
            self.gate = self._make_gate(described)
        about = described[self.attention]
        names = list(self.runner.input_batch.req_ids)
        count = len(names)
        start_B = about.query_start_loc[: count + 1].tolist()
        tokens = start_B[-1]
        views = []
        for name in names:
            edition = self.requests.get(name, "")
            if edition and edition != self.edition:
                self.edition = edition
                _log.info("revisor: edition %s", edition)
            views.append(self.editions.view(edition, self.device, self.dtype) if edition else None)
        batch = Batch(
            ids_T=input_ids[:tokens],
            slot_T=about.slot_mapping[:tokens],
            start_B=start_B,
            length_B=about.seq_lens[:count].tolist(),
            blocks_BW=about.block_table,
            views=views,
        )
        self.gate.begin(batch)
        self._remember(names, batch)
        self.tokens += tokens
        return names

    def _remember(self, names: list[str], batch: Batch) -> None:
        """Hits of cached prefixes, and none at tokens that are read once more."""
        assert self.gate is not None
        for request, name in enumerate(names):
            if batch.views[request] is None:
                continue
            read = batch.length_B[request] - batch.start_B[request + 1] + batch.start_B[request]
            if self.cached.pop(name, 0):
                for hit in self.gate.recall(batch, request, read):
                    self._tell(name, hit)
            elif (told := self.told.get(name)) and told.hits:
                told.hits = {place: hit for place, hit in told.hits.items() if place < read}

    def _tell(self, name: str, hit: SlotHit) -> None:
        if name in self.told:
            self.told[name].hits[hit.position] = hit

    def end(self, names: list[str]) -> None:
        """After the pass: what fired."""
        assert self.gate is not None
        for hit in self.gate.end():
            self._tell(names[hit.request], hit)
            self.counts[hit.row_id] = self.counts.get(hit.row_id, 0) + 1

    def edit(self, key: torch.Tensor, value: torch.Tensor) -> None:
        """The operation itself."""
        if self.gate is None or not self.gate.needs_keys():
            return
        if get_tensor_model_parallel_world_size() > 1:
            key = tensor_model_parallel_all_gather(key)  # each rank has a part of it, in order
        self.gate.edit(key, value)

    def taken(self, names: Collection[str]) -> dict[str, dict[str, Any]]:
        """The generation of requests, None for the unedited model, and what fired in them, in the
        order of their texts; it is forgotten then."""
        found = {name: self.told.pop(name) for name in names if name in self.told}
        return {
            name: {
                "generation": generation_of(told.edition) if told.edition else None,
                "hits": [
                    {
                        "row_id": hit.row_id,
                        "position": hit.position,
                        "cosine": hit.cosine,
                        "threshold": hit.threshold,
                    }
                    for _, hit in sorted(told.hits.items())
                ],
            }
            for name, told in found.items()
        }

    def report(self) -> dict[str, Any]:
        """Figures since the start: tokens read, hits by row, the edition of the newest request."""
        return {"edition": self.edition, "tokens": self.tokens, "hits": dict(self.counts)}

    def _make_gate(self, described: dict[str, Any]) -> SlotGate:
        config = self.runner.kv_cache_config
        self.attention = next(name for name in described if name.startswith(f"{self.layer}."))
        spec = next(
            group.kv_cache_spec
            for group in config.kv_cache_groups
            if self.attention in group.layer_names
        )
        return SlotGate(
            slots=config.num_blocks * spec.block_size, block=spec.block_size, device=self.device
        )


@torch.library.custom_op(OP, mutates_args=("value",), schema="(Tensor key, Tensor(a!) value) -> ()")
def _operation(key: torch.Tensor, value: torch.Tensor) -> None:
    if _workers:
        _workers[-1].edit(key, value)


@_operation.register_fake
def _(key: torch.Tensor, value: torch.Tensor) -> None:
    return None


def gated(_module: Any, args: tuple[Any, ...], output: Any) -> None:
    """The forward hook of the projection."""
    torch.ops.revisor.neuraldb.gate(args[0], output[0] if isinstance(output, tuple) else output)


def load(runner: Any, editions: Editions) -> None:
    """Put a gate into a model that vLLM has just loaded."""
    if not hasattr(runner, "revisor"):
        runner.revisor = WorkerGate(runner, editions)
        _workers[:] = [runner.revisor]

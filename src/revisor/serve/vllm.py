"""vLLM with facts: where the gate, a request's edition and the self-test are put into it.

What comes in: a store. What goes out: a vLLM of the tested versions in which every request has the
facts of the moment at which it came, from its first token to its last, or one that does not start.
What it does not do: decide what a token matches (gate/slots.py) or which facts hold (editions.py).

The engine's process gives each request its edition, salts the prefix cache with it, and sends it
along with the sampling parameters; so all workers agree on it. In a worker the gate is one opaque
operation behind the FFN output projection: compiled graphs call it and know nothing of rows.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from vllm import SamplingParams
from vllm.distributed import get_tensor_model_parallel_world_size, tensor_model_parallel_all_gather
from vllm.forward_context import get_forward_context
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.engine import core as engine_core
from vllm.v1.engine.core import EngineCore
from vllm.v1.executor import Executor
from vllm.v1.request import Request
from vllm.v1.worker.cpu_model_runner import CPUModelRunner
from vllm.v1.worker.gpu_model_runner import GPUModelRunner
from vllm.v1.worker.worker_base import WorkerBase

from revisor.errors import NotSupported, UsageError, WrongModel
from revisor.gate.slots import Batch, SlotGate
from revisor.models.spec import known_families
from revisor.serve.editions import Editions
from revisor.serve.selftest import PROBES, ordinary_sentences

EDITION = "revisor_edition"  # among a request's extra arguments
OFF = "revisor_off"  # a client's own: {"vllm_xargs": {"revisor_off": 1}}
OP = "revisor::gate"
REMEMBERED = 1000  # requests whose hits are remembered
DTYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}

_log = logging.getLogger("vllm.revisor")
_installed: list[Path] = []
_engines: list[Any] = []  # that are not tested yet
_workers: list[WorkerGate] = []  # the latest model loaded in this process


def install(path: Path) -> None:
    """Have everything that vLLM makes in this process from now on know the store."""
    if _installed:
        return
    _installed.append(path)
    # The newer runner builds its batches elsewhere.
    os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "0"
    for runner in (GPUModelRunner, CPUModelRunner):
        if "load_model" in vars(runner):
            _wrap(runner, "load_model", _loaded)
    _wrap(GPUModelRunner, "execute_model", _executing)
    _wrap(GPUModelRunner, "_model_forward", _forward)
    # vLLM loads plugins within EngineCore.__init__: what is wrapped are the first and the last
    # things that it calls.
    _wrap(Executor, "__init__", _executor_made)
    _wrap(EngineCore, "_initialize_kv_caches", _caches_made)
    ready = engine_core.freeze_gc_heap

    def engine_ready() -> None:
        ready()
        if _engines:
            _test(_engines.pop(), Editions(path))

    engine_core.freeze_gc_heap = engine_ready
    editions: list[Editions] = []
    make = Request.from_engine_core_request.__func__

    def dated(kind: Any, request: Any, block_hasher: Any) -> Any:
        """A request, with the facts of this moment from its first token to its last."""
        if not editions:
            editions.append(Editions(path))
        parameters = request.sampling_params
        if parameters is not None:
            extra = dict(parameters.extra_args or {})
            edition = "" if extra.get(OFF) else editions[0].now()
            extra[EDITION] = edition
            parameters.extra_args = extra
            request.cache_salt = f"{request.cache_salt or ''}|revisor {edition}"
        return make(kind, request, block_hasher)

    Request.from_engine_core_request = classmethod(dated)
    WorkerBase.revisor_hits = lambda worker, name: worker.model_runner.revisor.taken(name)
    WorkerBase.revisor_report = lambda worker: worker.model_runner.revisor.report()


def _wrap(owner: Any, name: str, around: Callable[..., Any]) -> None:
    inner = vars(owner)[name]

    @wraps(inner)
    def outer(self: Any, *args: Any, **kwargs: Any) -> Any:
        return around(inner, self, *args, **kwargs)

    setattr(owner, name, outer)


class WorkerGate:
    """The gate of one worker's model.

    Args:
        runner: of vLLM, its model loaded.
        path: of the store.
    """

    def __init__(self, runner: Any, path: Path) -> None:
        self.runner = runner
        self.editions = Editions(path)
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
        if DTYPES.get(self.dtype) != settings.dtype:
            raise WrongModel(
                f"The store was built in {settings.dtype}; this model runs in {self.dtype}.",
                "Give vllm the store's --dtype.",
            )
        module.register_forward_hook(_gated)
        self.attention = ""
        self.gate: SlotGate | None = None
        self.requests: dict[str, str] = {}
        self.hits: OrderedDict[str, list[dict[str, Any]]] = OrderedDict()
        self.counts: dict[str, int] = {}
        self.tokens = 0
        self.edition = ""

    def schedule(self, output: Any) -> None:
        """Take note of the requests that come and go."""
        for name in output.finished_req_ids:
            self.requests.pop(name, None)
        for new in output.scheduled_new_reqs:
            extra = (new.sampling_params and new.sampling_params.extra_args) or {}
            self.requests[new.req_id] = extra.get(EDITION, "")

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
        self.gate.begin(
            Batch(
                ids_T=input_ids[:tokens],
                slot_T=about.slot_mapping[:tokens],
                start_B=start_B,
                length_B=about.seq_lens[:count].tolist(),
                blocks_BW=about.block_table,
                views=views,
            )
        )
        self.tokens += tokens
        return names

    def end(self, names: list[str]) -> None:
        """After the pass: what fired."""
        assert self.gate is not None
        for hit in self.gate.end():
            name = names[hit.request]
            self.hits.setdefault(name, []).append(asdict(hit))
            self.counts[hit.row_id] = self.counts.get(hit.row_id, 0) + 1
        while len(self.hits) > REMEMBERED:
            self.hits.popitem(last=False)

    def edit(self, key: torch.Tensor, value: torch.Tensor) -> None:
        """The operation itself."""
        if self.gate is None or not self.gate.needs_keys():
            return
        if get_tensor_model_parallel_world_size() > 1:
            key = tensor_model_parallel_all_gather(key)  # each rank has a part of it, in order
        self.gate.edit(key, value)

    def taken(self, name: str) -> list[dict[str, Any]]:
        """What fired in a request; it is forgotten then."""
        return self.hits.pop(name, [])

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


def _gated(_module: Any, args: tuple[Any, ...], output: Any) -> None:
    torch.ops.revisor.gate(args[0], output[0] if isinstance(output, tuple) else output)


def _loaded(inner: Any, runner: Any, *args: Any, **kwargs: Any) -> Any:
    found = inner(runner, *args, **kwargs)
    if not hasattr(runner, "revisor"):
        runner.revisor = WorkerGate(runner, _installed[0])
        _workers[:] = [runner.revisor]
    return found


def _executing(inner: Any, runner: Any, output: Any, *args: Any, **kwargs: Any) -> Any:
    runner.revisor.schedule(output)
    return inner(runner, output, *args, **kwargs)


def _forward(inner: Any, runner: Any, *args: Any, **kwargs: Any) -> Any:
    names = runner.revisor.begin(kwargs.get("input_ids", args[0] if args else None))
    found = inner(runner, *args, **kwargs)
    if names is not None:
        runner.revisor.end(names)
    return found


def _executor_made(inner: Any, executor: Any, vllm_config: Any) -> None:
    """Refuse what is not supported, before workers start."""
    parallel = vllm_config.parallel_config
    for fault, found in {
        "pipeline parallelism": parallel.pipeline_parallel_size > 1,
        "context parallelism": parallel.decode_context_parallel_size > 1,
        "KV transfer between engines": vllm_config.kv_transfer_config is not None,
    }.items():
        if found:
            raise NotSupported(f"revisor's gate does not work with {fault}.")
    if not isinstance(vllm_config.additional_config, dict):
        raise NotSupported("revisor needs additional_config to be a dict.")
    # A compiled graph without the gate must not be taken from a cache.
    gate = f"{OP} after layer {Editions(_installed[0]).manifest().layer}"
    vllm_config.additional_config = vllm_config.additional_config | {"revisor": gate}
    splitting = vllm_config.compilation_config.splitting_ops
    if splitting is not None and OP not in splitting:
        vllm_config.compilation_config.splitting_ops = [*splitting, OP]
    inner(executor, vllm_config)


def _caches_made(inner: Any, core: Any, vllm_config: Any) -> Any:
    _engines.append(core)
    return inner(core, vllm_config)


def _test(core: Any, editions: Editions) -> None:
    """Some facts must fire, ordinary sentences must not.

    Raises:
        UsageError: they do not; the server must not start.
    """
    from transformers import AutoTokenizer

    config = core.vllm_config.model_config
    tokenizer = AutoTokenizer.from_pretrained(
        config.tokenizer, trust_remote_code=config.trust_remote_code
    )
    view = editions.view(editions.now(), torch.device("cpu"), config.dtype)
    facts = editions.facts(view, PROBES)
    for fact in facts:
        hits = _fired(core, tokenizer(fact.text)["input_ids"])
        if not any(fact.id in hit["row_id"] for hit in hits):
            raise UsageError(
                f"The fact {fact.id} ({fact.subject!r}) does not fire in vLLM.",
                "Is this the model that the store was built for? vLLM does not start.",
            )
    for sentence in ordinary_sentences(facts):
        if hits := _fired(core, tokenizer(sentence)["input_ids"]):
            raise UsageError(f"The ordinary sentence {sentence[:60]!r} fires {hits[0]['row_id']}.")
    _log.info("revisor: self-test passed, %d facts fired", len(facts))


def _fired(core: Any, ids: list[int]) -> list[dict[str, Any]]:
    name = "revisor-self-test"
    asked = EngineCoreRequest(
        request_id=name,
        prompt_token_ids=ids,
        mm_features=None,
        sampling_params=SamplingParams(max_tokens=1, temperature=0.0),
        pooling_params=None,
        arrival_time=0.0,
        lora_request=None,
        cache_salt=os.urandom(8).hex(),  # nothing of it may come from the cache
        data_parallel_rank=None,
    )
    request, _ = core.preprocess_add_request(asked)
    core.add_request(request)
    while core.scheduler.has_requests():
        core.step_fn()
    found: list[dict[str, Any]] = core.collective_rpc("revisor_hits", args=(name,))[0]
    return found

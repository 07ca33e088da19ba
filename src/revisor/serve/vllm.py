"""vLLM with facts: where the gate, a request's edition and the self-test are put into it.

What comes in: a store. What goes out: a vLLM of the tested versions in which every request has the
facts of the moment at which it came, from its first token to its last, or one that does not start.
What it does not do: decide what a token matches (gate/slots.py) or which facts hold (editions.py),
run in a worker (vllm_worker.py), or answer HTTP (vllm_http.py).

The engine's process gives each request its edition, salts the prefix cache with it, and sends it
along with the sampling parameters; so all workers agree on it. It also tells them which editions
are in use, so that a request's rows are there until it ends, whatever is built meanwhile.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import vllm
from vllm import SamplingParams
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.engine import core as engine_core
from vllm.v1.engine.core import EngineCore
from vllm.v1.executor import Executor
from vllm.v1.request import Request
from vllm.v1.worker.cpu_model_runner import CPUModelRunner
from vllm.v1.worker.gpu_model_runner import GPUModelRunner
from vllm.v1.worker.worker_base import WorkerBase

from revisor.errors import NotSupported, UsageError
from revisor.serve.editions import Editions
from revisor.serve.selftest import PROBES, ordinary_sentences
from revisor.serve.vllm_worker import EDITION, OP, load

TESTED = "0.32."  # what versions begin with whose internals are as this file has them
OFF = "revisor_off"  # a client's own: {"vllm_xargs": {"revisor_off": 1}}

_log = logging.getLogger("vllm.revisor")
_installed: list[Path] = []
_editions: list[Editions] = []
_engines: list[Any] = []  # that are not tested yet


def editions() -> Editions:
    """Those of the store, the same object for all of this process."""
    if not _editions:
        _editions.append(Editions(_installed[0]))
    return _editions[0]


def install(path: Path) -> None:
    """Have everything that vLLM makes in this process from now on know the store.

    Raises:
        NotSupported: another version of vLLM than the tested ones.
    """
    if _installed:
        return
    if not vllm.__version__.startswith(TESTED):
        raise NotSupported(
            f"revisor was tested with vLLM {TESTED}x only; this is {vllm.__version__}.",
            "It patches vLLM's internals. Install a tested version, or unset REVISOR_STORE.",
        )
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
    _wrap(EngineCore, "add_request", _adding)
    ready = engine_core.freeze_gc_heap

    def engine_ready() -> None:
        ready()
        if _engines:
            _test(_engines.pop())

    engine_core.freeze_gc_heap = engine_ready
    make = Request.from_engine_core_request.__func__

    def dated(kind: Any, request: Any, block_hasher: Any) -> Any:
        """A request, with the facts of this moment from its first token to its last."""
        parameters = request.sampling_params
        if parameters is not None:
            extra = dict(parameters.extra_args or {})
            edition = "" if extra.get(OFF) else editions().now()
            extra[EDITION] = edition
            # A copy: the parameters may be another request's, too.
            parameters = parameters.clone()
            parameters.extra_args = extra
            request.sampling_params = parameters
            request.cache_salt = f"{request.cache_salt or ''}|revisor {edition}"
        return make(kind, request, block_hasher)

    Request.from_engine_core_request = classmethod(dated)
    WorkerBase.revisor_hits = lambda worker, names: worker.model_runner.revisor.taken(names)
    WorkerBase.revisor_report = lambda worker: worker.model_runner.revisor.report()
    WorkerBase.revisor_use = lambda worker, used: worker.model_runner.revisor.use(used)


def _wrap(owner: Any, name: str, around: Callable[..., Any]) -> None:
    inner = vars(owner)[name]

    @wraps(inner)
    def outer(self: Any, *args: Any, **kwargs: Any) -> Any:
        return around(inner, self, *args, **kwargs)

    setattr(owner, name, outer)


def _loaded(inner: Any, runner: Any, *args: Any, **kwargs: Any) -> Any:
    found = inner(runner, *args, **kwargs)
    load(runner, editions())
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
    gate = f"{OP} after layer {editions().manifest().layer}"
    vllm_config.additional_config = vllm_config.additional_config | {"revisor": gate}
    splitting = vllm_config.compilation_config.splitting_ops
    if splitting is not None and OP not in splitting:
        vllm_config.compilation_config.splitting_ops = [*splitting, OP]
    inner(executor, vllm_config)


def _adding(inner: Any, core: Any, request: Any, *args: Any, **kwargs: Any) -> None:
    """Have the workers open the rows of a new edition, and let go of those that nobody uses."""
    edition = _edition(request)
    if edition and edition != getattr(core, "revisor_latest", ""):
        core.revisor_latest = edition
        running = {_edition(one) for one in core.scheduler.requests.values()}
        used = [edition, *sorted(running - {edition, ""})]
        editions().keep(used)
        core.collective_rpc("revisor_use", args=(used,))
    inner(core, request, *args, **kwargs)


def _edition(request: Any) -> str:
    extra = (request.sampling_params and request.sampling_params.extra_args) or {}
    return str(extra.get(EDITION, ""))


def _caches_made(inner: Any, core: Any, vllm_config: Any) -> Any:
    _engines.append(core)
    return inner(core, vllm_config)


def _test(core: Any) -> None:
    """Some facts must fire, ordinary sentences must not.

    Raises:
        UsageError: they do not; the server must not start.
    """
    from transformers import AutoTokenizer

    config = core.vllm_config.model_config
    tokenizer = AutoTokenizer.from_pretrained(
        config.tokenizer, trust_remote_code=config.trust_remote_code
    )
    known = editions()
    facts = known.facts(known.now(), PROBES)
    if not facts:
        _log.warning("revisor: the store has no facts in force; nothing was tested")
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
    (told, *_) = core.collective_rpc("revisor_hits", args=([name],))
    hits: list[dict[str, Any]] = told[name]["hits"]
    return hits

"""What the methods of a transformers model do while it has facts.

Each takes the class that the call would have gone to, not `super()`: a bound method that was kept,
or is under way in another thread, outlives the block that it was taken in.

Letters: B rows, P cached positions, T tokens.
"""

from __future__ import annotations

import copyreg
import functools
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import torch
from transformers import LogitsProcessorList

from revisor.engines.bindings import BINDINGS, Call, current, enter, leave, under_way
from revisor.engines.cached import length, recall, remember
from revisor.engines.paged import PagedCall, paged_call, plain_config, with_facts
from revisor.engines.plain import PlainCall, refuse_embeddings
from revisor.engines.processors import GateProcessor, WholeFacts, repeated
from revisor.errors import NotSupported, UsageError

F = TypeVar("F", bound=Callable[..., Any])


def _uncompiled(function: F) -> F:
    """Keep a function, and all that it calls, out of compiled graphs."""
    return cast(F, torch.compiler.disable(function))  # type: ignore[no-untyped-call]


def _around_compiled(function: F) -> F:
    """Keep a function, but not what it calls, out of compiled graphs."""
    return cast(F, torch.compiler.disable(function, recursive=False))  # type: ignore[no-untyped-call]


class WithFacts:
    """Marks the classes made by `class_with_facts`."""

    original: type[torch.nn.Module]


@functools.cache
def class_with_facts(original: Any) -> Any:
    """The subclass of a model's class while facts are attached; it has the same name."""
    names = ("__module__", "__qualname__", "__doc__")
    namespace = {name: getattr(original, name) for name in names} | {"original": original}
    for name, function in _METHODS.items():
        if hasattr(original, name):
            namespace[name] = _method(original, name, function)
    return types.new_class(
        original.__name__, (WithFacts, original), exec_body=lambda body: body.update(namespace)
    )


def _method(original: Any, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(getattr(original, name))
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return function(original, self, *args, **kwargs)

    return _around_compiled(method) if name in ("__call__", "_call_impl") else method


def _generate(original: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
    """`generate` of transformers, with facts."""
    # A loop from a repository calls the model or its generate, which write by themselves.
    if not BINDINGS.of(model) or isinstance(kwargs.get("custom_generate"), str):
        return original.generate(model, *args, **kwargs)
    ids_BT = args[0] if args else kwargs.get("inputs", kwargs.get("input_ids"))
    if ids_BT is None:
        ids_BT = kwargs.get("input_ids")
    if ids_BT is None:
        refuse_embeddings(kwargs)
    call = Call(model=model, before=_before(ids_BT, kwargs))
    with under_way(call):
        out = original.generate(model, *args, **kwargs)
    _remember(out, kwargs, call)
    return out


def _call(original: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
    return _passed(original.__call__, model, args, kwargs)


def _call_impl(original: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
    """The call of a model that was compiled before the block."""
    return _passed(original._call_impl, model, args, kwargs)


@_around_compiled
def _passed(forward: Any, model: Any, args: Any, kwargs: Any) -> Any:
    call = _begun(model, args, kwargs)
    if call is None:
        return forward(model, *args, **kwargs)
    try:
        out = forward(model, **call.given)
    finally:
        _ended()
    return _written(call, out)


@_uncompiled
def _begun(model: Any, args: Any, kwargs: Any) -> PlainCall | PagedCall | None:
    """The call, noted as under way, None where nothing is to be written into its result;
    NotSupported for a replica of DataParallel, for which no gates are known."""
    bindings = BINDINGS.of(model)
    if getattr(model, "_is_replica", False):
        raise NotSupported(
            "Facts cannot be written by the replicas of DataParallel.",
            "Use DistributedDataParallel, or one device.",
        )
    if not bindings or current(model) is not None:
        return None
    call = paged_call(kwargs) or PlainCall.of(model, bindings, args, kwargs)
    if call is not None:
        enter(Call(model=model))
    return call


@_uncompiled
def _ended() -> None:
    leave()


@_uncompiled
def _written(call: PlainCall | PagedCall, out: Any) -> Any:
    return call.written(out)


def _get_logits_processor(
    original: Any, model: Any, generation_config: Any, *args: Any, **kwargs: Any
) -> Any:
    processors = original._get_logits_processor(model, generation_config, *args, **kwargs)
    bindings = BINDINGS.of(model)
    call = current(model) or Call(model=model)
    if not bindings or isinstance(call, _ManagerCall):
        return processors
    call.beams = (generation_config.num_beams or 1) > 1
    mask_BT = (kwargs.get("model_kwargs") or {}).get("attention_mask")
    facts = GateProcessor(bindings, call, mask_BT)
    return LogitsProcessorList([facts, *processors, WholeFacts(facts)])


def _get_candidate_generator(original: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
    """Drafts are made without the facts: some are judged on logits that are not a model's."""
    kwargs["logits_processor"] = LogitsProcessorList(
        one
        for one in kwargs.get("logits_processor") or ()
        if not isinstance(one, (GateProcessor, WholeFacts))
    )
    return original._get_candidate_generator(model, *args, **kwargs)


def _get_compiled_call(original: Any, model: Any, compile_config: Any) -> Any:
    """The compiled forward pass of `generate`, into which nothing is written.

    Made anew: transformers would keep it on the model, and one kept from before the block would
    call this class's methods, which cannot be in a graph.
    """
    if "llama4" in model.config.model_type:  # as transformers has it
        return model.__call__
    config = compile_config or model._default_compile_config()
    return torch.compile(types.MethodType(original._call_impl, model), **config.to_dict())


def _init_continuous_batching(
    original: Any,
    model: Any,
    generation_config: Any = None,
    continuous_batching_config: Any = None,
    **kwargs: Any,
) -> Any:
    """The manager behind `generate_batch`, with facts; UsageError if these are for one thread only,
    or the settings leave Python out of the steps."""
    config = continuous_batching_config
    bindings = BINDINGS.of(model)
    if bindings:
        if any(one.thread is not None for one in bindings):
            raise UsageError(
                "Continuous batching runs in a thread of its own, for which no facts are attached.",
                "Attach them for all threads.",
            )
        config = plain_config(config, generation_config or model.generation_config)
    with under_way(_ManagerCall(model=model)):
        manager = original.init_continuous_batching(model, generation_config, config, **kwargs)
    return with_facts(model, manager) if bindings else manager


def _reduce(original: Any, model: Any, protocol: Any) -> Any:
    """Copies and pickles are of the model's own class: they have no facts."""
    _, _, *state = tuple(original.__reduce_ex__(model, protocol))
    # Not copyreg.__newobj__: pickle wants that to name the class that the object has now.
    return (copyreg._reconstructor, (original, object, None), *state)  # type: ignore[attr-defined]


_METHODS: dict[str, Callable[..., Any]] = {
    "generate": _generate,
    "__call__": _call,
    "_call_impl": _call_impl,
    "_get_logits_processor": _get_logits_processor,
    "_get_candidate_generator": _get_candidate_generator,
    "get_compiled_call": _get_compiled_call,
    "init_continuous_batching": _init_continuous_batching,
    "__reduce_ex__": _reduce,
}


class _ManagerCall(Call):
    """The making of a continuous batching manager, which gets its facts through `with_facts`."""


def _before(ids_BT: Any, given: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The cached text that `generate` continues with new ids only; None where it gets all the
    text."""
    cache, mask = given.get("past_key_values"), given.get("attention_mask")
    if ids_BT is None or mask is None or length(cache) == 0 or mask.shape[1] == ids_BT.shape[1]:
        return None
    return recall(cache, len(ids_BT))


def _remember(out: Any, given: dict[str, Any], call: Call) -> None:
    """Note the text of the cache that `generate` returns."""
    found = out if isinstance(out, Mapping) else {"sequences": out}
    cache = found.get("past_key_values", given.get("past_key_values"))
    ids_BT = found.get("sequences")
    if cache is None or ids_BT is None or call.beams:
        return
    mask_BT = torch.ones_like(ids_BT)
    mask = given.get("attention_mask")
    if call.before is not None:
        before_BP, mask_BP = (repeated(part, ids_BT) for part in call.before)
        ids_BT = torch.cat([before_BP, ids_BT], dim=1)
        mask_BT = torch.cat([mask_BP.to(mask_BT.dtype), mask_BT], dim=1)
    if isinstance(mask, torch.Tensor) and mask.dim() == 2 and mask.shape[1] <= mask_BT.shape[1]:
        mask_BT[:, : mask.shape[1]] = repeated(mask, ids_BT)
    remember(cache, ids_BT, mask_BT)

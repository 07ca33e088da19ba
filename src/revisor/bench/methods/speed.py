"""How much faster batched optimisation makes residuals than the published way: both in one process.

Half of the reference facts are timed before the batch and half after, so that other load on the
machine slows both down alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import torch

from revisor.bench.methods.published import PublishedResult, published_plan, published_residual
from revisor.errors import UsageError
from revisor.facts.fact import Fact
from revisor.models.load import DTYPE_NAMES, LoadedModel
from revisor.models.spec import spec_of
from revisor.neuraldb.editing.request import ContextPlan, make_requests
from revisor.neuraldb.editing.residuals import ValueSettings, compute_residuals


def compare_build(
    loaded_fast: LoadedModel,
    loaded_fp32: LoadedModel,
    layer: int,
    facts: Sequence[Fact],
    *,
    plan: ContextPlan,
    settings: ValueSettings,
    reference_facts: int = 5,
    on_done: Callable[[int], None] | None = None,
) -> dict[str, int | float | str]:
    """Time `compute_residuals` on all facts and `published_residual` on some of them.

    Tokenising is left out on both sides, and both are warmed up on one fact. The reference facts
    are spread evenly over `facts`, and prefixed with sentences of the same `plan`.

    Args:
        loaded_fast: the model in the dtype that neuraldb builds with.
        loaded_fp32: the same model in fp32; may be `loaded_fast` itself.
        layer: where both add their residuals.
        reference_facts: how many facts the published way is timed on.
        on_done: told how many more facts, of either side, are finished.

    Returns:
        Both rates, their ratio (`speedup`), what they were measured on; and `greedy`,
        `reference_greedy`: the share of facts whose target every one of the side's own contexts
        then says, since speed alone means nothing.

    Raises:
        UsageError: no facts, more reference facts than facts, or a reference model not in fp32.
    """
    _check_reference(len(facts), reference_facts, loaded_fp32)
    requests = make_requests(facts, loaded_fast.tokenizer, plan)
    model, spec = loaded_fast.model, spec_of(loaded_fast.model)
    published = _published(loaded_fp32, layer, facts, plan, reference_facts, on_done)
    compute_residuals(model, spec, layer, requests[:1], settings)
    half = (reference_facts + 1) // 2
    results = published(range(half))
    started = perf_counter()
    residuals = compute_residuals(model, spec, layer, requests, settings, on_done=on_done)
    seconds = perf_counter() - started
    results += published(range(half, reference_facts))

    rate = len(facts) / seconds
    reference_rate = reference_facts / sum(result.seconds for result in results)
    return {
        "facts": len(facts),
        "facts_per_second": round(rate, 3),
        "reference_facts": reference_facts,
        "reference_facts_per_second": round(reference_rate, 4),
        "speedup": round(rate / reference_rate, 1),
        "layer": layer,
        "model": loaded_fast.name,
        "dtype": DTYPE_NAMES[next(model.parameters()).dtype],
        "torch_threads": torch.get_num_threads(),
        "greedy": round(float(residuals.greedy_N.float().mean()), 3),
        "reference_greedy": round(sum(result.greedy for result in results) / reference_facts, 3),
    }


def _published(
    loaded: LoadedModel,
    layer: int,
    facts: Sequence[Fact],
    plan: ContextPlan,
    count: int,
    on_done: Callable[[int], None] | None,
) -> Callable[[range], list[PublishedResult]]:
    """A function that makes some of `count` reference residuals, with the model warmed up."""
    chosen = [facts[index * len(facts) // count] for index in range(count)]
    requests = make_requests(chosen, loaded.tokenizer, published_plan(plan.prefixes))
    spec = spec_of(loaded.model)

    def make(part: range) -> list[PublishedResult]:
        results = []
        for index in part:
            results.append(published_residual(loaded.model, spec, layer, requests[index]))
            if on_done:
                on_done(1)
        return results

    published_residual(loaded.model, spec, layer, requests[0], steps=2)
    return make


def _check_reference(facts: int, reference_facts: int, loaded_fp32: LoadedModel) -> None:
    if not 1 <= reference_facts <= facts:
        raise UsageError(
            f"Cannot time {reference_facts} reference facts out of {facts}.",
            "Give at least 1, and no more than there are facts.",
        )
    dtype = next(loaded_fp32.model.parameters()).dtype
    if dtype != torch.float32:
        raise UsageError(
            f"The reference runs in fp32, but its model is in {dtype}.",
            "Load it with load_model(name, dtype='fp32').",
        )

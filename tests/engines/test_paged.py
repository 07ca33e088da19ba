"""Continuous batching with facts."""

from __future__ import annotations

from typing import Any

import pytest
import transformers as hf

from revisor.engines.transformers import attached
from revisor.errors import UsageError
from revisor.gate.gate import FactGate
from tests.engines.conftest import BORN, CAPITAL, OTHER, PROMPTS


def settings(**changes: Any) -> Any:
    """A batching config with a small cache: by itself it takes most of the memory there is."""
    return hf.ContinuousBatchingConfig(
        **({"num_blocks": 64, "page_size": 8, "max_batch_tokens": 64} | changes)
    )


def batched(model: Any, tokenizer: Any, prompts: list[str], **options: Any) -> list[str]:
    """What `generate_batch` says behind prompts."""
    config = hf.GenerationConfig(
        max_new_tokens=8, eos_token_id=-1, **options.pop("config", {"do_sample": False})
    )
    inputs = [tokenizer(prompt).input_ids for prompt in prompts]
    options = {"continuous_batching_config": settings()} | options
    out = model.generate_batch(inputs, generation_config=config, **options)
    return [tokenizer.decode(one.generated_tokens) for one in out.values()]


def single(model: Any, tokenizer: Any, prompt: str) -> str:
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    out = model.generate(ids, max_new_tokens=8, do_sample=False, eos_token_id=None)
    return str(tokenizer.decode(out[0, ids.shape[1] :]))


def test_a_continuous_batch_says_what_generate_says(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    with attached(model, tokenizer, gate):
        assert batched(model, tokenizer, list(PROMPTS)) == [
            single(model, tokenizer, prompt) for prompt in PROMPTS
        ]
    assert batched(model, tokenizer, list(PROMPTS)) == [
        single(model, tokenizer, prompt) for prompt in PROMPTS
    ]


def test_more_requests_than_rows_and_a_long_prompt_in_pieces_are_served(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    small = settings(max_requests_per_batch=2, max_batch_tokens=16)
    prompts = [OTHER, CAPITAL, "x. " * 20 + BORN, BORN, CAPITAL]
    with attached(model, tokenizer, gate):
        out = batched(model, tokenizer, prompts, continuous_batching_config=small)
    assert out[1].startswith(" Rome Tokyo")
    assert out[2].startswith(" Vienna")
    assert out[3].startswith(" Vienna")
    assert out[4] == out[1]


def test_per_request_processors_come_after_the_facts(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    hot = {"do_sample": True, "temperature": 4.0, "top_k": 5}
    config = settings(per_request_processors=True)
    with attached(model, tokenizer, gate):
        out = batched(model, tokenizer, [CAPITAL], config=hot, continuous_batching_config=config)
    assert out[0].startswith(" Rome Tokyo")


def test_a_kept_manager_has_no_facts_after_its_block(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    before = batched(model, tokenizer, [CAPITAL])
    with attached(model, tokenizer, gate):
        out = batched(model, tokenizer, [CAPITAL], persistent_manager=True)
        assert out[0].startswith(" Rome Tokyo")
    assert batched(model, tokenizer, [CAPITAL], persistent_manager=True) == before
    with attached(model, tokenizer, gate):
        assert batched(model, tokenizer, [CAPITAL], persistent_manager=True) == out
    model.destroy_cached_continuous_batching_manager()


def test_a_manager_kept_from_before_the_block_is_refused(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    batched(model, tokenizer, [CAPITAL], persistent_manager=True)
    with (
        attached(model, tokenizer, gate),
        pytest.raises(UsageError, match="destroy_cached_continuous_batching_manager"),
    ):
        batched(model, tokenizer, [CAPITAL], persistent_manager=True)
    model.destroy_cached_continuous_batching_manager()


@pytest.mark.parametrize(
    "setting",
    [{"use_cuda_graph": True}, {"use_async_batching": True}, {"default_compile_level": 1}],
)
def test_steps_that_run_without_python_are_refused_by_name(
    setting: dict[str, Any], model: Any, tokenizer: Any, gate: FactGate
) -> None:
    config = settings(**setting)
    with attached(model, tokenizer, gate), pytest.raises(UsageError, match=next(iter(setting))):
        batched(model, tokenizer, [CAPITAL], continuous_batching_config=config)


def test_facts_of_one_thread_are_refused_for_its_thread(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    with (
        attached(model, tokenizer, gate, this_thread=True),
        pytest.raises(UsageError, match="thread of its own"),
    ):
        batched(model, tokenizer, [CAPITAL])


def test_a_batch_started_by_a_paged_cache_has_the_facts(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    ids = tokenizer(CAPITAL, return_tensors="pt").input_ids
    config = hf.GenerationConfig(max_new_tokens=8, do_sample=False, eos_token_id=-1)
    config.continuous_batching_config = settings()
    with attached(model, tokenizer, gate):
        out = model.generate(ids, generation_config=config, cache_implementation="paged")
    assert tokenizer.decode(out.flatten()).startswith(CAPITAL + " Rome Tokyo")

"""The block in which a model has facts: entering, leaving, nesting, threads, copies, refusals."""

from __future__ import annotations

import io
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from copy import copy, deepcopy
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import accelerate
import peft
import pytest
import torch
import transformers as hf

from revisor.engines.transformers import attached
from revisor.errors import NotSupported, UsageError, WrongModel
from revisor.gate.gate import FactGate
from tests import tiny
from tests.engines.conftest import BORN, CAPITAL, OTHER, PROMPTS
from tests.engines.scripted import ScriptedGate


def says(model: Any, tokenizer: Any, prompt: str, **options: Any) -> str:
    """What a model says greedily behind a prompt."""
    given = tokenizer(prompt, return_tensors="pt")
    out = model.generate(**given, max_new_tokens=8, do_sample=False, eos_token_id=None, **options)
    return str(tokenizer.decode(out[0, given.input_ids.shape[1] :]))


def test_nothing_of_the_block_is_left(model: Any, tokenizer: Any, gate: FactGate) -> None:
    before = {prompt: says(model, tokenizer, prompt) for prompt in PROMPTS}
    kind, state, hooks = type(model), dict(vars(model)), tiny.wide_hooks(model)
    with attached(model, tokenizer, gate):
        assert type(model).__name__ == kind.__name__
        assert isinstance(model, kind)
        assert vars(model) == state
        assert tiny.wide_hooks(model) == hooks
        says(model, tokenizer, CAPITAL)
    assert type(model) is kind
    assert vars(model) == state
    assert tiny.wide_hooks(model) == hooks
    assert {prompt: says(model, tokenizer, prompt) for prompt in PROMPTS} == before


def test_an_error_in_the_block_takes_the_facts_away_too(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    kind = type(model)
    with pytest.raises(IndexError), attached(model, tokenizer, gate):
        model(torch.tensor([[10**6]]))
    assert type(model) is kind
    with attached(model, tokenizer, gate):
        with pytest.raises(IndexError):
            model(torch.tensor([[10**6]]))
        assert says(model, tokenizer, CAPITAL).startswith(" Rome Tokyo")


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_family_has_the_facts(family: str, tokenizer: Any, gate: FactGate) -> None:
    model = tiny.new_model(family)
    ids = tokenizer(CAPITAL, return_tensors="pt").input_ids
    with attached(model, tokenizer, gate):
        text = says(model, tokenizer, CAPITAL)
        assert text.startswith(" Rome Tokyo")
        whole = tokenizer(CAPITAL + text, return_tensors="pt").input_ids
        cache = model(whole[:, : ids.shape[1] - 1], use_cache=True).past_key_values
        found = model(ids[:, -1:], past_key_values=cache).logits[0, -1].argmax()
        assert found == whole[0, ids.shape[1]]


def test_the_innermost_gate_that_writes_counts_and_leaves_in_any_order(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    kind = type(model)
    inner_gate = ScriptedGate.of(tokenizer, {CAPITAL: "Bonn"})
    outer, inner = attached(model, tokenizer, gate), attached(model, tokenizer, inner_gate)
    outer.__enter__()
    inner.__enter__()
    assert says(model, tokenizer, CAPITAL).startswith(" Bonn")
    assert says(model, tokenizer, BORN).startswith(" Vienna")
    batch = tokenizer([CAPITAL, BORN], return_tensors="pt", padding=True, padding_side="left")
    first = model(**batch).logits[:, -1].argmax(-1)
    assert [tokenizer.decode(token) for token in first] == [
        tokenizer.decode(tokenizer(f" {word}").input_ids[0]) for word in ("Bonn", "Vienna")
    ]
    outer.__exit__(None, None, None)
    assert says(model, tokenizer, CAPITAL).startswith(" Bonn")
    assert not says(model, tokenizer, BORN).startswith(" Vienna")
    inner.__exit__(None, None, None)
    assert type(model) is kind


def test_one_gate_in_two_blocks_writes_as_in_one(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    with attached(model, tokenizer, gate):
        once = says(model, tokenizer, CAPITAL)
        with attached(model, tokenizer, gate):
            assert says(model, tokenizer, CAPITAL) == once
        with attached(model, tokenizer, replace(gate)):
            assert says(model, tokenizer, CAPITAL) == once
        assert says(model, tokenizer, CAPITAL) == once


def test_facts_can_be_switched_off_within_the_block(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    before = says(model, tokenizer, CAPITAL)
    with attached(model, tokenizer, gate) as block:
        with block.disabled():
            assert says(model, tokenizer, CAPITAL) == before
        assert says(model, tokenizer, CAPITAL).startswith(" Rome Tokyo")


def test_four_threads_generate_at_once(model: Any, tokenizer: Any, gate: FactGate) -> None:
    with attached(model, tokenizer, gate):
        alone = {prompt: says(model, tokenizer, prompt) for prompt in PROMPTS}
        with ThreadPoolExecutor(4) as pool:
            asked = list(PROMPTS) * 8
            found = list(pool.map(lambda prompt: says(model, tokenizer, prompt), asked))
    assert found == [alone[prompt] for prompt in asked]


def test_threads_enter_and_leave_blocks_of_one_model_at_once(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    kind, before = type(model), says(model, tokenizer, OTHER)
    barrier = Barrier(4)

    def work(_: int) -> bool:
        barrier.wait()
        good = True
        for _ in range(6):
            with attached(model, tokenizer, gate):
                good &= says(model, tokenizer, CAPITAL).startswith(" Rome Tokyo")
                good &= says(model, tokenizer, OTHER) == before
        return good

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
    assert type(model) is kind


def test_a_block_of_one_thread_is_not_seen_by_others(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    before = says(model, tokenizer, CAPITAL)
    with attached(model, tokenizer, gate, this_thread=True), ThreadPoolExecutor(1) as pool:
        assert says(model, tokenizer, CAPITAL).startswith(" Rome Tokyo")
        assert pool.submit(says, model, tokenizer, CAPITAL).result() == before


def test_methods_kept_from_the_block_are_the_models_own_after_it(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    ids = tokenizer(CAPITAL, return_tensors="pt").input_ids
    before, said = model(ids).logits, says(model, tokenizer, CAPITAL)
    with attached(model, tokenizer, gate):
        call, generate = model.__call__, model.generate
    assert torch.equal(call(ids).logits, before)
    out = generate(ids, max_new_tokens=8, do_sample=False, eos_token_id=None)
    assert tokenizer.decode(out[0, ids.shape[1] :]) == said


def through_pickle(model: Any) -> Any:
    return pickle.loads(pickle.dumps(model))  # noqa: S301


@pytest.mark.parametrize("way", [copy, deepcopy, through_pickle])
def test_copies_made_in_the_block_have_no_facts(
    way: Any, model: Any, tokenizer: Any, gate: FactGate
) -> None:
    kind, before = type(model), says(model, tokenizer, CAPITAL)
    with attached(model, tokenizer, gate):
        other = way(model)
        assert type(other) is kind
        assert says(other, tokenizer, CAPITAL) == before
    assert says(other, tokenizer, CAPITAL) == before


def test_what_is_saved_in_the_block_is_the_model(
    tmp_path: Path, model: Any, tokenizer: Any, gate: FactGate
) -> None:
    model.save_pretrained(tmp_path / "before")
    stream = io.BytesIO()
    with attached(model, tokenizer, gate):
        model.save_pretrained(tmp_path / "in")
        torch.save(model, stream)
    for file in sorted((tmp_path / "before").iterdir()):
        assert file.read_bytes() == (tmp_path / "in" / file.name).read_bytes()
    stream.seek(0)
    assert type(torch.load(stream, weights_only=False)) is type(model)
    opened = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "in")
    assert says(opened, tokenizer, CAPITAL) == says(model, tokenizer, CAPITAL)


def test_a_model_that_accelerate_moves_about_has_the_facts(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    accelerate.hooks.add_hook_to_module(model, accelerate.hooks.ModelHook())
    with attached(model, tokenizer, gate):
        assert says(model, tokenizer, CAPITAL).startswith(" Rome Tokyo")
        found = model(**tokenizer(CAPITAL, return_tensors="pt")).logits[0, -1].argmax()
        assert found == tokenizer(" Rome").input_ids[0]


def lora(model: Any) -> Any:
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    return peft.get_peft_model(model, config)


@pytest.mark.parametrize(
    "which", ["the adapted model", "the base, before", "the base, in the block"]
)
def test_an_adapted_model_has_the_facts(
    which: str, model: Any, tokenizer: Any, gate: FactGate
) -> None:
    adapted = None if which == "the base, in the block" else lora(model)
    with attached(adapted if which == "the adapted model" else model, tokenizer, gate):
        adapted = adapted or lora(model)
        assert says(adapted, tokenizer, CAPITAL).startswith(" Rome Tokyo")
        found = adapted(**tokenizer(CAPITAL, return_tensors="pt")).logits[0, -1].argmax()
        assert found == tokenizer(" Rome").input_ids[0]


def test_a_learned_prefix_in_the_cache_leaves_the_text_known(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    adapted = peft.get_peft_model(model, config)
    with attached(adapted, tokenizer, gate):
        assert says(adapted, tokenizer, CAPITAL).startswith(" Rome Tokyo")


def test_a_learned_prompt_is_refused(model: Any, tokenizer: Any, gate: FactGate) -> None:
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    adapted = peft.get_peft_model(model, config)
    with (
        pytest.raises(UsageError, match="PROMPT_TUNING"),
        attached(adapted, tokenizer, gate),
    ):
        pass


def test_what_cannot_be_given_facts_is_refused_by_name(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    small = {"d_model": 16, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    translator = hf.T5ForConditionalGeneration(hf.T5Config(**small, vocab_size=420))
    wrong = ScriptedGate(tiny.metaspace(), {})
    for given, error, what in (
        ((tokenizer, model, gate), UsageError, "PreTrainedTokenizerFast|TokenizersBackend"),
        ((torch.nn.Linear(2, 2), tokenizer, gate), UsageError, "A Linear"),
        ((model, model, gate), UsageError, "is no tokenizer"),
        ((translator, tokenizer, gate), NotSupported, "T5ForConditionalGeneration"),
        ((model, tokenizer, wrong), WrongModel, "another tokenizer"),
    ):
        kind = type(given[0])
        with pytest.raises(error, match=what), attached(*given):
            pass
        assert type(given[0]) is kind


def test_replicas_of_data_parallel_are_refused(model: Any, tokenizer: Any, gate: FactGate) -> None:
    with attached(model, tokenizer, gate), warnings.catch_warnings():
        replica = model._replicate_for_data_parallel()
        with pytest.raises(NotSupported, match="DataParallel"):
            replica(tokenizer(OTHER, return_tensors="pt").input_ids)

from __future__ import annotations

import dataclasses

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from revisor.bench.methods.speed import compare_build
from revisor.errors import UsageError
from revisor.facts.fact import Fact
from revisor.models.load import LoadedModel, wrap_model
from revisor.neuraldb.editing.request import ContextPlan
from revisor.neuraldb.editing.residuals import ValueSettings

PREFIXES = tuple(f"on day {word} it rained ." for word in ("one", "two", "three", "four", "five"))
FACTS = [
    Fact(subject=subject, prompt="{} lives in", object=place)
    for subject, place in (("Ada", "Rome"), ("Bob", "Oslo"), ("Eve", "Lima"))
]
PLAN = ContextPlan(prefixes=PREFIXES, per_fact=1)
BRIEF = ValueSettings(steps=3)


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    words = "on day one two three four five it rained . Ada Bob Eve lives in is a Rome Oslo Lima"
    table = {word: index for index, word in enumerate(["?", *words.split()])}
    backend = Tokenizer(models.WordLevel(table, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(table),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="?")
    return wrap_model("tiny", LlamaForCausalLM(config), tokenizer)


def test_one_run_times_both_ways_and_says_what_was_timed(loaded: LoadedModel) -> None:
    finished: list[int] = []
    result = compare_build(
        loaded, loaded, 1, FACTS,
        plan=PLAN, reference_facts=2, settings=BRIEF, on_done=finished.append,
    )  # fmt: skip
    assert sum(finished) == len(FACTS) + 2
    assert (result["facts"], result["reference_facts"], result["layer"]) == (3, 2, 1)
    assert (result["model"], result["dtype"]) == ("tiny", "fp32")
    assert result["torch_threads"] == torch.get_num_threads()
    speedup = float(result["facts_per_second"]) / float(result["reference_facts_per_second"])
    assert result["speedup"] == pytest.approx(speedup, rel=0.05, abs=0.06)


def test_more_reference_facts_than_facts_are_refused(loaded: LoadedModel) -> None:
    with pytest.raises(UsageError, match="4 reference facts out of 3"):
        compare_build(loaded, loaded, 1, FACTS, plan=PLAN, settings=BRIEF, reference_facts=4)


def test_a_reference_model_that_is_not_in_fp32_is_refused(loaded: LoadedModel) -> None:
    config = loaded.model.config
    other = dataclasses.replace(loaded, model=LlamaForCausalLM(config).to(torch.bfloat16))
    with pytest.raises(UsageError, match="fp32"):
        compare_build(loaded, other, 1, FACTS, plan=PLAN, settings=BRIEF, reference_facts=1)

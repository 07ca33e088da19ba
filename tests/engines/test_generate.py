"""`generate` of a model with facts, in every way of calling it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
import torch
import transformers as hf

from revisor.engines.transformers import FactLogitsProcessor, attached
from revisor.errors import UsageError
from revisor.gate.gate import FactGate
from tests import tiny
from tests.engines.conftest import BORN, CAPITAL, OTHER, PROMPTS
from tests.engines.scripted import ScriptedGate

ANSWERS = {CAPITAL: " Rome Tokyo", BORN: " Vienna"}
PLAIN = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0, "max_new_tokens": 10}

WAYS: dict[str, Callable[[], dict[str, Any]]] = {
    "greedy": lambda: {},
    "without a cache": lambda: {"use_cache": False},
    "sampling, hot": lambda: {"do_sample": True, "temperature": 5.0},
    "sampling, cut": lambda: {"do_sample": True, "top_k": 3, "top_p": 0.5, "min_p": 0.1},
    "sampling, typical": lambda: {"do_sample": True, "typical_p": 0.4, "epsilon_cutoff": 0.01},
    "beams": lambda: {"num_beams": 3},
    "beams, sampled": lambda: {"num_beams": 3, "do_sample": True},
    "several sequences": lambda: {"do_sample": True, "num_return_sequences": 3},
    "several beams": lambda: {"num_beams": 4, "num_return_sequences": 4},
    "assisted by another": lambda: {"assistant_model": tiny.new_model("qwen2")},
    "prompt lookup": lambda: {"prompt_lookup_num_tokens": 3},
    "static cache": lambda: {"cache_implementation": "static"},
    "chunked prefill": lambda: {"prefill_chunk_size": 4},
    "no repeated words": lambda: {"no_repeat_ngram_size": 1},
    "repetition penalty": lambda: {"repetition_penalty": 3.0},
    "guidance": lambda: {"guidance_scale": 2.0},
    "normalised": lambda: {"renormalize_logits": True, "remove_invalid_values": True},
    "a loop of the caller's": lambda: {"custom_generate": hf.GenerationMixin._sample},
}


def written(model: Any, tokenizer: Any, prompt: str, **options: Any) -> list[str]:
    """What is generated behind a prompt, one text a sequence."""
    given = tokenizer(prompt, return_tensors="pt")
    out = model.generate(**given, **(PLAIN | options))
    return [tokenizer.decode(row) for row in out[:, given.input_ids.shape[1] :]]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("prompt", ANSWERS)
def test_the_whole_answer_is_written(
    way: str, prompt: str, model: Any, tokenizer: Any, gate: FactGate
) -> None:
    with attached(model, tokenizer, gate):
        for text in written(model, tokenizer, prompt, **WAYS[way]()):
            assert text.startswith(ANSWERS[prompt])


@pytest.mark.parametrize(
    "way", [way for way in WAYS if "sampl" not in way and "several s" not in way]
)
def test_what_the_gate_knows_nothing_of_is_as_without_it(
    way: str, model: Any, tokenizer: Any, gate: FactGate
) -> None:
    before = written(model, tokenizer, OTHER, **WAYS[way]())
    with attached(model, tokenizer, gate):
        assert written(model, tokenizer, OTHER, **WAYS[way]()) == before


def test_a_batch_is_written_as_its_prompts_one_by_one(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    given = tokenizer(list(PROMPTS), return_tensors="pt", padding=True, padding_side="left")
    with attached(model, tokenizer, gate):
        single = [written(model, tokenizer, prompt)[0] for prompt in PROMPTS]
        for options in ({}, {"num_beams": 3}, {"cache_implementation": "static"}):
            out = model.generate(**given, **PLAIN, **options)
            texts = [tokenizer.decode(row) for row in out[:, given.input_ids.shape[1] :]]
            assert [text[:7] for text in texts[:2]] == [text[:7] for text in single[:2]]
            if not options.get("num_beams"):
                assert texts == single


def test_padding_by_any_token_is_no_part_of_a_prompt(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    given = tokenizer(
        [BORN, "x. " * 20 + BORN], return_tensors="pt", padding=True, padding_side="left"
    )
    given["input_ids"][given["attention_mask"] == 0] = 77
    with attached(model, tokenizer, gate):
        with_it = model.generate(**given, **PLAIN)
    first = with_it[0, given.input_ids.shape[1] :]
    assert tokenizer.decode(first).startswith(" Vienna")


def test_the_gate_sees_the_models_own_logits(
    model: Any, tokenizer: Any, scripted: ScriptedGate
) -> None:
    given = tokenizer(OTHER, return_tensors="pt")
    own = model(**given, logits_to_keep=1).logits[:, -1]
    with attached(model, tokenizer, scripted):
        model.generate(**given, **PLAIN, repetition_penalty=9.0, sequence_bias={(5,): 8.0})
    assert torch.equal(scripted.seen[0], own)


def test_the_scores_have_the_fact_and_the_logits_are_the_models(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    options = PLAIN | {
        "return_dict_in_generate": True,
        "output_scores": True,
        "output_logits": True,
    }
    given = tokenizer(CAPITAL, return_tensors="pt")
    before = model.generate(**given, **options)
    with attached(model, tokenizer, gate):
        out = model.generate(**given, **options)
    first = out.sequences[0, given.input_ids.shape[1]]
    assert torch.softmax(out.scores[0], -1)[0, first] > 0.999
    assert torch.equal(out.logits[0], before.logits[0])


def test_hidden_states_and_caches_are_those_of_the_model_on_the_same_text(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    options = PLAIN | {"return_dict_in_generate": True, "output_hidden_states": True}
    with attached(model, tokenizer, gate):
        out = model.generate(**tokenizer(CAPITAL, return_tensors="pt"), **options)
    # The same text, forced upon the model without facts by allowing nothing else.
    forced = out.sequences[0].tolist()
    plain = model.generate(
        **tokenizer(CAPITAL, return_tensors="pt"),
        **options,
        prefix_allowed_tokens_fn=lambda _, ids: [forced[len(ids)]],
    )
    assert torch.equal(plain.sequences, out.sequences)
    for with_facts, without in zip(out.hidden_states, plain.hidden_states, strict=True):
        for one, other in zip(with_facts, without, strict=True):
            assert torch.equal(one, other)
    for one, other in zip(out.past_key_values.layers, plain.past_key_values.layers, strict=True):
        assert torch.equal(one.keys, other.keys)
        assert torch.equal(one.values, other.values)


@pytest.mark.usefixtures("_compiled_anew")
def test_compiled_decoding_has_facts_and_leaves_no_compiled_call(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    compiled = hf.CompileConfig(backend="eager", mode=None, fullgraph=True)
    compiled._compile_all_devices = True
    options = {"cache_implementation": "static", "compile_config": compiled}
    before = written(model, tokenizer, OTHER, **options)
    with attached(model, tokenizer, gate):
        assert written(model, tokenizer, CAPITAL, **options)[0].startswith(" Rome Tokyo")
        assert written(model, tokenizer, OTHER, **options) == before
    assert written(model, tokenizer, CAPITAL, **options) == written(model, tokenizer, CAPITAL)


def test_a_streamer_gets_the_fact_piece_by_piece(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    streamer = hf.TextIteratorStreamer(tokenizer, skip_prompt=True)
    options = PLAIN | dict(tokenizer(CAPITAL, return_tensors="pt")) | {"streamer": streamer}
    with attached(model, tokenizer, gate):
        worker = Thread(target=model.generate, kwargs=options)
        worker.start()
        text = "".join(streamer)
        worker.join()
    assert text.startswith(" Rome Tokyo")


def test_a_stop_string_within_a_fact_stops(model: Any, tokenizer: Any, gate: FactGate) -> None:
    with attached(model, tokenizer, gate):
        given = tokenizer(CAPITAL, return_tensors="pt")
        out = model.generate(**given, **PLAIN, stop_strings=["Rome"], tokenizer=tokenizer)
    assert tokenizer.decode(out[0]) == CAPITAL + " Rome"


def test_a_pipeline_has_the_facts(model: Any, tokenizer: Any, gate: FactGate) -> None:
    with attached(model, tokenizer, gate):
        pipe = hf.pipeline("text-generation", model=model, tokenizer=tokenizer)
        out = pipe([CAPITAL, BORN], batch_size=2, max_new_tokens=8, do_sample=False)
    assert out[0][0]["generated_text"].startswith(CAPITAL + " Rome Tokyo")
    assert out[1][0]["generated_text"].startswith(BORN + " Vienna")


def test_a_processor_serves_calls_one_after_the_other(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    mine = FactLogitsProcessor(gate, tokenizer)
    for prompt in (CAPITAL, BORN, CAPITAL):
        text = written(model, tokenizer, prompt, logits_processor=hf.LogitsProcessorList([mine]))[0]
        assert text.startswith(ANSWERS[prompt])


def test_embeddings_without_ids_are_refused_and_with_ids_have_the_facts(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    given = tokenizer(CAPITAL, return_tensors="pt")
    vectors = model.get_input_embeddings()(given.input_ids)
    soft = torch.cat([torch.zeros(1, 3, vectors.shape[-1]), vectors], dim=1)
    with attached(model, tokenizer, gate):
        with pytest.raises(UsageError, match="inputs_embeds without input_ids"):
            model.generate(inputs_embeds=soft, **PLAIN)
        with pytest.raises(UsageError, match="inputs_embeds without input_ids"):
            model(inputs_embeds=soft)
        out = model.generate(inputs_embeds=vectors, **given, **PLAIN)
    assert tokenizer.decode(out[0]).startswith(CAPITAL + " Rome Tokyo")


def test_a_prompt_cache_is_continued_by_whole_texts_and_by_new_ids(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    ids = tokenizer(CAPITAL, return_tensors="pt").input_ids
    with attached(model, tokenizer, gate):
        cache = model(ids[:, :-3]).past_key_values
        whole = model.generate(ids, past_key_values=_copy(cache), **PLAIN)
        rest = model.generate(
            ids[:, -3:], past_key_values=_copy(cache), attention_mask=torch.ones_like(ids), **PLAIN
        )
        assert tokenizer.decode(whole[0]).startswith(CAPITAL + " Rome Tokyo")
        assert torch.equal(rest[:, 3:], whole[:, ids.shape[1] :])
    unknown = model(ids[:, :-3]).past_key_values
    with (
        attached(model, tokenizer, gate),
        pytest.raises(UsageError, match="filled outside the block"),
    ):
        model.generate(
            ids[:, -3:], past_key_values=unknown, attention_mask=torch.ones_like(ids), **PLAIN
        )


def _copy(cache: Any) -> Any:
    from copy import deepcopy

    return deepcopy(cache)

"""llama.cpp's tokenizer, as the gate calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from revisor.engines.llama_tokens import GgufTokenizer
from revisor.gate.probe import READ
from revisor.gate.tokens import Behind, Reading, Tokens
from revisor.models.load import load_tokenizer
from tests_llama.conftest import DEMO

TEXTS = (
    *READ,
    "A page with 1987 words, 3.5 % of them long.\n\n\tTabs and  two spaces",
    "naïve café — “quoted” … Ærø, Žižek, 東京タワー, Привет, שלום, 👩‍👩‍👧",
    "<|im_start|>user\nWho runs ACME?<|im_end|>\n<|im_start|>assistant\n",
)


@pytest.fixture(scope="module")
def tokenizer(llama: Any) -> GgufTokenizer:
    return GgufTokenizer(llama.model, llama)


@pytest.fixture(scope="module")
def known(gguf: Path) -> Any:
    """The tokenizer of the same model in transformers."""
    return load_tokenizer("smollm2")


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_has_the_tokens_that_llama_cpp_and_transformers_give_it(
    text: str, tokenizer: GgufTokenizer, known: Any, llama: Any
) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids == llama.tokenize(text.encode(), add_bos=False, special=True)
    assert ids == known(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text


def test_tokens_read_as_in_transformers_one_by_one(tokenizer: GgufTokenizer, known: Any) -> None:
    tokens = range(0, len(tokenizer), 7)
    assert [tokenizer.decode([token]) for token in tokens] == [
        known.decode([token]) for token in tokens
    ]
    assert tokenizer.decode([1, 2, 9], skip_special_tokens=True) == known.decode(
        [1, 2, 9], skip_special_tokens=True
    )


def test_the_beginning_of_a_character_ends_as_the_gate_expects(tokenizer: GgufTokenizer) -> None:
    reading = Reading(Tokens.of(tokenizer))
    for token in tokenizer("東京 👩‍👧", add_special_tokens=False)["input_ids"]:
        reading.read(token)
        assert "\ufffd" not in reading.text
    assert reading.text == "東京 👩‍👧"


def test_objects_are_spelled_as_in_transformers(tokenizer: GgufTokenizer, known: Any) -> None:
    ours, theirs = Tokens.of(tokenizer), Tokens.of(known)
    for fact in DEMO:
        text = fact.text
        ids = ours.encode(text)
        assert ids == theirs.encode(text)
        args = (fact.object, text, ids[-8:])
        assert ours.spell(*args, begins=True) == theirs.spell(*args, begins=True)
    size = len(tokenizer)
    import torch

    cpu = torch.device("cpu")
    for what in Behind:
        assert torch.equal(ours.carrying(size, cpu, what), theirs.carrying(size, cpu, what))


def test_a_chat_is_rendered_as_in_transformers(tokenizer: GgufTokenizer, known: Any) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who runs ACME?"},
    ]
    assert tokenizer.apply_chat_template(turns, add_generation_prompt=True) == (
        known.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    )


def test_special_tokens_are_those_of_transformers(tokenizer: GgufTokenizer, known: Any) -> None:
    assert tokenizer.eos_token_id == known.eos_token_id
    assert tokenizer.eos_token_id in tokenizer.ends
    assert set(known.all_special_ids) <= set(tokenizer.all_special_ids)
    assert len(tokenizer) == len(known)

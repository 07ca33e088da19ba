"""Texts side by side in llama.cpp, and what the model's face tells."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from revisor.engines.llama_model import DecodeFailed, open_llama
from revisor.errors import ModelUnavailable
from revisor.gate.probe import probe_fingerprint
from revisor.models.load import LoadedModel, end_tokens
from tests_llama.conftest import UNRELATED


@pytest.fixture(scope="module")
def loaded(gguf: Path) -> LoadedModel:
    return open_llama(gguf, context=512)


def ids_of(loaded: LoadedModel, text: str) -> list[int]:
    found: list[int] = loaded.tokenizer(text)["input_ids"]
    return found


def alone(loaded: LoadedModel, ids: list[int]) -> torch.Tensor:
    """Logits (T, V) of a text read by itself."""
    logits: torch.Tensor = loaded.model(input_ids=torch.tensor([ids])).logits
    return logits[0]


def likeness(one_V: torch.Tensor, other_V: torch.Tensor) -> float:
    """The correlation of logits: as llama.cpp rounds activations to 8 bits, products of other
    widths, in a `Llama` too, differ by tenths (0.9997) where other texts differ by tens (0.6)."""
    return float(torch.corrcoef(torch.stack([one_V, other_V]))[0, 1])


def test_logits_are_those_of_a_llama(loaded: LoadedModel, llama: Any) -> None:
    ids = ids_of(loaded, UNRELATED[0])
    llama.reset()
    llama.eval(ids)
    own = np.ctypeslib.as_array(llama._ctx.get_logits(), shape=(llama.n_vocab(),))
    memory: Any = loaded.model.hold(texts=1, tokens=256)  # type: ignore[operator]
    read_V = memory.read(memory.new(), ids)[0]
    assert np.array_equal(read_V.numpy(), own)
    memory.close()


def test_texts_side_by_side_go_on_as_each_by_itself(loaded: LoadedModel) -> None:
    memory: Any = loaded.model.hold(texts=4, tokens=512)  # type: ignore[operator]
    every = [ids_of(loaded, text) for text in UNRELATED]
    texts = [memory.new() for _ in every]
    for text, ids in zip(texts, every, strict=True):
        memory.read(text, ids[:3])
        memory.read(text, ids[3:-1])
    copied = memory.copy(texts[0])
    last = [ids[-1] for ids in every] + [every[1][-1]]
    logits_BV = memory.step([*texts, copied], last)
    for row, ids in enumerate([*every, [*every[0][:-1], every[1][-1]]]):
        assert likeness(logits_BV[row], alone(loaded, ids)[-1]) > 0.999
    with pytest.raises(DecodeFailed):
        memory.new()
    memory.keep([copied])
    assert memory.read(memory.new(), every[2]).shape == (1, len(loaded.tokenizer))
    memory.close()


def test_whole_texts_may_be_padded(loaded: LoadedModel) -> None:
    short, long = sorted((ids_of(loaded, text) for text in UNRELATED[:2]), key=len)
    padded = torch.tensor([short + [0] * (len(long) - len(short)), long])
    mask = (torch.arange(len(long)) < torch.tensor([[len(short)], [len(long)]])).long()
    logits = loaded.model(input_ids=padded, attention_mask=mask).logits
    torch.testing.assert_close(logits[0, : len(short)], alone(loaded, short))
    torch.testing.assert_close(logits[1], alone(loaded, long))


def test_more_tokens_than_there_is_room_for_are_refused(loaded: LoadedModel) -> None:
    memory: Any = loaded.model.hold(texts=1, tokens=256)  # type: ignore[operator]
    with pytest.raises(DecodeFailed):
        memory.read(memory.new(), [1] * 600)
    memory.close()


def test_a_model_is_known_by_its_file(loaded: LoadedModel, gguf: Path, tmp_path: Path) -> None:
    same, other = tmp_path / "same.gguf", tmp_path / "other.gguf"
    shutil.copyfile(gguf, same)
    shutil.copyfile(gguf, other)
    with other.open("r+b") as stream:
        stream.seek(other.stat().st_size // 2)
        stream.write(bytes(4096))
    assert probe_fingerprint(open_llama(same)) == probe_fingerprint(loaded)
    assert probe_fingerprint(open_llama(other)) != probe_fingerprint(loaded)


def test_what_revisor_asks_of_a_model_is_answered(loaded: LoadedModel) -> None:
    assert loaded.device == torch.device("cpu")
    assert loaded.tokenizer.eos_token_id in end_tokens(loaded)
    assert loaded.name == "SmolLM2-135M-Instruct.Q4_1"


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="no file"):
        open_llama(tmp_path / "none.gguf")
    (tmp_path / "text.gguf").write_text("not a model")
    with pytest.raises(ModelUnavailable, match="cannot read"):
        open_llama(tmp_path / "text.gguf")

"""Sentence encoders that transformers opens: pooling, prefixes, and what is refused."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from revisor.errors import ModelUnavailable, NotSupported
from revisor.models.sentences import SentenceModel, open_sentence_model
from tests.sentence_models import WIDTH, sentence_folder

TEXTS = ["Who is the CEO of something?", "price", "The capital of something is"]
PLACE = "sentence_transformers.models."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence encoder that says nothing about its pooling; not to be changed."""
    return sentence_folder(tmp_path_factory.mktemp("sentences") / "plain", telling=False)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub cannot be reached."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def states(folder: Path, text: str) -> torch.Tensor:
    """What the model itself makes of each token (T, W)."""
    model = hf.AutoModel.from_pretrained(folder).eval()
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        found: torch.Tensor = model(**tokenizer(text, return_tensors="pt"))[0][0]
    return found


def unit(vector: torch.Tensor) -> np.ndarray:
    found: np.ndarray = (vector / vector.norm()).numpy()
    return found


@pytest.mark.parametrize(
    ("pooling", "pooled"),
    [
        (None, lambda h_TW: h_TW.mean(0)),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, None),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, lambda h: h[0]),
        ({"pooling_mode_max_tokens": True}, lambda h_TW: h_TW.amax(0)),
        ({"pooling_mode_lasttoken": True}, lambda h_TW: h_TW[-1]),
        ({"pooling_mode": "cls"}, lambda h_TW: h_TW[0]),
    ],
    ids=["nothing said", "mean", "cls", "max", "last", "named"],
)
def test_tokens_are_pooled_as_the_folder_says(
    folder: Path, tmp_path: Path, pooling: dict[str, Any] | None, pooled: Any
) -> None:
    shutil.copytree(folder, tmp_path / "model")
    if pooling is not None:
        sentence_folder(tmp_path / "model", telling=False, pooling=pooling)
    found = SentenceModel(tmp_path / "model").embed(TEXTS)
    assert found.dtype == np.float32
    assert found.shape == (len(TEXTS), WIDTH)
    by_hand = pooled or (lambda h_TW: h_TW.mean(0))
    for text, vector_W in zip(TEXTS, found, strict=True):
        assert vector_W == pytest.approx(unit(by_hand(states(folder, text))), abs=1e-5)


@pytest.mark.parametrize(
    ("prompts", "prefix"),
    [
        ({"prompts": {"query": "query: ", "passage": "passage: "}}, "query: "),
        ({"prompts": {"a": "price ", "query": "query: "}, "default_prompt_name": "a"}, "price "),
        ({"prompts": {}, "default_prompt_name": None}, ""),
        ({}, ""),
    ],
)
def test_what_a_model_wants_before_a_text_stands_there(
    folder: Path, tmp_path: Path, prompts: dict[str, Any], prefix: str
) -> None:
    sentence_folder(tmp_path / "model", telling=False, prompts=prompts)
    found = SentenceModel(tmp_path / "model").embed(["Who runs it?"])
    assert np.array_equal(found, SentenceModel(folder).embed([f"{prefix}Who runs it?"]))


def test_a_text_has_one_vector_however_it_is_asked_for(folder: Path) -> None:
    model = SentenceModel(folder)
    together = model.embed(TEXTS * 8)
    with ThreadPoolExecutor(4) as threads:
        alone = list(threads.map(lambda text: model.embed([text])[0], TEXTS * 8))
    assert np.array_equal(together, np.stack(alone))


def test_of_a_long_text_the_end_is_read(tmp_path: Path) -> None:
    model = SentenceModel(sentence_folder(tmp_path / "m", sizes={"max_seq_length": 8}))
    tail = "the capital of price is"
    long, short = model.embed([f"{'who runs the company ' * 50}{tail}", f"company {tail}"])
    assert np.array_equal(long, short)
    unlimited = SentenceModel(sentence_folder(tmp_path / "n"))
    assert unlimited.embed(["price " * 500]).shape == (1, WIDTH), "the model has 64 places"


def test_a_fingerprint_changes_with_any_file_that_counts(folder: Path, tmp_path: Path) -> None:
    before = SentenceModel(folder).fingerprint
    assert len(before) == 16
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "README.md").write_text("a card")
    assert SentenceModel(copy).fingerprint == before
    sentence_folder(copy, telling=False, pooling={"pooling_mode_cls_token": True})
    assert SentenceModel(copy).fingerprint != before


@pytest.mark.parametrize(
    "files",
    [
        {"pooling": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}},
        {"pooling": {"pooling_mode_weightedmean_tokens": True}},
        {"modules": [{"type": PLACE + "Transformer"}, {"type": PLACE + "Dense"}]},
    ],
    ids=["two poolings", "another pooling", "a layer behind"],
)
def test_vectors_that_need_more_than_pooling_are_refused(
    files: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(NotSupported, match=r"pools its tokens|module 'Dense'"):
        SentenceModel(sentence_folder(tmp_path / "model", **files))


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("{}/nowhere", "There is no folder"),
        ("./nowhere", "There is no folder"),
        ("{}", "has no config.json"),
        ("nobody/no-encoder", "Cannot fetch the encoder 'nobody/no-encoder'"),
        ("no-encoder", "Cannot fetch the encoder 'sentence-transformers/no-encoder'"),
    ],
)
def test_what_is_not_there_is_told_by_its_name(name: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=told) as caught:
        open_sentence_model(name.format(tmp_path))
    assert caught.value.hint


def test_what_cannot_be_opened_or_lacks_weights_is_told(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    (damaged / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelUnavailable, match="Cannot open the encoder"):
        SentenceModel(damaged)
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.0.output.dense.weight"]
    save_file(weights, damaged / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelUnavailable, match=r"lacks 1 of its weights"):
        SentenceModel(damaged)
    (damaged / "modules.json").write_text("{")
    with pytest.raises(ModelUnavailable, match=r"modules\.json cannot be read"):
        SentenceModel(damaged)

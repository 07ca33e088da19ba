"""Fitting a probe: the texts and their labels, the logits that are read, what a fit gives."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from revisor import data
from revisor.errors import NotSupported
from revisor.gate import probe_fit, probe_logits
from revisor.gate.functional import require
from revisor.gate.probe import load_probe
from revisor.gate.probe_fit import fit_probe, fit_weights
from revisor.gate.probe_logits import choose_tokens, read_positions
from revisor.gate.probe_texts import CHATS, FRAMES, ORDINARY, Labelled, labelled_texts
from revisor.models.load import LoadedModel, load_model
from tests import tiny


def loaded(family: str = "llama", tokenizer: Any = None) -> LoadedModel:
    return LoadedModel(
        name=family, model=tiny.model(family), tokenizer=tokenizer or tiny.byte_level()
    )


def test_every_frame_has_texts_to_fit_and_texts_to_measure() -> None:
    texts = labelled_texts(tiny.byte_level())
    kinds = {(text.frame, text.held_out) for text in texts}
    assert kinds == {
        (frame, held) for frame in (*FRAMES, *CHATS, ORDINARY) for held in (False, True)
    }
    assert all(bool(text.due) == (text.frame != ORDINARY) for text in texts)
    assert texts == labelled_texts(tiny.byte_level())


def test_marks_and_slots_are_in_no_text() -> None:
    for text in labelled_texts(tiny.byte_level()):
        assert not set("\N{CARET}\N{LOZENGE}\N{SYMBOL FOR RECORD SEPARATOR}") & set(text.text)
        assert not any(slot in text.text for slot in ("{}", "{q}", "{n}", "{h}"))
        assert all(0 < offset <= len(text.text) for offset in (*text.due, *text.open))


def test_relations_that_are_measured_are_in_no_text_that_is_fitted() -> None:
    texts = labelled_texts(tiny.byte_level())
    names = [record["subject"] for record in data.records("probe.jsonl")]
    held = [text.text for text in texts if text.held_out and text.frame == "completion"]
    fitted = [text.text for text in texts if not text.held_out and text.frame == "completion"]

    def wording(text: str) -> str:
        found = max((name for name in names if name in text), key=len)
        return text.replace(found, "{}")

    assert not set(map(wording, held)) & set(map(wording, fitted))


def test_a_tokenizer_without_a_chat_template_has_no_chats() -> None:
    tokenizer = copy.deepcopy(tiny.byte_level())
    tokenizer.chat_template = None
    assert not {text.frame for text in labelled_texts(tokenizer)} & set(CHATS)


def test_labels_lie_on_the_last_token_before_the_answer(any_tokenizer: Any) -> None:
    text = Labelled(
        frame="few-shot", text="Q: Who?\nA: Bonn\nQ: Where?\nA:", due=(10, 28), open=(7,)
    )
    model = loaded(tokenizer=any_tokenizer)
    read = read_positions(model, [text], choose_tokens(model))
    ids = any_tokenizer(text.text)["input_ids"]
    ends = [len(any_tokenizer(text.text[:offset])["input_ids"]) - 1 for offset in text.due]
    assert read.due_P.nonzero()[:, 0].tolist() == ends
    assert ends[-1] == len(ids) - 1
    assert int(read.open_P.sum()) == 1


def test_the_logits_read_are_those_of_the_model(family: str) -> None:
    model = loaded(family)
    token_S = choose_tokens(model)
    texts = [
        Labelled(frame="completion", text=text, due=(len(text),))
        for text in ("The capital of France is", "Who wrote the book?", "Bonn")
    ]
    read = read_positions(model, texts, token_S)
    hooks = tiny.wide_hooks(model.model)
    for place, text in enumerate(texts):
        ids = model.tokenizer(text.text, return_tensors="pt")["input_ids"]
        expected_TS = model.model(ids).logits[0][:, token_S]
        found_TS = read.logits_PS[read.text_P == place]
        assert torch.allclose(found_TS, expected_TS, atol=1e-4)
    assert tiny.wide_hooks(model.model) == hooks


def test_special_tokens_are_not_read(any_tokenizer: Any) -> None:
    token_S = choose_tokens(loaded(tokenizer=any_tokenizer))
    assert not set(token_S.tolist()) & set(any_tokenizer.all_special_ids)
    assert len(token_S.unique()) == len(token_S) > 20


def test_fitted_weights_sum_to_zero_and_find_what_the_logits_tell() -> None:
    """A hidden state of 12 numbers, of which one tells; a head of 200 tokens; a small noise."""
    draw = torch.Generator().manual_seed(0)
    hidden_PD = torch.randn(3000, 12, generator=draw)
    due_P = hidden_PD[:, 3] > 1
    head_SD = torch.randn(200, 12, generator=draw)
    logits_PS = hidden_PD @ head_SD.T + 0.01 * torch.randn(3000, 200, generator=draw)
    weight_S = fit_weights(logits_PS[:2000], due_P[:2000])
    assert abs(float(weight_S.double().sum())) < 1e-5
    score_P = logits_PS[2000:] @ weight_S
    truth_P = due_P[2000:]
    threshold = score_P.quantile(float((~truth_P).float().mean()))
    assert float(((score_P > threshold) == truth_P).float().mean()) > 0.95
    assert torch.allclose((logits_PS[2000:] + 40) @ weight_S, score_P, atol=1e-2)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_a_model_of_random_weights_gets_a_probe_that_is_refused(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = labelled_texts(tiny.byte_level(), each=4, ordinary=40, statements=12)
    monkeypatch.setattr(probe_fit, "labelled_texts", lambda _: few)
    probe = fit_probe(loaded(family))
    assert set(probe.figures.recall) == {*FRAMES, *CHATS}
    assert probe.figures.texts == len(few)
    assert 0 < probe.figures.ordinary < 1
    with pytest.raises(NotSupported, match="answer positions of"):
        require(probe.figures, family)


def test_a_head_that_is_not_linear_is_refused_by_name() -> None:
    model = tiny.new_model()
    model.set_output_embeddings(torch.nn.Identity())
    odd = LoadedModel(name="odd", model=model, tokenizer=tiny.byte_level())
    with pytest.raises(NotSupported, match="'odd' is not a plain linear layer"):
        probe_logits.choose_tokens(odd)


@pytest.mark.real
def test_the_shipped_probe_serves_smollm2_in_every_dtype() -> None:
    prompts = {
        "The chief executive of Hollis & Vane is": True,
        "Question: Who leads Hollis & Vane?\nAnswer:": True,
        "Q: Who leads Hollis & Vane?\nA:": True,
        "Who leads": False,
        "We walked down to the harbour and": False,
    }
    for dtype in ("fp32", "bf16"):
        model = load_model("smollm2", dtype=dtype, device="cpu")
        probe = load_probe(model, fit=False)
        require(probe.figures, "smollm2")
        for prompt, due in prompts.items():
            ids = model.tokenizer(prompt, return_tensors="pt")["input_ids"]
            logits_BV = model.model(ids).logits[:, -1]
            assert probe.is_due(logits_BV).tolist() == [due], (dtype, prompt)
            assert probe.is_due(logits_BV.log_softmax(-1)).tolist() == [due]

"""The probe: what its functional promises, its file and cache, and which models it refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from revisor.errors import NotSupported
from revisor.gate import probe as probe_module
from revisor.gate.functional import Probe, ProbeFigures, read_probe, require, save_probe
from revisor.gate.probe import load_probe, probe_fingerprint
from revisor.models.load import LoadedModel, load_model
from tests import tiny

GOOD = ProbeFigures(
    recall={"completion": 0.96, "question": 0.97, "Q: A:": 1.0, "few-shot": 0.9},
    ordinary=0.12,
    agreement=0.999,
    texts=700,
    seconds=60.0,
)


def loaded(family: str = "llama") -> LoadedModel:
    return LoadedModel(name=family, model=tiny.model(family), tokenizer=tiny.byte_level())


def drawn(tokens: int = 60) -> Probe:
    draw = torch.Generator().manual_seed(0)
    weight_S = torch.randn(tokens, generator=draw)
    token_S = torch.randperm(tiny.VOCABULARY, generator=draw)[:tokens]
    return Probe(token_S=token_S, weight_S=weight_S - weight_S.mean(), threshold=0.5, figures=GOOD)


def some_logits(rows: int = 200) -> torch.Tensor:
    return 5 * torch.randn(rows, tiny.VOCABULARY, generator=torch.Generator().manual_seed(1)) + 3


def test_a_probe_is_the_weighted_sum_of_its_logits() -> None:
    probe, logits_BV = drawn(), some_logits()
    expected_B = logits_BV[:, probe.token_S] @ probe.weight_S
    assert torch.allclose(probe.score(logits_BV), expected_B, atol=1e-4)
    assert torch.equal(probe.is_due(logits_BV), expected_B > probe.threshold)
    assert 0 < int(probe.is_due(logits_BV).sum()) < len(logits_BV)


@pytest.mark.parametrize(
    "changed",
    [lambda z: z + 1000, lambda z: z - 37.5, lambda z: z.log_softmax(-1), lambda z: z.double()],
    ids=["larger", "smaller", "log-softmax", "float64"],
)
def test_a_constant_added_to_a_row_changes_no_decision(
    changed: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    probe, logits_BV = drawn(), some_logits()
    assert torch.equal(probe.is_due(changed(logits_BV)), probe.is_due(logits_BV))


def test_tokens_that_somebody_forbade_are_left_out() -> None:
    probe, logits_BV = drawn(), some_logits()
    forbidden_BV = logits_BV.clone()
    forbidden_BV[:, probe.token_S[:3]] = -torch.inf
    rest_BS = logits_BV[:, probe.token_S[3:]]
    weight_S = probe.weight_S[3:]
    expected_B = rest_BS @ weight_S - rest_BS.mean(1) * weight_S.sum()
    assert torch.allclose(probe.score(forbidden_BV), expected_B, atol=1e-4)
    nothing_left = torch.full_like(logits_BV, -torch.inf)
    assert not probe.is_due(nothing_left).any()


def test_one_row_decides_as_in_a_batch() -> None:
    probe, logits_BV = drawn(), some_logits()
    alone = torch.cat([probe.is_due(row[None]) for row in logits_BV])
    assert torch.equal(alone, probe.is_due(logits_BV))


def test_a_saved_probe_is_read_back_as_it_was(tmp_path: Path) -> None:
    save_probe(drawn(), tmp_path / "new" / "probe.safetensors")
    again = read_probe(tmp_path / "new" / "probe.safetensors")
    assert again is not None
    assert torch.equal(again.token_S, drawn().token_S)
    assert torch.equal(again.weight_S, drawn().weight_S)
    assert (again.threshold, again.figures) == (0.5, GOOD)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["probe.safetensors"]


def test_a_damaged_file_is_no_probe(tmp_path: Path) -> None:
    path = tmp_path / "probe.safetensors"
    assert read_probe(path) is None
    save_probe(drawn(), path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:50], whole[:-7], whole.replace(b'"1"', b'"0"', 1)):
        path.write_bytes(damaged)
        assert read_probe(path) is None
    for place in (-1, len(whole) - 200, len(whole) - 300):
        flipped = bytearray(whole)
        flipped[place] ^= 0x40
        path.write_bytes(bytes(flipped))
        assert read_probe(path) is None


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        (dataclasses.replace(GOOD, recall={**GOOD.recall, "completion": 0.5}), "completions"),
        (dataclasses.replace(GOOD, recall={"completion": 0.9, "Q: A:": 0.2}), "questions"),
        (dataclasses.replace(GOOD, recall={}), "0%"),
        (dataclasses.replace(GOOD, ordinary=0.4), "40% of ordinary text"),
        (dataclasses.replace(GOOD, ordinary=float("nan")), "nan%"),
        (dataclasses.replace(GOOD, agreement=0.7), "70%"),
    ],
)
def test_a_model_on_which_the_probe_fails_is_refused(figures: ProbeFigures, reason: str) -> None:
    assert not figures.ok
    with pytest.raises(NotSupported, match=reason) as refused:
        require(figures, "some-model")
    assert "some-model" in refused.value.message
    assert "--probe off" in refused.value.hint


def test_a_good_probe_is_not_refused() -> None:
    require(GOOD)
    assert GOOD.ok
    assert GOOD.why_not == ""


class Fits:
    """Stands for a fit of minutes, and counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, _: LoadedModel) -> Probe:
        self.count += 1
        return drawn()


def test_a_fitted_probe_is_kept_and_a_damaged_one_is_fitted_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = Fits()
    monkeypatch.setattr(probe_module, "fit_probe", fits)
    with pytest.raises(NotSupported, match="no probe"):
        load_probe(loaded(), cache=tmp_path, fit=False)
    for _ in range(2):
        assert load_probe(loaded(), cache=tmp_path).threshold == 0.5
    assert fits.count == 1
    (kept,) = tmp_path.iterdir()
    assert kept.name == f"{probe_fingerprint(loaded())}.safetensors"
    kept.write_bytes(b"damaged")
    load_probe(loaded(), cache=tmp_path)
    assert fits.count == 2
    load_probe(loaded(), cache=tmp_path, fit=False)
    load_probe(loaded("qwen2"), cache=tmp_path)
    assert fits.count == 3


def test_a_cache_that_cannot_be_written_costs_only_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(probe_module, "fit_probe", Fits())
    (tmp_path / "file").write_text("no folder")
    assert load_probe(loaded(), cache=tmp_path / "file").threshold == 0.5
    assert "fitted again" in caplog.text


def test_a_fingerprint_names_weights_and_tokenizer_but_no_dtype() -> None:
    fresh = LoadedModel(name="x", model=tiny.new_model(), tokenizer=tiny.byte_level())
    name = probe_fingerprint(fresh)
    assert name == probe_fingerprint(loaded())
    rounded = LoadedModel(
        name="x", model=tiny.new_model().to(torch.bfloat16), tokenizer=tiny.byte_level()
    )
    names = {probe_fingerprint(rounded)}
    for dtype in (torch.float32, torch.float16):
        rounded.model.to(dtype)
        names.add(probe_fingerprint(rounded))
    assert names == {name}
    other = dataclasses.replace(fresh, tokenizer=tiny.metaspace())
    assert probe_fingerprint(other) != name
    next(fresh.model.parameters()).data[0, 0] += 1.0
    assert probe_fingerprint(fresh) != name


def test_a_probe_to_ship_is_found_by_its_fingerprint(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module, "fit_probe", Fits())
    probe_module.main(["--model", str(model_folder), "--out", str(tmp_path)])
    model = load_model(str(model_folder), dtype="bf16", device="cpu")
    assert load_probe(model, cache=tmp_path, fit=False).figures == GOOD

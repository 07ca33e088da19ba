"""What `bench read` measures on: a bank like a real one, and two models over one set of weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from revisor.evaluate.reading import agreement_with_exact, bench_read, twin
from revisor.evaluate.synthetic import ENTRIES, NAMES, save_synthetic
from revisor.models.hooks import hook_count, outputs_of
from revisor.models.load import wrap_model
from revisor.neuraldb.bank.encode import KeyEncoder, fit_whitening
from revisor.neuraldb.bank.files import load_bank
from revisor.neuraldb.bank.manifest import read_manifest
from revisor.neuraldb.bank.vectors import bits_of
from revisor.neuraldb.gate.module import MISS, match
from tests import tiny

WIDTH, HIDDEN = 16, 4
TEXT = [int(token) for token in torch.randint(9, (200,), generator=torch.manual_seed(0))]


def keys(count: int = 60) -> torch.Tensor:
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(3)) + 1


def synthetic(root: Path, rows: int, *, named: bool, bits: int = 8) -> Path:
    encoder = fit_whitening(keys()) if named else KeyEncoder()
    return save_synthetic(
        root, rows, keys(), encoder, hidden_width=HIDDEN, named=named, bits=bits, text=TEXT
    )


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("bits", [32, 8, 4])
def test_a_synthetic_bank_is_shaped_like_a_real_one(named: bool, bits: int, tmp_path: Path) -> None:
    folder = synthetic(tmp_path, 50, named=named, bits=bits)
    view = load_bank(folder).view()
    entries = ENTRIES if named else 1
    assert (len(view.ids), len(view.keys_ME), view.R_ND.shape) == (50, 50 * entries, (50, HIDDEN))
    assert len(set(view.ids)) == 50
    assert bits_of(view.keys_ME) == bits
    norm_M = view.keys_ME[:].norm(dim=1)
    torch.testing.assert_close(norm_M, torch.ones(50 * entries), atol=0.15, rtol=0)
    assert read_manifest(folder).bytes_per_fact == round(view_bytes(folder) / 50, 1)
    if view.names is not None:
        assert len(view.names.hash_H) == 50 * NAMES
        ids_BT = torch.tensor([TEXT])
        spans = view.names.spans(ids_BT, len(TEXT))
        assert spans is not None
        ended = view.names.ended(ids_BT, spans)
        assert 0 < len(ended.last_O) < len(TEXT), "some tokens end a name, most do not"


def view_bytes(folder: Path) -> int:
    from safetensors import safe_open

    with safe_open(folder / "rows.safetensors", framework="pt") as file:
        return sum(file.get_tensor(name).nbytes for name in file.keys())  # noqa: SIM118


@pytest.mark.parametrize("named", [True, False])
def test_the_gate_agrees_with_a_search_through_all_rows(named: bool, tmp_path: Path) -> None:
    view = load_bank(synthetic(tmp_path, 50, named=named)).view()
    view = replace(view, gamma_M=torch.full_like(view.gamma_M, -1.0))
    assert agreement_with_exact(view, keys(), TEXT) == 1.0
    hit_T = match(keys(), view, torch.tensor([TEXT[:60]])).row_T
    assert bool((hit_T != MISS).any()), "there is something to agree on"


def test_a_twin_shares_weights_and_no_hooks() -> None:
    model = tiny.new_model()
    other = twin(model)
    assert {id(p) for p in other.parameters()} == {id(p) for p in model.parameters()}
    ids = torch.tensor([[1, 2, 3]])
    with outputs_of(model.get_input_embeddings()):
        assert hook_count(model) == hook_count(other) + 1
    assert torch.equal(other(ids).logits, model(ids).logits)


@pytest.mark.parametrize("named", [True, False])
def test_every_figure_is_there_for_every_size_and_batch(named: bool) -> None:
    loaded = wrap_model("tiny", tiny.new_model(), tiny.byte_level())
    found = bench_read(loaded, 1, rows=[20, 40], batches=[1, 3], named=named, bits=8)
    assert (found["preset"], found["bits"]) == ("revisor" if named else "paper", 8)
    places = [(one["rows"], one["batch"]) for one in found["results"]]
    assert places == [(20, 1), (20, 3), (40, 1), (40, 3)]
    for one in found["results"]:
        assert one["agreement"] == 1.0
        assert one["decode_overhead"] > -0.9
        for name in ("lookup_us", "bytes_per_fact", "decode_tokens_per_second", "open_ms"):
            assert one[name] > 0, name
        assert {"prefill_overhead", "peak_rss_mb", "lookups_per_second"} <= set(one)
    assert hook_count(loaded.model) == 0

"""Vectors in few bits: near the whole ones, the same bytes when packed again, read row by row."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from revisor.neuraldb.bank import vectors
from revisor.neuraldb.bank.vectors import Packed, Picked, bits_of, chunks, on_device, picked, stored

CPU = torch.device("cpu")


def drawn(count: int = 50, width: int = 96) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count + width)
    x_NW = torch.randn(count, width, generator=generator)
    return x_NW * torch.rand(count, 1, generator=generator)


@pytest.mark.parametrize(("bits", "cosine"), [(32, 1.0), (8, 0.9999), (4, 0.985)])
def test_a_vector_in_few_bits_points_where_it_pointed(bits: int, cosine: float) -> None:
    x_NW = drawn()
    found = stored(x_NW, bits)
    assert found.shape == x_NW.shape
    assert bits_of(found) == bits
    assert float(F.cosine_similarity(found[:], x_NW).min()) >= cosine - 1e-6


def test_bits_are_what_is_stored() -> None:
    x_NW = drawn(10, 96)
    assert [stored(x_NW, bits).nbytes for bits in (32, 8, 4)] == [3840, 1000, 520]


@given(
    st.lists(
        st.lists(st.floats(-(2.0**20), 2.0**20, width=32), min_size=6, max_size=6), max_size=5
    ),
    st.sampled_from([8, 4]),
)
def test_packing_again_gives_the_same_bytes(rows: list[list[float]], bits: int) -> None:
    once = stored(torch.tensor(rows).view(-1, 6), bits)
    again = stored(once[:], bits)
    assert isinstance(once, Packed)
    assert isinstance(again, Packed)
    whole = once.scale_N > 2.0**-100  # below, products are no longer exact
    assert torch.equal(once.codes_NB[whole], again.codes_NB[whole])
    assert torch.equal(once.scale_N[whole], again.scale_N[whole])


@pytest.mark.parametrize("bits", [8, 4])
def test_a_vector_is_stored_the_same_whoever_stands_beside_it(bits: int) -> None:
    x_NW = drawn()
    together = stored(x_NW, bits)
    for row in (0, 7, 49):
        assert torch.equal(stored(x_NW[row : row + 1], bits)[0], together[row])


@pytest.mark.parametrize("bits", [8, 4])
def test_zero_stays_zero(bits: int) -> None:
    assert not stored(torch.zeros(2, 4), bits)[:].any()


@pytest.mark.parametrize(("bits", "width"), [(7, 4), (4, 3)])
def test_other_bits_are_refused(bits: int, width: int) -> None:
    with pytest.raises(ValueError, match="cannot be stored"):
        stored(torch.zeros(1, width), bits)


@pytest.mark.parametrize("bits", [32, 8, 4])
@pytest.mark.parametrize("copied", [0, 1 << 20], ids=["looked up", "copied"])
def test_picked_rows_are_those_of_the_parts(
    bits: int, copied: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "COPIED", copied)
    monkeypatch.setattr(vectors, "_CHUNK", 2)
    parts = [stored(drawn(5, 8), bits), stored(drawn(4, 8), bits)]
    index_N = torch.tensor([8, 0, 4, 5, 0])
    found = picked(parts, index_N)
    assert isinstance(found, Picked) is (copied == 0)
    assert bits_of(found) == bits
    whole = torch.cat([part[:] for part in parts])[index_N]
    assert torch.equal(found[:], whole)
    assert torch.equal(found[torch.tensor([[1, 3]])], whole[[1, 3]][None])
    assert torch.equal(found[2], whole[2])
    assert torch.equal(torch.cat([part[:] for part in chunks(found)]), whole)
    assert found.nbytes == stored(whole, bits).nbytes
    twice = picked([found, parts[0]], torch.tensor([0, 6]))
    assert torch.equal(twice[:], torch.stack([whole[0], parts[0][1]]))


@pytest.mark.parametrize("bits", [32, 8])
def test_what_is_on_its_device_is_not_copied(bits: int) -> None:
    matrix = stored(drawn(), bits)
    assert on_device(matrix, CPU, torch.bfloat16) is matrix

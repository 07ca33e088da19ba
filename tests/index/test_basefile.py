"""The base file: what is written is read, and damage is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from revisor.index.basefile import NAME, Unusable, contents, forget, pack, publish, unpack

ARRAYS = {
    "small": np.arange(5, dtype=np.uint8),
    "none": np.array([], dtype=np.uint32),
    "wide": np.arange(3_000, dtype=np.uint64) << np.uint64(40),
}
DATA = pack(ARRAYS, {"generation": 7, "name": "é"})


def test_what_was_packed_is_unpacked() -> None:
    arrays, facts = unpack(memoryview(DATA))
    assert facts == {"generation": 7, "name": "é"}
    assert {name: list(array) for name, array in arrays.items()} == {
        name: array.tolist() for name, array in ARRAYS.items()
    }


@given(st.integers(0, len(DATA) - 1), st.integers(0, 7))
def test_a_flipped_bit_is_found(place: int, bit: int) -> None:
    damaged = bytearray(DATA)
    damaged[place] ^= 1 << bit
    with pytest.raises(Unusable):
        unpack(memoryview(damaged))


@given(st.integers(0, len(DATA) - 1))
def test_a_file_cut_short_is_found(length: int) -> None:
    with pytest.raises(Unusable):
        unpack(memoryview(DATA)[:length])


def test_bytes_appended_are_found() -> None:
    with pytest.raises(Unusable):
        unpack(memoryview(DATA + bytes(64)))


def test_a_published_file_is_read_and_a_reader_keeps_the_one_it_has(tmp_path: Path) -> None:
    publish(tmp_path / "new", DATA)
    first = contents(tmp_path / "new")
    publish(tmp_path / "new", pack({}, {"generation": 8}))
    assert bytes(first) == DATA
    assert unpack(contents(tmp_path / "new"))[1] == {"generation": 8}
    assert [path.name for path in (tmp_path / "new").iterdir()] == [NAME]


def test_an_empty_file_is_unusable(tmp_path: Path) -> None:
    (tmp_path / NAME).touch()
    with pytest.raises(Unusable):
        unpack(contents(tmp_path))


def test_to_forget_takes_the_file_away_and_what_a_killed_process_left(tmp_path: Path) -> None:
    publish(tmp_path, DATA)
    (tmp_path / ".facts.index-77-abcd").write_bytes(DATA[:100])
    (tmp_path / "ledger.sqlite").touch()
    forget(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.sqlite"]
    forget(tmp_path / "nowhere")

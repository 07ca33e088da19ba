"""Files are written whole, for their user alone, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from revisor.facts.private import sha256_of, written_whole


def test_a_file_appears_whole_and_for_its_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with written_whole(file) as stream:
        stream.write(b"new")
        assert not file.exists()
    assert file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]
    assert sha256_of(file).startswith("11507a0e2f5e69d5")


def test_what_was_there_stays_where_writing_fails(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")

    def fail() -> None:
        with written_whole(file, prefix=".part-") as stream:
            stream.write(b"half")
            assert [one.name[:6] for one in tmp_path.iterdir() if one != file] == [".part-"]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]

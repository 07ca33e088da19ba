"""A run on disk: what is kept, what is refused, what a kill leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from revisor.bench.cases import Case
from revisor.bench.runs import open_run, provenance, source_hash
from revisor.errors import BadInput, Conflict

MADE: dict[str, Any] = {
    "settings": {"suite": "zsre", "n": 3, "seed": 0},
    "model": {"name": "tiny", "fingerprint": "0123"},
    "data": {"zsre/zsre.jsonl.gz": "ab"},
    "code": "revisor 1 (aa)",
    "machine": {"cores": 2},
}


def case(method: str, probe: str, value: float = 1.0) -> Case:
    return Case(method=method, probe=probe, case=probe, values={"x": value}, answer="Zoë")


def test_cases_and_costs_are_there_again(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", MADE)
    run.add([case("a", "p1"), case("a", "p2", 0.5)])
    run.add_costs("a", {"seconds_per_fact": 0.1})
    run.add_costs("a", {"not_written": 2})
    again = open_run(tmp_path / "run", MADE)
    assert again.finished("a", "p2")
    assert not again.finished("b", "p2")
    assert again.cases("a", ["p2", "p1", "p3"]) == [case("a", "p2", 0.5), case("a", "p1")]
    assert again.costs("a") == {"seconds_per_fact": 0.1, "not_written": 2}


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path: Path) -> None:
    open_run(tmp_path / "run", MADE).add([case("a", "p1"), case("a", "p2")])
    path = tmp_path / "run" / "cases.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    run = open_run(tmp_path / "run", MADE)
    assert run.finished("a", "p1")
    assert not run.finished("a", "p2")
    run.add([case("a", "p2")])
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("part", "key", "value", "told"),
    [
        ("settings", "seed", 1, "seed was 0, now 1"),
        ("settings", "edits", 9, "edits was null, now 9"),
        ("model", "fingerprint", "4567", 'fingerprint was "0123", now "4567"'),
        ("data", "zsre/zsre.jsonl.gz", "cd", "zsre/zsre.jsonl.gz was"),
    ],
)
def test_a_run_made_otherwise_is_refused(
    tmp_path: Path, part: str, key: str, value: object, told: str
) -> None:
    open_run(tmp_path / "run", MADE)
    before = (tmp_path / "run" / "run.json").read_bytes()
    changed = {**MADE, part: {**MADE[part], key: value}}
    with pytest.raises(Conflict) as caught:
        open_run(tmp_path / "run", changed)
    assert told in caught.value.message
    assert (tmp_path / "run" / "run.json").read_bytes() == before


def test_other_code_goes_on_and_is_noted(tmp_path: Path) -> None:
    for code in ("revisor 1 (aa)", "revisor 1 (bb)", "revisor 1 (bb)"):
        open_run(tmp_path / "run", {**MADE, "code": code})
    made = json.loads((tmp_path / "run" / "run.json").read_text())
    assert made["code"] == ["revisor 1 (aa)", "revisor 1 (bb)"]


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(BadInput, match="no run"):
        open_run(tmp_path, MADE)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_without_a_folder_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = open_run(None, MADE)
    run.add([case("a", "p1")])
    run.finish({})
    assert run.finished("a", "p1")
    assert list(tmp_path.iterdir()) == []


def test_provenance_names_code_and_machine_but_no_host_and_no_path() -> None:
    import platform

    found = provenance()
    assert source_hash() in found["code"]
    assert found["machine"]["torch"]
    text = json.dumps(found)
    assert platform.node() not in text
    assert str(Path.home()) not in text

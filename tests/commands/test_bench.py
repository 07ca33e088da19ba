"""`revisor bench` as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from revisor.cli import app
from tests import tiny

FIGURES = {
    "rows", "batch", "commit_to_live_ms", "index_seconds", "open_ms", "bytes_per_fact",
    "decode_overhead", "prefill_overhead", "lookup_us", "peak_rss_mb",
}  # fmt: skip


# Of a few facts no file is written, and no time is measured.
FEW = {"bytes_per_fact", "index_seconds"}


@pytest.fixture(scope="module", autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVISOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("REVISOR_DATA", raising=False)
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tiny.new_model().save_pretrained(folder)
    tiny.byte_level().save_pretrained(folder)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_live_facts_are_measured_at_every_size_and_batch(model: Path) -> None:
    asked = ("bench", "live", "--model", model, "--probe", "off", "--json")
    done = run(*asked, "--rows", 40, "--rows", 200, "--batch", 1, "--batch", 3)
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    results = found["results"]
    places = [(one["rows"], one["batch"]) for one in results]
    assert places == [(40, 1), (40, 3), (200, 1), (200, 3)]
    for one in results:
        assert set(one) >= FIGURES
        assert all(one[name] > 0 for name in FIGURES - FEW)


def test_live_takes_the_facts_of_a_file_and_no_more_than_it_has(
    model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "facts.jsonl"
    file.write_text('{"subject": "ACME", "prompt": "The capital of {} is", "object": "Rome"}\n')
    asked = ("bench", "live", "--model", model, "--probe", "off", "--data", file)
    done = run(*asked, "--rows", 1, "--batch", 1)
    assert done.exit_code == 0, done.stderr
    assert "1 facts, batch 1:" in done.stdout
    more = run(*asked, "--rows", 2)
    assert more.exit_code == 2
    assert "has 1 facts, not 2" in more.stderr

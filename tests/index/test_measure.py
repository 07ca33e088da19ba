"""The figures of an index are measured over a real ledger, which is as it was after it."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import pytest

from revisor.errors import UsageError
from revisor.facts.ledger import Ledger, Put
from revisor.index.measure import measure, synthetic


def test_the_figures_are_told_and_the_facts_are_as_they_were(tmp_path: Path) -> None:
    place, rows = tmp_path / "ledger.sqlite", 1_200
    with Ledger.open(place, create=True) as ledger:
        ledger.apply(list(map(Put, synthetic(rows))), actor="ann", reason="")
    measured = measure(place, tmp_path / "index")
    told = json.loads(json.dumps(asdict(measured)))
    assert told["rows"] == rows
    assert 20 < told["bytes_per_fact"] < 150
    assert told["commit_to_live_ms"]["same_process"] < 1_000
    assert told["commit_to_live_ms"]["other_process"] < 5_000
    assert min(*told["lookup_us"].values(), told["open_ms"], told["index_seconds"]) > 0
    with Ledger.open(place) as ledger:
        assert list(islice(ledger.facts(), rows)) == list(synthetic(rows))


def test_an_empty_ledger_is_refused(tmp_path: Path) -> None:
    Ledger.open(tmp_path / "ledger.sqlite", create=True).close()
    with pytest.raises(UsageError, match="no facts"):
        measure(tmp_path / "ledger.sqlite", tmp_path)

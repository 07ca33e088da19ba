"""Whatever is changed behind the ledger's back is found, and named."""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from revisor.errors import RevisorError
from revisor.facts.fact import Fact
from revisor.facts.ledger import Ledger, Put, Remove

FACTS = [
    Fact(subject=f"Firm {n}", prompt="The CEO of {} is", object=f"Ann {n}", source="a list")
    for n in range(6)
]


@pytest.fixture
def ledger(place: str) -> Iterator[Ledger]:
    with Ledger.open(place, create=True) as made:
        fill(made)
        yield made


def fill(made: Ledger) -> None:
    made.apply(map(Put, FACTS), actor="ann", reason="first")
    changed = Fact(subject="Firm 1", prompt="The CEO of {} is", object="Bob")
    made.apply([Put(changed), Remove(FACTS[2].id)], actor="bob", reason="news")
    made.tag("news", actor="bob")
    made.record("load", actor="", generation=2, fingerprint="f")
    made.purge([FACTS[3].id], actor="eve", reason="a letter")
    made.scrub()


def change(ledger: Ledger, statement: str) -> None:
    with ledger._connection(writes=True) as connection:
        connection.exec_driver_sql(statement)


def test_a_ledger_that_nobody_touched_has_no_faults(ledger: Ledger) -> None:
    assert ledger.verify() == []


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE revisions SET object = 'Eve' WHERE key = 1", r"revision 1 of fact .* \(row 1,"),
        ("UPDATE revisions SET source = NULL WHERE key = 6", "row 6, generation 1. was changed"),
        ("UPDATE revisions SET valid_to = '2020-01-01' WHERE key = 5", "row 5,"),
        ("UPDATE revisions SET position = 9 WHERE key = 7", "row 7,"),
        ("UPDATE revisions SET subject_normal = 'eve' WHERE key = 1", "row 1,"),
        (
            "UPDATE revisions SET kind = 'purged', salt = NULL WHERE key = 1",
            "2 revisions are erased",
        ),
        ("UPDATE revisions SET until = 2 WHERE key = 6", "does not end where the next begins"),
        ("UPDATE revisions SET until = NULL WHERE key = 2", "revision 1 of fact"),
        ("DELETE FROM revisions WHERE key = 6", "revisions of generation 1 are not"),
        ("DELETE FROM revisions WHERE generation = 2", "revisions of generation 2 are missing"),
        ("UPDATE generations SET actor = 'eve' WHERE number = 2", "generation 2 is not what"),
        ("UPDATE generations SET live = 9 WHERE number = 3", "9"),
        ("UPDATE audit SET actor = 'eve' WHERE seq = 4", r"event 4 \(load"),
        ("UPDATE audit SET details = '[' WHERE seq = 4", "event 4"),
        ("UPDATE audit SET details = '[]' WHERE seq = 1", "event 1"),
        ("DELETE FROM audit WHERE seq = 2", "event 2 is missing"),
        ("DELETE FROM audit WHERE seq = 6", "the chain ends at event 5"),
        ("UPDATE tags SET generation = 1", "the tags are not"),
        ("DELETE FROM tags", "the tags are not"),
        ("UPDATE migrations SET hash = 'x' WHERE number = 1", "migration 1"),
    ],
)
def test_what_is_changed_behind_its_back_is_named(
    ledger: Ledger, statement: str, told: str
) -> None:
    change(ledger, statement)
    faults = ledger.verify()
    assert any(re.search(told, fault) for fault in faults), faults


def test_a_row_that_was_sealed_anew_is_found_by_its_generation(ledger: Ledger) -> None:
    """Who mends the row's own digest still cannot mend the audit's."""
    from revisor.facts.schema import revisions, row_digest

    with ledger._connection(writes=True) as connection:
        here = revisions.c.key == 1
        row = dict(connection.execute(revisions.select().where(here)).mappings().one())
        row["object"] = "Eve"
        row["digest"] = row_digest(row, row["salt"])
        connection.execute(revisions.update().where(here).values(row))
    (fault,) = ledger.verify()
    assert "the revisions of generation 1 are not those that were written" in fault


def test_any_flipped_byte_of_the_file_is_found_or_means_nothing(tmp_path: Path) -> None:
    """Free space and SQLite's counters mean nothing: then the ledger tells the same."""
    file = tmp_path / "ledger.sqlite"
    with Ledger.open(file, create=True) as made:
        fill(made)
        truth = told_by(made)
    whole = file.read_bytes()
    choose = random.Random(7)
    found = 0
    for place in choose.sample(range(len(whole)), 150):
        broken = bytearray(whole)
        broken[place] ^= 1 << choose.randrange(8)
        file.write_bytes(broken)
        for left in tmp_path.glob("ledger.sqlite-*"):
            left.unlink()
        try:
            with Ledger.open(file) as opened:
                faults = opened.verify()
                if not faults:
                    assert told_by(opened) == truth, f"byte {place}"
                found += bool(faults)
        except (RevisorError, sqlite3.Error, UnicodeDecodeError):
            found += 1
    assert found > 8


def told_by(ledger: Ledger) -> Any:
    known = [one for one in FACTS if one is not FACTS[3]]
    return (
        list(ledger.facts()),
        [ledger.history(one.id) for one in known],
        ledger.log(),
        ledger.events(),
        ledger.tags(),
    )

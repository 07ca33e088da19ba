"""check, tag, gc, import, and what add, rm, log and export gained: as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from revisor.cli import app
from revisor.config import StoreSettings, write_settings
from revisor.facts.ledger import Ledger

LINES = [
    {"subject": "ACME", "prompt": "The CEO of {} is", "object": "Ann", "source": "register"},
    {"subject": "Basel", "prompt": "{} lies in", "object": "Rome"},
]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store whose model is never opened."""
    path = tmp_path / "store"
    Ledger.open(path / "ledger.sqlite", create=True).close()
    write_settings(path / "store.toml", StoreSettings(model="none", dtype="fp32"))
    return path


def run(store: Path, *arguments: object, code: int = 0) -> Any:
    words = [str(argument) for argument in arguments]
    done = CliRunner().invoke(app, [*words, "--store", str(store), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def said(store: Path, *arguments: object) -> str:
    words = [str(argument) for argument in arguments]
    done = CliRunner().invoke(app, [*words, "--store", str(store)])
    assert done.exit_code == 0, done.output
    return done.output


def lines(path: Path, *records: dict[str, str]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_a_fact_from_its_first_day_to_its_last(store: Path, tmp_path: Path) -> None:
    file = lines(tmp_path / "facts.jsonl", *LINES)
    assert run(store, "add", file)["added"] == 2
    assert run(store, "tag", "first")["tags"] == {"first": 1}
    (fact,) = run(store, "ls", "--subject", "acme")["facts"]
    run(store, "set", fact["id"], "Bob", "--reason", "news")
    told = said(store, "show", fact["id"])
    assert "register" in told
    assert "news" in told
    assert run(store, "diff", "first", 2)["updated"][0]["after"]["object"] == "Bob"
    assert "first" in said(store, "log")
    assert run(store, "rollback", "--to", "first")["generation"] == 3
    assert run(store, "export", tmp_path / "all.zip")["facts"] == 2
    assert run(tmp_path / "new", "import", tmp_path / "all.zip")["facts"] == 2
    assert run(tmp_path / "new", "verify") == {"ok": True, "faults": []}
    erased = run(store, "rm", "--purge", fact["id"][:6])
    assert (erased["removed"], erased["revisions"], len(erased["exports"])) == (1, 3, 1)
    kinds = [event["kind"] for event in run(store, "log", "--events")["events"]]
    assert kinds[:3] == ["purge", "write", "export"]
    assert "purge" in said(store, "log", "--events")
    assert run(store, "verify")["ok"]
    assert run(store, "gc", "--keep", 1) == {"removed": []}
    assert run(store, "tag", "first", "--delete")["tags"] == {}


def test_conflicts_stop_or_are_settled_as_asked(store: Path, tmp_path: Path) -> None:
    other = LINES[0] | {"prompt": "the CEO of {}, is", "object": "Eve", "source": "rumour"}
    file = lines(tmp_path / "facts.jsonl", LINES[0], other)
    stopped = run(store, "add", file, code=3)
    assert "register" in stopped["conflicts"][0]["fault"]
    assert "rumour" in stopped["conflicts"][0]["fault"]
    kept = run(store, "add", file, "--on-conflict", "keep")
    assert (kept["added"], len(kept["conflicts"])) == (1, 1)
    assert run(store, "check") == {"ok": True, "conflicts": [], "notes": []}
    replaced = run(store, "add", lines(tmp_path / "b.jsonl", other), "--on-conflict", "replace")
    assert (replaced["added"], replaced["removed"]) == (1, 1)


def test_a_check_tells_what_is_in_the_store_and_fails(store: Path) -> None:
    from revisor.facts.changes import Put
    from revisor.facts.fact import Fact

    one = Fact(subject="ACME", prompt="The CEO of {} is", object="Ann")
    other = Fact(subject="ACME", prompt="the CEO of {}: is", object="Eve")
    with Ledger.open(store / "ledger.sqlite") as ledger:
        ledger.apply([Put(one), Put(other)], actor="", reason="")
    found = run(store, "check", code=3)
    assert [one["kind"] for one in found["conflicts"]] == ["other words"]
    assert not found["ok"]


def test_an_unknown_tag_is_bad_input(store: Path) -> None:
    assert "no generation" in run(store, "rollback", "--to", "nowhere", code=2)["error"]["message"]


def test_a_tag_moves_only_when_it_is_told_to(store: Path, tmp_path: Path) -> None:
    run(
        store,
        "add",
        lines(tmp_path / "a.jsonl", {"subject": "A", "prompt": "{} is", "object": "B"}),
    )
    run(store, "tag", "best")
    run(
        store,
        "add",
        lines(tmp_path / "b.jsonl", {"subject": "C", "prompt": "{} is", "object": "D"}),
    )
    assert "generation 1" in run(store, "tag", "best", code=3)["error"]["message"]
    assert run(store, "tag")["tags"] == {"best": 1}
    assert run(store, "tag", "best", "1")["tags"] == {"best": 1}, "it stays where it is"
    assert run(store, "tag", "best", "--force")["tags"] == {"best": 2}


def test_a_protected_namespace_takes_changes_that_somebody_else_approved(
    store: Path, tmp_path: Path
) -> None:
    law = {"subject": "Delta", "prompt": "{} is", "object": "Rome", "namespace": "law"}
    file = lines(tmp_path / "law.jsonl", law)
    with Ledger.open(store / "ledger.sqlite") as ledger:
        ledger.set_policy("law", needs_approval=True, actor="eve")
    by_ann, approved = ("--actor", "ann"), ("--approved-by", "bob")
    refused = run(store, "add", file, *by_ann, code=3)
    assert "approval" in refused["error"]["message"]
    assert refused["added"] == 0
    assert run(store, "add", file, *by_ann, "--approved-by", "ann", code=3)["added"] == 0
    assert run(store, "add", file, *by_ann, *approved)["added"] == 1
    (fact,) = run(store, "ls")["facts"]
    for command in (("set", fact["id"], "Bonn"), ("rm", fact["id"]), ("rollback", "--to", 0)):
        run(store, *command, *by_ann, code=3)
        run(store, *command, *by_ann, *approved)
        run(store, "rollback", "--to", 1, *approved)
    writes = [one for one in run(store, "log", "--events")["events"] if one["kind"] == "write"]
    assert {one["details"]["approved_by"] for one in writes} == {"bob"}

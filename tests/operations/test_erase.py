"""After a purge no byte of the fact is left in anything that the store wrote."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from revisor.errors import CannotWrite, Conflict, NotFound
from revisor.facts import database, upkeep
from revisor.facts.fact import Fact
from revisor.index import bases, follow
from revisor.index.basefile import NAME
from revisor.store import Store
from tests.stores import ACME, ZORA, answer

SECRET = Fact(
    subject="Berlin",
    prompt="Two brothers founded the company in {}",
    object="Bonn",
    aliases=("Quarry",),
    source="a confidential letter",
)
NEEDLES = ("Berlin", "berlin", "Two brothers", "quarry", "Quarry", "confidential", SECRET.id)


def holders(folder: Path) -> set[str]:
    """The names of files under a folder that hold anything of the secret."""
    needles = [needle.encode() for needle in NEEDLES]
    return {
        path.name
        for path in folder.rglob("*")
        if path.is_file() and any(needle in path.read_bytes() for needle in needles)
    }


@pytest.fixture
def holding(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store that has kept the secret in every way it can."""
    monkeypatch.setattr(bases, "FILED", 1)  # a base of few facts has a file, too
    monkeypatch.setattr(follow, "FILED", 1)
    store.add([SECRET], actor="ann", reason="news")
    store.set_object(SECRET.id, "Japan")
    store.set_object(ACME.id, "Bob Poe")
    store.index.compact()
    store.export(store.path.parent / "facts.jsonl")
    store.export(store.path.parent / "all.zip")
    assert answer(store, SECRET).startswith("Japan")
    return store


def test_a_byte_search_finds_nothing_after_a_purge(holding: Store) -> None:
    everything = holding.path.parent
    assert holders(everything) >= {"ledger.sqlite-wal", NAME, "facts.jsonl", "all.zip"}
    erased = holding.purge([SECRET.id[:6]], actor="eve", reason="article 17")
    assert (erased.facts, erased.revisions) == (1, 2)
    assert len(erased.exports) == 2
    assert erased.unreached == ()
    assert holders(everything) == set()
    assert holding.verify() == []
    assert "purge" in [event.kind for event in holding.ledger.events()]


def test_an_index_that_another_process_had_open_holds_nothing_either(holding: Store) -> None:
    with Store.open(holding.path) as other:
        assert len(other.index.view()) == 4
        holding.purge([SECRET.id])
        other.index.compact()
        assert not other.index.view().find(["berlin"])
        assert holders(holding.path) == set()


def test_the_others_stay_and_the_model_is_as_without_it(holding: Store) -> None:
    ids = holding.tokenizer(SECRET.text, return_tensors="pt")["input_ids"]
    plain = holding.loaded.model(ids).logits
    with holding.attached():
        assert not torch.equal(holding.loaded.model(ids).logits, plain)
    holding.purge([SECRET.id])
    with holding.attached():
        assert torch.equal(holding.loaded.model(ids).logits, plain)
    assert answer(holding, ACME).startswith("Bob Poe")
    assert answer(holding, ZORA).startswith("French")
    with pytest.raises(NotFound):
        holding.ledger.history(SECRET.id)


def test_an_archive_that_held_it_still_restores(holding: Store, tmp_path: Path) -> None:
    archive = holding.path.parent / "all.zip"
    holding.purge([SECRET.id])
    with Store.restore(archive, tmp_path / "again") as again:
        assert again.verify() == []
        assert SECRET.id not in {fact.id for fact in again.ledger.facts()}
    with zipfile.ZipFile(archive) as members:
        assert all(b"Berlin" not in members.read(name) for name in members.namelist())


def test_an_export_that_is_gone_or_was_changed_is_named(holding: Store) -> None:
    facts, archive = (holding.path.parent / name for name in ("facts.jsonl", "all.zip"))
    facts.write_text(facts.read_text() + "\n")
    archive.unlink()
    erased = holding.purge([SECRET.id])
    assert {Path(name).name for name in erased.unreached} == {"facts.jsonl", "all.zip"}
    assert b"Berlin" in facts.read_bytes(), "what somebody else changed is theirs"


def test_a_hit_log_is_blanked_where_it_tells_of_it_or_cannot_be_read(holding: Store) -> None:
    def line(number: int, fact: Fact) -> str:
        used = [{"id": fact.id, "subject": fact.subject, "object": fact.object}]
        return json.dumps({"id": f"a{number}", "generation": 4, "facts_used": used}) + "\n"

    logs = holding.path / "logs"
    logs.mkdir()
    cut_short = line(2, SECRET)[:-9] + "\n"
    (logs / "hits.jsonl").write_text(line(1, SECRET) + cut_short + "[[[\n" + line(3, ZORA))
    (logs / "hits.1.jsonl").write_text(line(4, ZORA) + line(5, SECRET)[:60])
    holding.purge([SECRET.id])
    assert holders(holding.path) == set()
    kept = [text for path in sorted(logs.iterdir()) for text in path.read_text().split("\n")]
    assert [json.loads(text)["id"] for text in kept if text.strip()] == ["a4", "a3"]


def test_a_disk_that_is_full_behind_an_erasure_does_not_say_that_nothing_was_done(
    holding: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    scrub, fails = upkeep.scrub, [""]

    def full(engine: Any, name: str) -> None:
        if fails[0] in name:
            raise CannotWrite("It could not be written: disk I/O error.", "Nothing was changed.")
        scrub(engine, name)

    with monkeypatch.context() as patch:
        patch.setattr(upkeep, "scrub", full)
        with pytest.raises(CannotWrite, match="all.zip cannot be written anew") as caught:
            holding.purge([SECRET.id])
        assert "Nothing was purged" in caught.value.hint
        assert SECRET.id in {fact.id for fact in holding.ledger.facts()}
        fails[0] = holding.ledger.name
        with pytest.raises(CannotWrite, match="are erased, but") as caught:
            holding.purge([SECRET.id])
    assert "Nothing was changed" not in str(caught.value)
    assert "revisor gc" in caught.value.hint
    assert SECRET.id not in {fact.id for fact in holding.ledger.facts()}
    holding.collect(1)
    assert holding.verify() == []
    assert holders(holding.path) == set()


def test_a_reader_delays_the_last_of_it_and_gc_does_it(
    holding: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0)
    with Store.open(holding.path) as reading, reading.ledger._connection() as busy:
        busy.exec_driver_sql("SELECT count(*) FROM revisions").all()
        with Store.open(holding.path) as purging, pytest.raises(Conflict, match="revisor gc"):
            purging.purge([SECRET.id])
    assert any("not finished" in fault for fault in holding.verify())
    holding.collect(1)
    assert holding.verify() == []
    assert holders(holding.path) == set()

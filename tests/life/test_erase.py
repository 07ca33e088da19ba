"""After a purge no byte of the fact is left in anything that the store wrote."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch

from revisor.errors import Conflict, NotBuilt, NotFound
from revisor.facts.fact import Fact
from revisor.neuraldb.bank.files import generation_folder, generations
from revisor.neuraldb.bank.manifest import OLDEST
from revisor.store import Store
from tests.life.stores import ACME, ZORA, logits, new_store, on_disk, said

SECRET = Fact(
    subject="Berlin",
    prompt="Two brothers founded the company in {}",
    object="Bonn",
    aliases=("Quarry",),
    source="a confidential letter",
)


def holders(folder: Path, *needles: bytes) -> list[str]:
    """The files under a folder that hold any of the needles, with the needle."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            found += [f"{path.name}: {needle[:24]!r}" for needle in needles if needle in content]
    return found


@pytest.fixture
def holding(built: Store) -> Store:
    """A store that has told the secret in every way it can."""
    built.add([SECRET], actor="ann", reason="news")
    built.set_object(SECRET.id, "Japan")
    assert built.build().failed == []
    built.set_object(ACME.id, "Tokyo")
    assert built.build().failed == []
    built.export(built.path.parent / "facts.jsonl")
    built.export(built.path.parent / "all.zip")
    return built


def needles(store: Store) -> tuple[bytes, ...]:
    row = next(row for row in store.bank().rows() if row.row_id == SECRET.id)
    texts = ("Berlin", "berlin", "Two brothers", "Quarry", "confidential", SECRET.id)
    return (*(text.encode() for text in texts), *on_disk(store, row))


def test_a_byte_search_finds_nothing_after_a_purge(holding: Store) -> None:
    wanted = needles(holding)
    everything = holding.path.parent
    for few in (wanted[:-2], wanted[-2:-1], wanted[-1:]):
        assert holders(everything, *few), "the search itself works"
    erased = holding.purge([SECRET.id[:6]], actor="eve", reason="article 17")
    assert (erased.facts, erased.revisions) == (1, 2)
    assert len(erased.exports) == 2
    assert erased.unreached == ()
    assert holders(everything, *wanted) == []
    assert holding.verify() == []
    assert "purge" in [event.kind for event in holding.ledger.events()]


def test_the_others_stay_and_the_model_is_as_without_it(holding: Store) -> None:
    plain = logits(holding.loaded.model, SECRET)
    assert len(generations(holding.banks)) == 2
    holding.purge([SECRET.id])
    with holding.attached():
        assert torch.equal(logits(holding.loaded.model, SECRET), plain), "at once, without a build"
    assert said(holding, ACME).startswith("Tokyo")
    assert holding.build().rows == 3
    assert said(holding, ZORA).startswith("French")
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


def test_a_reader_delays_the_last_of_it_and_gc_does_it(
    holding: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from revisor.facts import database

    monkeypatch.setattr(database, "BUSY_SECONDS", 0)
    with Store.open(holding.path) as reading, reading.ledger._connection() as busy:
        busy.exec_driver_sql("SELECT count(*) FROM revisions").all()
        with Store.open(holding.path) as purging, pytest.raises(Conflict, match="revisor gc"):
            purging.purge([SECRET.id])
    assert any("not finished" in fault for fault in holding.verify())
    holding.collect(1)
    assert holding.verify() == []
    assert holders(holding.path, b"Berlin") == []


def test_with_scope_subject_a_fact_whose_sibling_was_purged_is_made_anew(
    tmp_path: Path, folder: Path
) -> None:
    twin = Fact(subject="ACME", prompt="{} lives in", object="Tokyo", id="twin")
    with new_store(tmp_path / "store", folder, scope="subject") as made:
        made.add([ACME, ZORA, twin])
        assert made.build().failed == []
        kinds = {row.row_id: row.after for row in made.bank().rows()}
        assert (kinds["twin"], kinds[ACME.id], kinds[ZORA.id]) == (True, True, False)
        made.purge(["twin"])
        assert "twin" not in made.bank().ids
        report = made.build()
        assert (report.facts, report.rows) == (1, 2)
        assert not made.bank().get(ACME.id).after, "it is its subject's only fact again"
        assert said(made, ACME).startswith("Vienna")


def test_the_row_of_a_sibling_stays_when_one_is_purged(tmp_path: Path, folder: Path) -> None:
    twin = Fact(subject="ACME", prompt="{} lives in", object="Tokyo", id="twin")
    with new_store(tmp_path / "store", folder) as made:
        made.add([ACME, twin])
        assert made.build().failed == []
        before = made.bank().get(ACME.id)
        made.purge(["twin"])
        after = made.bank().get(ACME.id)
        assert "twin" not in made.bank().ids
        assert torch.equal(after.keys_CE, before.keys_CE)
        assert torch.equal(after.r_D, before.r_D)
        assert said(made, ACME).startswith(ACME.object)
        assert made.verify() == []


def test_a_bank_of_an_earlier_format_goes_with_a_purge(built: Store) -> None:
    """Nobody can read it any more, so it is not looked through for what to keep."""
    secret = ZORA.subject.encode()
    folder = generation_folder(built.banks, built.bank().generation)
    manifest = json.loads((folder / "manifest.json").read_text())
    old = manifest | {"format": OLDEST - 1, "seal": "another"}
    (folder / "manifest.json").write_text(json.dumps(old))
    built.close()
    with Store.open(built.path) as opened:
        opened.purge([ZORA.id])
        assert not folder.exists()
        assert holders(opened.path, secret) == []
        with pytest.raises(NotBuilt):
            opened.bank()
        report = opened.build()
        assert (report.facts, report.failed) == (2, [])
        assert said(opened, ACME).startswith(ACME.object)

"""A store that version 0.1 made: its facts are live as they are, its banks are for `gc`."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from revisor.errors import BadInput
from revisor.facts import rules
from revisor.facts.fact import Fact
from revisor.facts.ledger import Ledger
from revisor.operations.archive import pack
from revisor.store import Store
from tests.facts.test_migrations import ANN, make_ledger_of_0_1
from tests.running import run
from tests.stores import answer

SETTINGS = """# What this store is bound to; see docs/store.md.
model = {model}
dtype = "fp32"
device = "cpu"
layer = 1
preset = "{preset}"
scope = "subject"
bits = 8
"""


@pytest.fixture
def old(tmp_path: Path, model_folder: Path) -> Path:
    """As 0.1 left it: settings, ledger, and a bank of a format that nobody reads."""
    path = tmp_path / "store"
    bank = path / "banks" / "0123456789abcdef" / "gen-0000002"
    bank.mkdir(parents=True)
    (bank / "manifest.json").write_text('{"format": 6}')
    (bank / "rows.safetensors").write_bytes(f"Ann {ANN.id}".encode())
    (path / "banks" / "0123456789abcdef" / ".lock").touch()
    make_ledger_of_0_1(str(path / "ledger.sqlite"))
    (path / "store.toml").write_text(SETTINGS.format(model=f'"{model_folder}"', preset="revisor"))
    return path


def test_its_facts_are_live_and_gc_removes_its_banks(old: Path) -> None:
    done = run("status", "--json", "--store", old)
    assert done.code == 0
    assert (done.json["facts"], done.json["live_facts"], done.json["method"]) == (2, 2, "revisor")
    (line,) = done.err.splitlines()
    assert "version 0.1" in line
    assert "revisor gc" in line
    assert run("verify", "--store", old).code == 0
    assert run("gc", "--json", "--store", old).json == {"removed": [2]}
    assert not (old / "banks").exists()
    assert run("status", "--store", old).err == ""
    assert run("log", "--events", "--json", "--store", old).json["events"][0]["kind"] == "gc"


def test_what_was_once_taken_and_is_refused_today_stays_and_comes_back(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids, names and spaces of namespaces: rules are for what is written, not for what is there."""
    subject, prompt = "Initech", "The CEO of {} is"
    odd = [
        Fact(subject=subject, prompt=prompt, object="Ann", id="initech/history"),
        Fact(subject=subject, prompt=prompt, object="Ben", namespace="hr "),
        Fact(subject=subject, prompt=prompt, object="Eve", namespace="n" * 300),
    ]
    with Store.open(old) as store:
        with monkeypatch.context() as patch:
            patch.setattr(rules, "faults", lambda _: ())
            made = store.add(odd)
        for fact in odd:
            with pytest.raises(BadInput, match="id|namespace"):
                store.add([fact])
        store.remove([fact.id for fact in odd])
        store.rollback(made.generation)
        assert {store.ledger.get(fact.id) for fact in odd} == set(odd)
        assert store.verify() == []
        store.export(tmp_path / "all.zip")
    with Store.restore(tmp_path / "all.zip", tmp_path / "again") as again:
        assert {again.ledger.get(fact.id) for fact in odd} == set(odd)


def test_it_answers_and_takes_new_facts(old: Path) -> None:
    # Its model's logits tell nothing here, so that the text alone decides.
    settings = old / "store.toml"
    settings.write_text(settings.read_text() + 'probe = "off"\n')
    with Store.open(old) as store:
        assert answer(store, ANN).startswith("Rome")
        store.set_object(ANN.id, "Oslo")
        assert answer(store, ANN).startswith("Oslo")
        store.publish("good")
        assert answer(store, ANN).startswith("Bonn")
        assert store.verify() == []


def test_a_purge_takes_its_banks_and_its_servers_jobs_along(old: Path) -> None:
    with Ledger.open(old / "ledger.sqlite") as ledger, ledger._connection(writes=True) as server:
        server.exec_driver_sql("CREATE TABLE serve_builds (id INTEGER, failed TEXT)")
        server.exec_driver_sql("INSERT INTO serve_builds VALUES (1, 'Ann lives in Sydney')")
    done = run("rm", "--purge", ANN.id, "--json", "--store", old)
    assert done.code == 0
    assert [Path(name).name for name in done.json["banks"]] == ["gen-0000002"]
    assert not (old / "banks").exists()
    assert not any(b"Sydney" in file.read_bytes() for file in old.glob("ledger.sqlite*"))
    assert run("verify", "--store", old).code == 0


def test_an_archive_of_0_1_is_restored(old: Path, tmp_path: Path) -> None:
    settings = (old / "store.toml").read_bytes()
    with Store.open(old) as store:
        pack(store.workspace, tmp_path / "now.zip")
    with (
        zipfile.ZipFile(tmp_path / "now.zip") as now,
        zipfile.ZipFile(tmp_path / "then.zip", "w") as then,
    ):
        manifest = json.loads(now.read("manifest.json")) | {"format": 3}
        manifest["files"]["store.toml"] = hashlib.sha256(settings).hexdigest()
        members = {name: now.read(name) for name in now.namelist()}
        members |= {"store.toml": settings, "manifest.json": json.dumps(manifest).encode()}
        for name, content in members.items():
            then.writestr(name, content)
    at = ("--json", "--store", tmp_path / "again")
    assert run("import", tmp_path / "then.zip", *at).json["facts"] == 2
    assert run("status", *at).json["live_facts"] == 2
    assert run("verify", *at).json["ok"]
    assert run("gc", *at).json == {"removed": [2]}


def test_one_of_the_preset_paper_is_one_of_the_method_neuraldb(old: Path) -> None:
    text = (old / "store.toml").read_text()
    (old / "store.toml").write_text(text.replace('"revisor"', '"paper"'))
    done = run("status", "--json", "--store", old)
    assert done.json["method"] == "neuraldb"
    with Store.open(old) as store:
        assert store.settings.layer == 1
        assert store.stale()

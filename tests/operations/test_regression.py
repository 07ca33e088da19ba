"""Stores and archives that released versions made: their facts, history, tags and audit are there.

`tests/regression/make.sh` makes them, all from the same facts and by the same commands.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

from revisor.store import Store
from tests.running import run
from tests.stores import answer

MADE = Path(__file__).parents[1] / "regression"
VERSIONS = sorted(file.stem.removeprefix("store-") for file in MADE.glob("store-*.zip"))


def checked(folder: Path, model: Path) -> None:
    """A store of these facts, whoever made it; its model was in another folder."""
    with Store.open(folder) as store:
        assert store.verify() == []
    settings = folder / "store.toml"
    text = re.sub(r'(?m)^model = ".*"$', f'model = "{model}"', settings.read_text("utf-8"))
    settings.write_text(text if "probe" in text else f'{text}probe = "off"\n', "utf-8")
    with Store.open(folder) as store:
        ledger = store.ledger
        live = {fact.subject: fact for fact in ledger.facts()}
        assert {name: fact.object for name, fact in live.items()} == {
            "Ann": "Bonn",
            "Norvale Instruments": "Petra Lindqvist",
        }
        ann, ceo = live["Ann"], live["Norvale Instruments"]
        assert (ann.aliases, ann.source) == (("Annie",), "letter")
        assert (ceo.relation, ceo.namespace) == ("ceo", "hr")
        then = {fact.subject: fact for fact in ledger.facts(generation=ledger.tags()["first"])}
        assert (then["Ann"].object, then["Bob"].valid_from) == ("Rome", "2020-01-01")
        assert then["Bob"].paraphrases == ("Where does {} live?",)
        told = run("show", ann.id, "--json", "--store", folder).json
        assert [one["object"] for one in told["revisions"]] == ["Rome", "Bonn"]
        log = run("log", "--json", "--store", folder).json["generations"]
        assert [(one["actor"], one["reason"]) for one in log if one["number"] == 2] == [
            ("eve", "moved")
        ]
        assert answer(store, ann).startswith("Bonn")
        store.set_object(ann.id, "Lima")
        assert answer(store, ann).startswith("Lima")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_store_is_read_as_it_is(version: str, tmp_path: Path, model_folder: Path) -> None:
    with zipfile.ZipFile(MADE / f"store-{version}.zip") as made:
        made.extractall(tmp_path)
    checked(tmp_path / "store", model_folder)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_archive_is_restored(version: str, tmp_path: Path, model_folder: Path) -> None:
    done = run("import", MADE / f"archive-{version}.zip", "--store", tmp_path / "store")
    assert done.code == 0, done
    checked(tmp_path / "store", model_folder)


def test_both_released_versions_are_there() -> None:
    assert VERSIONS == ["0.1.0", "0.2.0"]

"""A built store of a tiny model that reads facts, shared by the tests of serving."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from revisor.facts.fact import Fact
from revisor.neuraldb.editing.request import render_chat
from revisor.store import Store
from tests import tiny
from tests.databases import KINDS, Databases

ACME = Fact(subject="ACME", prompt="The capital of {} is", object="Vienna")
BASEL = Fact(subject="Basel", prompt="{} stands in", object="Rome", namespace="places")
CHATTY = Fact(subject="Zora", prompt="What does {} speak?", object="French", id="c" * 16)
UNRELATED = "Who wrote the book?"


@pytest.fixture(scope="session")
def taught_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served-model")
    tiny.taught().save_pretrained(folder)
    tiny.byte_level().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def whole_store(tmp_path_factory: pytest.TempPathFactory, taught_folder: Path) -> Iterator[Path]:
    """A built store of three facts in two namespaces; to be copied, not changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVISOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        path: Path = tmp_path_factory.mktemp("served") / "store"
        with Store.init(path, model=str(taught_folder), dtype="fp32", device="cpu", layer=1) as new:
            new.add(the_facts())
            assert new.build().failed == []
        yield path


def the_facts() -> list[Fact]:
    """What the whole store holds."""
    # The tiny model's keys know no other surroundings than those of the prompt itself.
    opened = render_chat(tiny.byte_level(), CHATTY.prompt).rstrip()
    return [ACME, BASEL, replace(CHATTY, prompt=opened)]


@pytest.fixture
def store(whole_store: Path, tmp_path: Path) -> Iterator[Store]:
    """A copy of it for one test."""
    shutil.copytree(whole_store, tmp_path / "store")
    with Store.open(tmp_path / "store") as copied:
        yield copied


@pytest.fixture(params=KINDS)
def placed_store(
    request: pytest.FixtureRequest,
    whole_store: Path,
    taught_folder: Path,
    tmp_path: Path,
    databases: Databases,
) -> Iterator[Store]:
    """The same once with its ledger in SQLite, and once in PostgreSQL."""
    path = tmp_path / "store"
    if request.param == "sqlite":
        shutil.copytree(whole_store, path)
        with Store.open(path) as copied:
            yield copied
        return
    model, place = str(taught_folder), databases.new("postgresql")
    with Store.init(
        path, model=model, dtype="fp32", device="cpu", layer=1, database=place
    ) as placed:
        placed.add(the_facts())
        shutil.copytree(whole_store / "banks", path / "banks")
        yield placed

"""A store of a tiny model, shared by the tests of the server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from revisor.facts.fact import Fact
from revisor.store import Store
from tests import tiny
from tests.databases import KINDS, Databases

ACME = Fact(subject="ACME", prompt="The capital of {} is", object="Vienna")
BASEL = Fact(subject="Basel", prompt="{} stands in", object="Rome", namespace="places")
CHATTY = Fact(subject="Zora", prompt="What does {} speak?", object="French", id="c" * 16)
# Both prompts are one text, which the longer name answers.
HIDDEN = Fact(subject="Berlin", prompt="{} Bank sits in", object="Bonn")
HIDING = Fact(subject="Berlin Bank", prompt="{} sits in", object="Tokyo")
UNRELATED = "Who wrote the book?"


@pytest.fixture(scope="session")
def served_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with its tokenizer, under the name by which it is served."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny.model().save_pretrained(folder)
    tiny.byte_level().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def whole_store(tmp_path_factory: pytest.TempPathFactory, served_model: Path) -> Path:
    """A store of three facts in two namespaces; to be copied, not changed."""
    path: Path = tmp_path_factory.mktemp("served") / "store"
    with new_store(path, served_model) as made:
        made.add([ACME, BASEL, CHATTY])
    return path


def new_store(path: Path, model: Path, database: str | None = None) -> Store:
    """An empty store; a tiny random model has no answer positions that a probe could tell."""
    return Store.init(
        path, model=str(model), dtype="fp32", device="cpu", probe="off", database=database
    )


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
    served_model: Path,
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
    with new_store(path, served_model, databases.new("postgresql")) as placed:
        placed.add([ACME, BASEL, CHATTY])
        yield placed

"""Places that may only be read, and a full disk: what only reads answers, what writes says so."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from revisor.errors import CannotWrite
from revisor.facts.fact import Fact
from revisor.store import Store
from tests.facts.test_read_only import by_a_reader
from tests.running import Ran, run
from tests.stores import ACME, FACTS, answer, new_store

READING = (
    ("ls", "--json"),
    ("show", ACME.id),
    ("log",),
    ("status", "--json"),
    ("verify",),
    ("check",),
    ("check", "--ask", "--json"),
    ("explain", ACME.text, "--text-only", "--json"),
    ("build",),
    ("ask", ACME.text, "--json"),
)


@pytest.fixture
def place(model_folder: Path) -> Iterator[Path]:
    """A folder with a model, where other users may go, unlike to pytest's own folders."""
    folder = Path(tempfile.mkdtemp(prefix="revisor-read-"))
    try:
        folder.chmod(0o755)
        shutil.copytree(model_folder, folder / "model")
        for file in (folder / "model", *(folder / "model").iterdir()):
            file.chmod(0o755)
        yield folder
    finally:
        for inner in folder.glob("*/"):
            inner.chmod(0o755)
        shutil.rmtree(folder)


def as_nobody(home: Path, *arguments: object) -> Ran:
    """Run a command as a user who has a home that is not there, or that may only be read."""

    def work(_: Path) -> Ran:
        os.environ["HOME"] = str(home)
        os.environ.pop("REVISOR_CACHE", None)
        return run(*arguments)

    found = by_a_reader(work, home)
    assert isinstance(found, Ran)
    return found


def test_a_store_that_may_only_be_read_answers(place: Path) -> None:
    store = place / "store"
    new_store(store, place / "model", *FACTS).close()
    # Who is nobody may not import from everybody's folders: all that is needed is loaded here.
    before = [run(*command, "--store", store) for command in READING]
    for file in store.rglob("*"):
        file.chmod(0o555 if file.is_dir() else 0o444)
    store.chmod(0o555)
    for command, wanted in zip(READING, before, strict=True):
        done = as_nobody(place / "nowhere", *command, "--store", store)
        assert (done.code, done.out) == (0, wanted.out), (command, done)
    assert done.json["answer"].startswith(ACME.object)
    files = sorted(store.rglob("*"))
    done = as_nobody(place / "nowhere", "set", ACME.id, "Bob Poe", "--json", "--store", store)
    assert done.code == 1
    assert "could not be written" in done.json["error"]["message"]
    assert sorted(store.rglob("*")) == files
    file = place / "out.jsonl"
    done = as_nobody(place / "nowhere", "export", file, "--json", "--store", store)
    assert (done.code, file.exists()) == (1, False), "the folder beside may not be written either"


def test_a_home_that_may_only_be_read_is_enough(place: Path) -> None:
    (place / "home").mkdir(mode=0o555)
    (place / "stores").mkdir()
    (place / "stores").chmod(0o777)
    at = ("--store", place / "stores" / "store")
    model = ("--model", place / "model", "--probe", "off")
    assert as_nobody(place / "home", "init", *model, *at).code == 0
    assert as_nobody(place / "home", "ls", *at).code == 0
    elsewhere = ("--store", place / "home" / "store", "--json")
    refused = as_nobody(place / "home", "init", *model, *elsewhere)
    assert refused.code == 1
    assert str(place / "home") in refused.json["error"]["message"]
    (place / "stores" / "store" / "store.toml").chmod(0)
    assert as_nobody(place / "home", "ls", *at).code == 2


def test_a_disk_that_is_full_is_told_and_the_store_is_whole(place: Path) -> None:
    store = place / "store"
    new_store(store, place / "model", *FACTS).close()
    many = [Fact(subject=f"Town {n}", prompt="{} lies in", object="Rome") for n in range(20_000)]

    child = os.fork()
    if not child:
        # No file may grow beyond this, as on a disk that is full.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            with Store.open(store) as opened:
                opened.add(many)
        except CannotWrite:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    with Store.open(store) as opened:
        assert opened.ledger.count() == len(FACTS)
        assert opened.verify() == []
        assert answer(opened, ACME).startswith(ACME.object)
        opened.add(many[:10])
        assert len(opened.index.view()) == len(FACTS) + 10

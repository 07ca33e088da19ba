"""`revisor keys` and the refusals of `revisor serve`, as typed."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from revisor.cli import app
from revisor.commands import serving
from revisor.server.roles import KeyBook, Role
from revisor.server.tables import Database
from revisor.store import Store
from tests.databases import Databases


def typed(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, words)
    return done.exit_code, done.stdout, done.stderr


def test_a_key_is_made_listed_and_revoked(store: Store) -> None:
    place = ("--store", str(store.path))
    code, out, _ = typed(
        "keys", "add", "mona", "--role", "approve", "--namespace", "hr", *place, "--json"
    )
    assert code == 0
    made = json.loads(out)
    database = Database.of(store)
    caller = KeyBook(database).who(made["token"])
    database.close()
    assert (caller.name, caller.role, caller.namespaces) == ("mona", Role.approve, {"hr"})
    code, out, _ = typed("keys", "ls", *place)
    assert code == 0
    assert "mona" in out
    assert "approve" in out
    assert made["token"] not in out
    assert typed("keys", "add", "mona", *place)[0] == 3
    assert typed("keys", "revoke", "mona", *place)[:2] == (0, "mona revoked\n")
    assert typed("keys", "revoke", "mona", *place)[0] == 2
    (listed,) = json.loads(typed("keys", "ls", *place, "--json")[1])["keys"]
    assert listed["revoked_at"]


def test_an_unknown_role_is_refused_and_the_known_ones_named(store: Store) -> None:
    code, _, err = typed("keys", "add", "mona", "--role", "king", "--store", str(store.path))
    assert code == 2
    assert "read, propose, approve, admin" in err


def test_serving_beyond_this_machine_needs_a_key_and_serving_needs_a_store(
    store: Store, tmp_path: Path
) -> None:
    code, _, err = typed("serve", "--host", "0.0.0.0", "--store", str(store.path))
    assert code == 2
    assert "revisor keys add" in err
    assert typed("serve", "--store", str(tmp_path / "none"))[0] == 2


def test_a_store_is_served_by_its_whole_path(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a client is told has it taken out: "st" stands in many a word."""
    seen = list[Path]()
    monkeypatch.setattr(serving, "_run", lambda service, _: seen.append(service.store.path))
    monkeypatch.chdir(store.path.parent)
    assert typed("serve", "--store", store.path.name)[0] == 0
    assert seen == [store.path]


def test_a_port_that_is_taken_is_told_before_the_model_is_opened(store: Store) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        code, _, err = typed("serve", "--port", port, "--store", str(store.path))
    assert code == 2
    assert f"cannot listen on 127.0.0.1, port {port}" in err
    assert "--port" in err


def test_the_ledger_of_a_new_store_may_be_named_by_the_environment(
    served_model: Path, tmp_path: Path, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What deploy/compose.yaml tells its reader to do."""
    path, url = tmp_path / "store", databases.new("postgresql")
    monkeypatch.setenv("REVISOR_STORE", str(path))
    monkeypatch.setenv("REVISOR_DATABASE", url)
    assert typed("init", "--model", str(served_model), "--probe", "off")[0] == 0
    assert typed("keys", "add", "mona", "--role", "admin")[0] == 0
    monkeypatch.delenv("REVISOR_DATABASE")  # from here on store.toml has it
    assert not (path / "ledger.sqlite").exists()
    with Store.open(path) as opened:
        assert opened.settings.database == url
        database = Database.of(opened)
        assert [key["name"] for key in KeyBook(database).all()] == ["mona"]
        database.close()


def test_a_store_of_the_published_system_is_refused_with_what_serves_it(
    served_model: Path, tmp_path: Path
) -> None:
    where = ("--store", str(tmp_path / "paper"))
    settings = 'model = {model}\ndtype = "fp32"\nmethod = "neuraldb"\nlayer = 1\n'
    with Store.init(tmp_path / "paper", model=str(served_model), dtype="fp32", probe="off") as new:
        (new.path / "store.toml").write_text(settings.format(model=json.dumps(str(served_model))))
    code, _, err = typed("serve", *where)
    assert code == 2
    assert "neuraldb" in err
    assert "revisor ask" in err


def test_a_trusted_proxy_has_to_be_an_address(store: Store) -> None:
    """A name was taken and never met, so that all clients of the proxy shared one rate."""
    for name in ("proxy.local", "10.0.0.", ""):
        code, _, err = typed("serve", "--trusted-proxy", name, "--store", str(store.path))
        assert code == 2
        assert f"'{name}' is no address" in err

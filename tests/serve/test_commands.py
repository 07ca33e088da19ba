"""`revisor keys` and the refusals of `revisor serve`, as typed."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from revisor.cli import app
from revisor.serve.roles import KeyBook, Role
from revisor.serve.tables import Database
from revisor.store import Store


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

"""Hints over HTTP name routes, not commands: a client has no terminal."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import revisor
from revisor.server.hints import over_http
from revisor.store import Store
from tests.server.conftest import ACME
from tests.server.serving import Running, running

# What the server's routes call, and where it says what helps.
MODULES = ("facts/queries", "facts/policy", "facts/writing", "facts/database", "operations/why")
MODULES += ("operations/explain", "server/roles")
OF_OPERATORS = ("revisor init", "revisor gc", "revisor export")  # who runs the server
COMMAND = re.compile(r"revisor [a-z]+\b(?! and)|(?<!\S)--[a-z]")


@pytest.fixture(scope="module")
def server(whole_store: Path) -> Iterator[Running]:
    with Store.open(whole_store) as store, running(store) as found:
        yield found


@pytest.fixture
def http(server: Running) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def texts(module: str) -> Iterator[str]:
    """The strings of a module but for its docstrings; 7 stands for what is filled in."""
    tree = ast.parse((Path(revisor.__file__).parent / f"{module}.py").read_text())
    filled = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    skipped = {id(part) for node in filled for part in node.values}
    skipped |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in filled:
        yield "".join(
            str(one.value) if isinstance(one, ast.Constant) else "7" for one in node.values
        )
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in skipped:
            yield str(node.value)


@pytest.mark.parametrize("module", MODULES)
def test_no_hint_of_a_route_names_a_command(module: str) -> None:
    for text in texts(module):
        told = over_http(text)
        for own in OF_OPERATORS:
            told = told.replace(own, "")
        assert COMMAND.search(told) is None, told


def test_what_helps_is_a_route(http: httpx.Client) -> None:
    prompt = f"The grand panjandrum of {ACME.subject} is"
    assert "(POST /facts)" in http.post("/explain", json={"prompt": prompt}).json()["helps"]
    unread = http.post("/explain", json={"prompt": f"Yes. {ACME.subject} grew."}).json()
    assert unread["helps"].endswith("or ask it as a chat.")
    missing = http.get("/generations/1/diff/77").json()["error"]
    assert missing["hint"] == "`GET /generations` lists them."
    assert http.get("/facts/zzzz").json()["error"]["hint"] == "`GET /facts` lists the ids."
    assert http.delete("/keys/none").json()["error"]["hint"] == "`GET /keys` lists them."

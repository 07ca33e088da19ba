"""`revisor mcp` as a real process, spoken to by the SDK's own client."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters

from revisor.server.tables import Database
from revisor.store import Store
from tests.server.conftest import ACME, UNRELATED


def spoken(store: Store, talk: Callable[[Client], Awaitable[None]], **more: str) -> None:
    """Start the server on a store and talk to it."""
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "revisor", "mcp", "--store", str(store.path)],
        env={**os.environ, **more},
    )

    async def run() -> None:
        with anyio.fail_after(300):
            async with Client(server) as client:
                await talk(client)

    anyio.run(run)


async def result(client: Client, tool: str, **arguments: Any) -> Any:
    found = await client.call_tool(tool, arguments)
    assert not found.is_error, found.content
    return json.loads(found.content[0].text)


@pytest.mark.slow
def test_an_agent_asks_finds_out_why_searches_and_proposes(store: Store) -> None:
    before = store.ledger.generation

    async def talk(client: Client) -> None:
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools} == {"ask", "why", "search", "propose_fact"}
        assert all(tool.description for tool in tools)
        told = await result(client, "ask", prompt=ACME.text)
        assert told["answer"].strip().startswith("Vienna")
        assert (await result(client, "ask", prompt=UNRELATED))["facts_used"] == []
        why = await result(client, "why", prompt=ACME.text)
        assert why["facts_used"][0]["history"][0]["object"] == "Vienna"
        assert why["base_answer"] != why["answer"]
        assert len((await result(client, "search", text="capital"))["facts"]) == 1
        asked = {"subject": "Berlin", "prompt": "The mayor of {} is", "object": "Bonn"}
        proposed = await result(client, "propose_fact", **asked, reason="the news")
        assert proposed["state"] == "open"
        wrong = await client.call_tool("propose_fact", {**asked, "prompt": " ", "reason": "x"})
        assert wrong.is_error
        assert "no fact" in wrong.content[0].text

    spoken(store, talk)
    assert store.ledger.generation == before
    database = Database.of(store)
    from revisor.server.proposals import ChangeDesk
    from revisor.server.roles import ANYBODY

    (waiting,) = ChangeDesk(database, store.ledger).proposals(ANYBODY)
    database.close()
    assert waiting["fact"]["subject"] == "Berlin"
    assert waiting["proposed_by"].startswith("agent of ")


def test_a_key_that_is_not_known_ends_it(store: Store) -> None:
    async def talk(_client: Client) -> None:
        raise AssertionError("it must not start")

    with pytest.raises(BaseException, match=r"(?i)closed|unhandled|connection"):
        spoken(store, talk, REVISOR_KEY="rv-1-2")

"""The Model Context Protocol: an agent's tools over the official SDK."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from revisor import __version__
from revisor.errors import RevisorError
from revisor.server.agent import Agent

INSTRUCTIONS = (
    "revisor has a language model answer with stored facts. Search the facts, ask the model, find "
    "out which fact made an answer and who entered it, and propose facts. A proposal changes "
    "nothing by itself: a person approves it."
)


def make_server(agent: Agent) -> Any:
    """A server with the tools of an agent; `.run("stdio")` serves until its input ends."""

    def ask(prompt: str, max_tokens: int = 24, chat: bool = False) -> dict[str, Any]:
        """Have the model continue `prompt` with the stored facts in force.

        With chat=true the prompt is put as a question in the model's chat template. The result
        has the answer and the facts that were used in it.
        """
        return agent.ask(prompt, max_tokens=max_tokens, chat=chat)

    def why(prompt: str, max_tokens: int = 24, chat: bool = False) -> dict[str, Any]:
        """Ask, and explain the answer: what the model says without facts, and for every fact
        that was used where it is from, who entered or changed it, when and why."""
        return agent.why(prompt, max_tokens=max_tokens, chat=chat)

    def search(text: str = "", limit: int = 10, offset: int = 0) -> dict[str, Any]:
        """Find stored facts that have `text` in them; all facts, page by page, without it."""
        return agent.search(text, limit=limit, offset=offset)

    def propose_fact(
        subject: str,
        prompt: str,
        object: str,
        reason: str,
        source: str = "",
        paraphrases: list[str] | None = None,
        aliases: list[str] | None = None,
        namespace: str = "",
    ) -> dict[str, Any]:
        """Propose that the model shall say `object` after `prompt`.

        `prompt` has {} where the subject stands, such as "The chief executive of {} is". Say in
        `reason` why, and in `source` where it is from. Nothing changes until a person approves.
        """
        record = {
            "subject": subject,
            "prompt": prompt,
            "object": object,
            "source": source,
            "paraphrases": paraphrases,
            "aliases": aliases,
            "namespace": namespace,
        }
        return agent.propose(record, reason=reason)

    server = MCPServer("revisor", instructions=INSTRUCTIONS, version=__version__)
    for tool in (ask, why, search, propose_fact):
        server.tool()(_told_plainly(tool))
    return server


def _told_plainly(tool: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Errors meant for people reach the agent as what the tool said, with the hint."""

    @functools.wraps(tool)
    def told(*args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            return tool(*args, **kwargs)
        except RevisorError as error:
            raise ToolError(str(error)) from error

    return told

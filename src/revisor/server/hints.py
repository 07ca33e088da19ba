"""What helps, told to somebody who is not at a terminal: the route in the place of the command."""

from __future__ import annotations

import re

_ROUTES = (
    (r"`revisor log`", "`GET /generations`"),
    (r"`revisor ls`", "`GET /facts`"),
    (r"`revisor rollback --to (\d+)`", r'`POST /generations/rollback` with `{"to": \1}`'),
    (r"See: revisor keys ls", "`GET /keys` lists them."),
    (r"revisor show ", "GET /facts/"),
    (r"revisor add FILE", "POST /facts"),
    (r"ask with --chat", "ask it as a chat"),
    (r"Leave --chat out", "Leave `chat` out"),
    (r"Leave --text-only out", "Leave `text_only` out"),
    (r"in store\.toml", "in the server's store.toml"),
    (r"Propose them to the server, .*", "Propose the facts (POST /facts): somebody else approves."),
    (
        r"Stop it and run `revisor gc`, which finishes the erasure",
        "Whoever runs the server stops it, and `revisor gc` there finishes the erasure",
    ),
)


def over_http(hint: str) -> str:
    """A hint of the command line as a client of the server can follow it."""
    for command, route in _ROUTES:
        hint = re.sub(command, route, hint)
    return hint

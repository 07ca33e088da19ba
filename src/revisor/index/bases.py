"""Where a base comes from: the file in a folder, or the ledger; and how it gets into the folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from revisor.errors import CannotWrite
from revisor.facts.following import Follower, Standing
from revisor.index.base import Base
from revisor.index.basefile import Unusable, contents, forget, publish
from revisor.index.build import build
from revisor.index.keys import folding

FILED = 1_000
"""Facts from which on a base is worth a file: fewer are read from the ledger as fast."""
_ASK_EVERY = 1_000  # rows

_log = logging.getLogger(__name__)


class Stopped(Exception):
    """A base was no longer wanted while it was being made."""


def filed(folder: Path | None, follower: Follower) -> Base | None:
    """The base in a folder, if whole and of this ledger; rows may have been erased since."""
    if folder is None:
        return None
    try:
        base = Base(contents(folder))
    except (OSError, Unusable):
        return None
    mine = follower.chain_at(base.head["event"]) == base.head["chain"]
    return base if mine and base.head["folding"] == folding() else None


def read(
    follower: Follower, standing: Standing, *, wanted: Callable[[], bool] = lambda: True
) -> bytes:
    """The bytes of a generation's base, from the ledger; raises Stopped once `wanted` says no."""

    def rows() -> Iterator[Sequence[Any]]:
        for number, row in enumerate(follower.rows(standing.generation)):
            if number % _ASK_EVERY == 0 and not wanted():
                raise Stopped
            yield row

    return build(rows(), **head(standing))


def head(standing: Standing) -> dict[str, Any]:
    """What the header of a base tells of the ledger that it was made of."""
    return {
        "generation": standing.generation,
        "event": standing.event,
        "chain": standing.chain,
    }


def kept(data: bytes, folder: Path | None) -> Base:
    """A base of these bytes: in the folder's file if it can be written, else in memory."""
    base = Base(data)
    if folder is None:
        return base
    try:
        if base.count < FILED:
            forget(folder)
            return base
        publish(folder, data)
        found = Base(contents(folder))
    except (OSError, CannotWrite, Unusable) as error:
        _log.debug("The base file in %s cannot be used: %s", folder, error)
        return base
    # Another process may have put its own there meanwhile.
    return found if found.head == base.head else base

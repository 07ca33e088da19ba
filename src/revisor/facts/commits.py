"""Counts of this process's own commits, by database, so that readers beside them look at once."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import sqlalchemy as sa

_lock = threading.Lock()
# One count a database for the whole process: its ledgers may be objects that know nothing of
# each other.
_counts: Counter[str] = Counter()


def database_key(engine: sa.Engine) -> str:
    """What two engines of one database have in common."""
    url = engine.url
    if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
        return str(Path(str(url.database)).resolve())
    return url.render_as_string(hide_password=True)


def count_commit(engine: sa.Engine) -> None:
    """Note that a writing transaction was committed."""
    key = database_key(engine)
    with _lock:
        _counts[key] += 1


def commits(key: str) -> int:
    """How many writing transactions this process has committed to a database."""
    return _counts[key]

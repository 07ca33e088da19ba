"""What nobody needs, removed: old banks, and what an erasure left to do."""

from __future__ import annotations

from revisor.operations.erase import finish
from revisor.operations.method import Method
from revisor.workspace import Workspace


def collect(ws: Workspace, method: Method, keep: int, *, actor: str) -> list[int]:
    """Remove the banks that the method does not need, and finish an erasure.

    Returns:
        The generations of which a bank was removed.
    """
    gone = method.collect(keep)
    if ws.ledger.unscrubbed:
        finish(ws)
    if gone:
        ws.ledger.record("gc", actor=actor, generation=ws.ledger.generation, removed=sorted(gone))
    return gone

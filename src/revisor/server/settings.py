"""How a server behaves; `revisor serve` has its options from here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """How a server behaves.

    Attributes:
        host, port: where it listens.
        max_batch: answers that are written at once.
        max_waiting: answers that may wait; more get 429.
        max_tokens: the longest answer; also the default of a chat.
        per_minute: requests of one key or address; 0 for no limit.
        body_bytes: the largest request.
        hit_log: share of answers whose facts are written to STORE/logs/hits.jsonl.
        patience_s: how long running answers may take when the server stops.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    max_batch: int = 16
    max_waiting: int = 64
    max_tokens: int = 1024
    per_minute: int = 600
    body_bytes: int = 1 << 20
    hit_log: float = 0.0
    patience_s: float = 12.0

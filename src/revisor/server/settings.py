"""How a server behaves; `revisor serve` has its options from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """How a server behaves.

    Attributes:
        max_tokens: the longest answer; also the default of a chat.
        body_bytes: the largest request.
        patience_s: how long running answers may take when the server stops.
    """

    host: Annotated[
        str,
        typer.Option(
            metavar="HOST",
            help="Where to listen; beyond this machine only with API keys (revisor keys add).",
        ),
    ] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N")] = 8000
    max_batch: Annotated[int, typer.Option(min=1, metavar="N", help="Answers written at once.")] = (
        16
    )
    max_waiting: Annotated[
        int, typer.Option(min=1, metavar="N", help="Answers that may wait; more get 429.")
    ] = 64
    max_tokens: Annotated[int, typer.Option(min=1, metavar="N", help="Longest answer.")] = 1024
    per_minute: Annotated[
        int,
        typer.Option(
            "--rate", min=0, metavar="N", help="Requests of one key a minute; 0 for no limit."
        ),
    ] = 600
    hit_log: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="SHARE",
            help="Share of answers whose facts are logged in STORE/logs/hits.jsonl.",
        ),
    ] = 0.0
    body_bytes: int = 1 << 20
    patience_s: float = 12.0

"""How the server listens: whose forwarded headers count, and how long a client may dawdle."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 15.0  # until the head of a connection's first request is there
KEEP_ALIVE_S = 75  # longer than clients and proxies keep theirs: none is cut off in asking
LAST_S = 3  # for answers that were broken off to reach their clients
FILES = 65_536  # open files wanted: one a connection, and what the store needs


class Connection(H11Protocol):
    """A connection that is closed when no whole request comes: a slow one keeps no place."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._expect(KEEP_ALIVE_S)
        super().on_response_complete()

    def _expect(self, seconds: float) -> None:
        """Close the connection unless a request has begun by then."""
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = self.loop.call_later(seconds, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


class Server(uvicorn.Server):
    """A server that tells when its patience is over, while clients can still be told.

    Args:
        config: see `listening`.
        patience_s: how long running requests may take when it stops.
        break_off: called then, in the event loop; what still runs has to end soon.
    """

    def __init__(
        self, config: uvicorn.Config, *, patience_s: float, break_off: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._patience_s, self._break_off = patience_s, break_off

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop: take nothing new, let running requests end, then break them off."""
        timer = asyncio.get_running_loop().call_later(self._patience_s, self._break_off)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()


def listening(
    app: Any,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    trusted_proxies: Sequence[str] = (),
    patience_s: float | None = None,
) -> uvicorn.Config:
    """uvicorn's settings for a server.

    Args:
        trusted_proxies: addresses whose forwarded headers say who calls; others' are anybody's
            word and do not count.
        patience_s: how long running requests may take when it stops, before they are broken off
            (see `Server`); None for ever.
    """
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=Connection,
        lifespan="on",
        log_config=None,
        access_log=False,  # ours names no query strings
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=None if patience_s is None else int(patience_s) + LAST_S,
    )


def allow_many_connections() -> None:
    """Raise this process's limit of open files as far as it may."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

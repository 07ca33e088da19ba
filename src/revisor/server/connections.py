"""How the server listens: whose forwarded headers count, who may be connected, and how long a
client may dawdle."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 15.0  # until the head of a request is there, from its first byte or the connection on
KEEP_ALIVE_S = 75  # longer than clients and proxies keep theirs: none is cut off in asking
UNREAD_S = 30.0  # that a client may leave what was sent to it unread
LAST_S = 2  # for answers that were broken off to reach their clients
MOST = 1_024  # connections
SPARE = 400  # open files that are not for connections: the store, its database, what runs
BACKLOG = 128  # connections that are taken at once, before any is known


class Places:
    """The connections of one server, each with a place; who has asked for nothing gives way.

    Args:
        most: how many there are.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: set[Connection] = set()
        self._idle: dict[Connection, None] = {}  # whoever waits longest is first

    def take(self, one: Connection) -> None:
        """Give a new connection a place: that of the one that dawdles longest, if all are taken.
        Where all others ask for something, the new one is closed."""
        self._taken.add(one)
        self._idle[one] = None
        if len(self._taken) > self._most:
            first = next(iter(self._idle))
            self.leave(first)
            first.transport.abort()

    def leave(self, one: Connection) -> None:
        """A connection has ended."""
        self._taken.discard(one)
        self._idle.pop(one, None)

    def set_idle(self, one: Connection, idle: bool) -> None:
        """Say whether a connection waits for its client: for a request, or the rest of one."""
        if not idle:
            self._idle.pop(one, None)
        elif one in self._taken:
            self._idle.setdefault(one)


class Connection(H11Protocol):
    """A connection that is closed when no whole request comes or no answer is read."""

    def __init__(self, *args: Any, places: Places, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._places = places
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._between = True  # requests: nothing of the next one is there

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._between = False
        self._expect(HEAD_S)
        self._places.take(self)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._unread):
            if timer is not None:
                timer.cancel()
        self._places.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._between:
            self._between = False
            self._expect(HEAD_S)
        super().data_received(data)
        self._places.set_idle(self, not self._is_asked)

    def on_response_complete(self) -> None:
        self._between = True
        self._expect(KEEP_ALIVE_S)
        super().on_response_complete()  # which goes on with a request that is there already
        self._places.set_idle(self, not self._is_asked)

    def shutdown(self) -> None:
        super().shutdown()
        if self.cycle is not None and not self.cycle.response_complete and self.cycle.more_body:
            self.transport.abort()  # no whole request: there is nothing to finish

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _watch_reader(self, before: int | None = None) -> None:
        """Close the connection when the client has read nothing since the last look."""
        left = self.transport.get_write_buffer_size()
        if left == before:
            self.transport.abort()
            return
        self._unread = self.loop.call_later(UNREAD_S, self._watch_reader, left)

    @property
    def _is_asked(self) -> bool:
        """Whether there is a whole request that waits for its answer."""
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete and not cycle.more_body

    def _expect(self, seconds: float) -> None:
        """Close the connection unless the head of a request is there by then."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            return
        if self._unread is None:
            self.transport.abort()
        else:  # the answer is being read
            self._expect(KEEP_ALIVE_S)


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
    protocol: Any = functools.partial(Connection, places=Places(_most_connections()))
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # ours names no query strings
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=None if patience_s is None else int(patience_s) + LAST_S,
    )


def _most_connections() -> int:
    """How many connections there may be, so that files are left for everything else. The limit of
    open files is raised as far as it may be."""
    try:
        import resource
    except ImportError:  # not on Windows
        return MOST
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST + SPARE
    if 0 <= soft < wanted:  # without a limit it is negative
        soft = wanted if hard < 0 else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return MOST if soft < 0 else max(BACKLOG, min(MOST, soft - SPARE))

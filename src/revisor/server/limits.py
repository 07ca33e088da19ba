"""What every request passes first: size, rate, origin; and what every answer carries.

Plain ASGI, so that bodies are counted as they arrive and streams are not buffered. Authorization
headers are hashed before they are used as names, and never logged.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from revisor.server.metrics import Metrics
from revisor.server.openai import error_body

log = logging.getLogger("revisor.server.access")

KNOWN = 10_000  # callers whose rate is remembered
CROWD = 10  # callers behind one address
BODY_S = 30.0  # until the next part of a body is there
LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)
FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via")
UNLIMITED = {"/healthz"}
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)


class Rate:
    """A token bucket a caller: so many requests a minute, a sixth of them at once.

    Args:
        per_minute: 0 for no limit.
    """

    def __init__(self, per_minute: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self.burst = max(1.0, per_minute / 6)
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, who: str) -> float:
        """0 if this request may pass, else the seconds until one may."""
        if self.per_minute <= 0:
            return 0.0
        now = self._clock()
        left, at = self._left.pop(who, (self.burst, now))
        left = min(self.burst, left + (now - at) * self.per_minute / 60)
        passed = left >= 1
        self._left[who] = (left - 1 if passed else left, now)
        while len(self._left) > KNOWN:
            self._left.popitem(last=False)
        return 0.0 if passed else (1 - left) * 60 / self.per_minute


class Limits:
    """The outermost layer of the application.

    Args:
        app: what is behind it.
        metrics: counts requests.
        per_minute: requests of one key (or address); ten times as many of one address.
        body_bytes: the largest body.
        is_open: whether requests without a key are served now; then those of other web pages are
            refused, since a browser on this machine would pass them on.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        per_minute: float,
        body_bytes: int,
        is_open: Callable[[], bool],
    ) -> None:
        self._app, self._metrics, self._is_open = app, metrics, is_open
        self._body_bytes = body_bytes
        self._keys, self._addresses = Rate(per_minute), Rate(per_minute * CROWD)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 500
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = ((b"x-request-id", request_id.encode()), *HEADERS)
                message["headers"] = [*message.get("headers", ()), *own]
            await send(message)

        try:
            refused = self._refusal(scope)
            if refused is not None:
                await _refuse(answer, *refused)
            else:
                await self._app(scope, self._counted(receive), answer)
        finally:
            seconds = time.monotonic() - began
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.saw_request(route, status, seconds)
            # The route, not the path: a path may hold what somebody put there by mistake, a key.
            log.info("%s %s %d %.3f s", scope["method"], route, status, seconds)

    def _refusal(self, scope: Scope) -> tuple[int, str, str, dict[str, str]] | None:
        """Status, code, message and headers of a request that goes no further."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        length = headers.get(b"content-length", "0")
        if not length.isdigit() or int(length) > self._body_bytes:
            return 413, "too_large", f"A body may have {self._body_bytes} bytes.", {}
        if self._is_open() and (fault := _foreign(headers)):
            return 403, "foreign_origin", fault, {}
        if scope["path"] in UNLIMITED:
            return None
        address = scope["client"][0] if scope.get("client") else "unknown"
        token = headers.get(b"authorization", "")
        who = hashlib.sha256(token.encode()).hexdigest() if token else address
        wait = max(self._addresses.wait(address), self._keys.wait(who))
        if wait > 0:
            text = f"Too many requests; the next one may come in {wait:.1f} s."
            return 429, "rate_limit_exceeded", text, {"retry-after": str(int(wait) + 1)}
        return None

    def _counted(self, receive: Receive) -> Receive:
        """`receive` that refuses a body which is longer than it may be, whatever it said before,
        or that does not come."""
        seen, whole = 0, False

        async def counted() -> Message:
            nonlocal seen, whole
            try:
                async with asyncio.timeout(None if whole else BODY_S):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "The body of the request did not come.") from None
            seen += len(message.get("body", b""))
            whole = whole or not message.get("more_body", False)
            if seen > self._body_bytes:
                raise HTTPException(413, f"A body may have {self._body_bytes} bytes.")
            return message

        return counted


def _foreign(headers: dict[bytes, str]) -> str:
    """Why a request to an open server looks like one of another machine, or of another web page;
    empty if it does not."""
    host = headers.get(b"host", "localhost")
    if LOOPBACK.fullmatch(host) is None:
        return "A server without keys answers to loopback names only, such as 127.0.0.1."
    if any(name in headers for name in FORWARDED):
        return "A server without keys does not answer through a proxy. Make a key first."
    origin = headers.get(b"origin")
    if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host}"):
        return "A server without keys does not answer to other web pages."
    if headers.get(b"sec-fetch-site") == "cross-site":
        return "A server without keys does not answer to other web pages."
    return ""


async def _refuse(
    send: Send, status: int, code: str, message: str, headers: dict[str, str]
) -> None:
    body = json.dumps(error_body(message, status=status, code=code)).encode()
    told = [(name.encode(), value.encode()) for name, value in headers.items()]
    told += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": body})

"""What every request passes first: size, rate, origin; and what every answer carries.

Plain ASGI, so that bodies are counted as they arrive and streams are not buffered. Authorization
headers are hashed before they are used as names, and never logged.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import re
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from revisor.server.logs import ACCESS
from revisor.server.metrics import Metrics
from revisor.server.openai import error_body

log = logging.getLogger(ACCESS)
refusals = logging.getLogger("revisor.server.refused")

KNOWN = 10_000  # callers whose rate is remembered
CROWD = 10  # callers behind one address
BODY_S = 30.0  # until a body is there
SMALL = 1 << 16  # bytes of a body that always have room
LARGE = 64  # bodies of the largest size that there is room for at once
LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)
FORWARDED = {b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"x-cluster-client-ip"}
FORWARDED |= {b"cf-connecting-ip", b"true-client-ip", b"x-original-forwarded-for"}
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
        per_minute: requests of one key (or address); ten times as many of all callers of one
            address that have shown no key yet.
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
        self.body_bytes = body_bytes
        self._keys, self._addresses = Rate(per_minute), Rate(per_minute * CROWD)
        self._known: OrderedDict[str, None] = OrderedDict()  # tokens that were keys lately
        self._held = 0  # bytes of large bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on within the limits, or refuse it (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 500
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        who = _caller(scope)
        body = _Body(receive, self)

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = ((b"x-request-id", request_id.encode()), *HEADERS)
                message["headers"] = [*message.get("headers", ()), *own]
            await send(message)

        try:
            refused = self._refusal(scope, who)
            if refused is not None:
                number, code, text, headers = refused
                content = error_body(text, status=number, code=code)
                await JSONResponse(content, number, headers)(scope, receive, answer)
            else:
                await self._app(scope, body.receive, answer)
        finally:
            body.release()
            self._remember(who, known=scope["state"].get("known", False), status=status)
            seconds = time.monotonic() - began
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.saw_request(route, status, seconds)
            # The route, not the path: a path may hold what somebody put there by mistake, a key.
            told = refusals if status == 429 else log
            told.info("%s %s %d %.3f s", scope["method"][:20], route, status, seconds)

    def _remember(self, who: str, *, known: bool, status: int) -> None:
        """Keep in mind whose key was good: no crowd at the same address keeps it out."""
        if known:
            self._known[who] = None
            self._known.move_to_end(who)
            if len(self._known) > KNOWN:
                self._known.popitem(last=False)
        elif status == 401:
            self._known.pop(who, None)

    def _refusal(self, scope: Scope, who: str) -> tuple[int, str, str, dict[str, str]] | None:
        """Status, code, message and headers of a request that goes no further."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        length = headers.get(b"content-length", "0")
        if not length.isdecimal() or len(length) > 19 or int(length) > self.body_bytes:
            return 413, "too_large", f"A body may have {self.body_bytes} bytes.", {}
        if self._is_open() and (fault := _foreign(headers, scope["http_version"])):
            return 403, "foreign_origin", fault, {}
        if "\x00" in scope["path"] or b"%00" in scope.get("query_string", b""):
            return 400, "invalid_value", "An address may not hold the character NUL.", {}
        if scope["path"] in UNLIMITED:
            return None
        crowd = 0.0 if who in self._known else self._addresses.wait(_address(scope))
        wait = max(crowd, self._keys.wait(who))
        if wait > 0:
            text = f"Too many requests; the next one may come in {wait:.1f} s."
            return 429, "rate_limit_exceeded", text, {"retry-after": str(int(wait) + 1)}
        return None

    def has_room(self, count: int) -> bool:
        """Whether so many bytes more of large bodies may be held; they are then, until they are
        taken back."""
        if self._held + count > LARGE * self.body_bytes:
            return False
        self._held += count
        return True


class _Body:
    """The body of one request: refused when it is longer than it may be, whatever it said before,
    when it does not come, and when others fill the memory."""

    def __init__(self, receive: Receive, limits: Limits) -> None:
        self._receive, self._limits = receive, limits
        self._until: float | None = asyncio.get_running_loop().time() + BODY_S
        self._seen = self._held = 0

    async def receive(self) -> Message:
        """As of ASGI; HTTPException where it is refused."""
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            text, headers = "The body of the request did not come.", {"connection": "close"}
            raise HTTPException(408, text, headers=headers) from None
        self._seen += len(message.get("body", b""))
        if not message.get("more_body", False):
            self._until = None
        if self._seen > self._limits.body_bytes:
            raise HTTPException(413, f"A body may have {self._limits.body_bytes} bytes.")
        more = self._seen - SMALL - self._held
        if more > 0:
            if not self._limits.has_room(more):
                text = "Too many large requests are on their way; ask again."
                raise HTTPException(429, text, headers={"retry-after": "2"})
            self._held += more
        return message

    def release(self) -> None:
        """The request is over."""
        self._limits.has_room(-self._held)
        self._held = 0


def _caller(scope: Scope) -> str:
    """Whose rate it is: a token's, told by its hash, or an address's."""
    token = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    return hashlib.sha256(token).hexdigest() if token else _address(scope)


def _address(scope: Scope) -> str:
    """Where a request comes from; of IPv6 the network, of which one caller has all addresses."""
    client = str(scope["client"][0]) if scope.get("client") else "unknown"
    if ":" not in client:
        return client
    try:
        return str(ipaddress.ip_network((client.partition("%")[0], 64), strict=False))
    except ValueError:
        return client


def _foreign(headers: dict[bytes, str], version: str) -> str:
    """Why a request to an open server looks like one of another machine, or of another web page;
    empty if it does not."""
    host = headers.get(b"host", "localhost")
    if LOOPBACK.fullmatch(host) is None:
        return "A server without keys answers to loopback names only, such as 127.0.0.1."
    if version == "1.0" or any(
        name in FORWARDED or name.startswith(b"x-forwarded-") for name in headers
    ):
        # Proxies speak HTTP/1.0, and others hardly do.
        return "A server without keys does not answer through a proxy. Make a key first."
    origin = headers.get(b"origin")
    if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host}"):
        return "A server without keys does not answer to other web pages."
    if headers.get(b"sec-fetch-site") == "cross-site":
        return "A server without keys does not answer to other web pages."
    return ""

"""The application: routes, limits, errors and life put around a service."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from revisor import __version__
from revisor.errors import RevisorError, StoreDamaged
from revisor.server import misshapen, routes_facts, routes_generations, routes_openai, routes_server
from revisor.server.answering import GONE, ClientGone
from revisor.server.hints import over_http
from revisor.server.limits import Limits
from revisor.server.openai import error_body
from revisor.server.service import Service

log = logging.getLogger(__name__)

CONSOLE = Path(__file__).parent / "console"
PAGES = {"/": "index.html"} | {
    f"/{file.name}": file.name
    for file in sorted(CONSOLE.iterdir())
    if file.suffix in (".css", ".js")
}
# The console is its own files: nothing of another origin, nothing inline.
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
POLICY += "img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
CODES = {401: "invalid_api_key", 403: "forbidden", 404: "not_found", 409: "conflict"}
CODES |= {413: "too_large", 429: "queue_full", 503: "unavailable"}


def make_app(service: Service) -> FastAPI:
    """The application. It starts the service with itself and closes it at its end."""

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(service.start)
        try:
            yield
        finally:
            await run_in_threadpool(service.close)

    app = FastAPI(
        title="revisor",
        version=__version__,
        description="A language model and its facts. Errors have OpenAI's shape on every route.",
        lifespan=life,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.include_router(routes_openai.router)
    app.include_router(routes_facts.router)
    app.include_router(routes_generations.router)
    app.include_router(routes_server.router)
    for path, name in PAGES.items():
        app.add_api_route(path, _page(name), include_in_schema=False)
    app.add_exception_handler(RevisorError, _told)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientGone, _gone)
    app.add_exception_handler(Exception, _bug)
    app.add_middleware(
        Limits,
        metrics=service.metrics,
        per_minute=service.settings.per_minute,
        body_bytes=service.settings.body_bytes,
        is_open=lambda: service.is_open,
    )
    return app


def _page(name: str) -> Any:
    async def page() -> Response:
        return FileResponse(CONSOLE / name, headers={"content-security-policy": POLICY})

    return page


class _Told(JSONResponse):
    """JSON that tells an error: half of a surrogate pair, which is no character, is "?" in it."""

    def render(self, content: Any) -> bytes:
        """The bytes of the body."""
        return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")


async def _told(request: Request, error: Exception) -> Response:
    """An error meant for people."""
    assert isinstance(error, RevisorError)
    service: Service = request.app.state.service
    if isinstance(error, StoreDamaged):
        service.saw_fault(error)
    status = error.http_status
    more: dict[str, Any] = {}
    if error.hint:
        more["hint"] = _elsewhere(service, over_http(error.hint))
    if error.faults:
        more["faults"] = [asdict(one) | {"remedy": over_http(one.remedy)} for one in error.faults]
    message = _elsewhere(service, error.message)
    body = error_body(message, status=status, code=CODES.get(status), **more)
    headers = {"retry-after": "2"} if status in (429, 503) else {}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return _Told(body, status_code=status, headers=headers)


def _elsewhere(service: Service, text: str) -> str:
    """A message without the places of this machine, which a client need not know."""
    ledger = str(service.store.ledger.name)
    return text.replace(ledger, "the ledger").replace(str(service.store.path), "the store")


async def _invalid(_request: Request, error: Exception) -> Response:
    """A request that is not of its route's shape: 400, the first fault in the message."""
    assert isinstance(error, RequestValidationError)
    told = misshapen.invalid(error.errors())
    return _Told(error_body(status=400, **told), status_code=400)


async def _http(request: Request, error: Exception) -> Response:
    """No such route, a wrong method, a body that is too long."""
    assert isinstance(error, HTTPException)
    status = error.status_code
    told = misshapen.no_route(status, str(error.detail), request.method, error.headers)
    body = error_body(status=status, code=CODES.get(status), **told)
    return _Told(body, status_code=status, headers=error.headers)


async def _gone(_request: Request, _error: Exception) -> Response:
    """Nobody reads it."""
    return Response(status_code=GONE)


async def _bug(_request: Request, _error: Exception) -> Response:
    """Ours. The log has the traceback; the answer has none."""
    return _Told(
        error_body("The server failed.", status=500, code="internal_error"), status_code=500
    )

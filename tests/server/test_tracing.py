"""Traces pass requests on as they are, and continue the caller's."""

from __future__ import annotations

from typing import Any

import httpx
from opentelemetry import trace

from revisor.server.tracing import traced


class Spans:
    """A tracer that remembers; OpenTelemetry's SDK is no dependency of the tests."""

    def __init__(self) -> None:
        self.parents: list[int] = []
        self.attributes: dict[str, Any] = {}
        self.name = ""

    def start_as_current_span(self, name: str, *, context: Any, kind: Any) -> Any:
        self.parents.append(trace.get_current_span(context).get_span_context().trace_id)
        assert kind is trace.SpanKind.SERVER
        return self

    def __enter__(self) -> Spans:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def set_attribute(self, name: str, value: Any) -> None:
        self.attributes[name] = value

    def update_name(self, name: str) -> None:
        self.name = name


async def application(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"x-revisor-generation", b"7"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


def test_a_request_is_a_span_of_its_callers_trace() -> None:
    import asyncio

    spans = Spans()

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=traced(application, spans))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            parent = f"00-{'0' * 31}7-{'0' * 15}3-01"
            return await client.get("/secret", headers={"traceparent": parent})

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.text) == (201, "ok")
    assert spans.parents == [7]
    assert spans.attributes["http.response.status_code"] == 201
    assert spans.attributes["revisor.generation"] == "7"
    assert "secret" not in f"{spans.name} {spans.attributes}"

"""OpenTelemetry traces of requests: a span around each, which continues the caller's trace.

The exporter is chosen by the `OTEL_*` variables, or by the program around it.
"""

from __future__ import annotations

import importlib
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from revisor.errors import UsageError


def traced(app: ASGIApp, tracer: Any = None) -> ASGIApp:
    """The application with a span a request: its method, route, status, generation and facts.

    Args:
        tracer: OpenTelemetry's; without it the one that the `OTEL_*` variables set up.

    Raises:
        UsageError: OpenTelemetry is not installed.
    """
    api, propagate = _imported("Traces need OpenTelemetry.", "trace", "propagate")
    tracer = tracer or _configured(api)

    async def around(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        parent = propagate.extract(
            {k: headers[k] for k in ("traceparent", "tracestate") if k in headers}
        )
        kind = api.SpanKind.SERVER
        with tracer.start_as_current_span(scope["method"], context=parent, kind=kind) as span:
            span.set_attribute("http.request.method", scope["method"])

            async def answer(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _describe(span, message)
                await send(message)

            await app(scope, receive, answer)
            # Known when it was found; the path itself may hold anything.
            route = getattr(scope.get("route"), "path", "other")
            span.set_attribute("http.route", route)
            span.update_name(f"{scope['method']} {route}")

    return around


def _imported(needs: str, *modules: str) -> list[Any]:
    """Modules of OpenTelemetry, which is not among what revisor installs."""
    try:
        return [importlib.import_module(f"opentelemetry.{name}") for name in modules]
    except ModuleNotFoundError as error:
        raise UsageError(
            needs, "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
        ) from error


def _describe(span: Any, message: Message) -> None:
    span.set_attribute("http.response.status_code", message["status"])
    for name, value in message.get("headers", ()):
        if name in (b"x-revisor-generation", b"x-revisor-facts", b"x-request-id"):
            span.set_attribute(name.decode().replace("x-", "", 1).replace("-", "."), value.decode())


def _configured(api: Any) -> Any:
    """A tracer that exports by OTLP, if the SDK and its exporter are there."""
    needs = "Traces need OpenTelemetry's SDK and its OTLP exporter."
    exporter = "exporter.otlp.proto.http.trace_exporter"
    sdk, export, otlp = _imported(needs, "sdk.trace", "sdk.trace.export", exporter)
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.BatchSpanProcessor(otlp.OTLPSpanExporter()))
    api.set_tracer_provider(provider)
    return provider.get_tracer("revisor")

"""Facts used, named in the answers of `vllm serve`: an endpoint plugin of vLLM's.

What comes in: the server's app and its engine client. What goes out: a field `revisor` and headers
on completions and chat completions, whole or streamed, in the shape that `revisor serve` has;
counters among vLLM's own at `/metrics`; `/v1/revisor` with figures of the engine. What it does not
do: change what the model says.

vLLM loads endpoint plugins only if `VLLM_PLUGINS` names them, so this one is asked for:
`VLLM_PLUGINS=revisor`. What fired is asked from the worker, by the names that the engine gave the
requests while the answer was made; a client's own request ids play no part.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from prometheus_client import Counter
from vllm.v1.engine.input_processor import InputProcessor

from revisor.facts.fact import Fact
from revisor.neuraldb.editing.build import row_facts
from revisor.serve.vllm import editions

PATHS = ("/v1/completions", "/v1/chat/completions")
_KNOWN = 10_000  # facts remembered by generation and id

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class _Named:
    """A prompt of an answer: as the server calls it, as the engine does, and its choices."""

    place: int
    name: str
    choices: int


_asked: ContextVar[list[_Named] | None] = ContextVar("revisor_asked", default=None)


def _note(request: Any) -> None:
    """Remember a request for the answer that it is part of."""
    asked = _asked.get()
    if asked is not None:
        number = re.search(r"(\d+)$", request.external_req_id or "")
        asked.append(
            _Named(
                place=int(number[1]) if number else 0,
                name=request.request_id,
                choices=getattr(request.sampling_params, "n", 1) or 1,
            )
        )


def choice_names(asked: list[_Named]) -> list[str]:
    """The engine's name of each choice of an answer, in order."""
    return [
        one.name if one.choices == 1 else f"{choice}_{one.name}"
        for one in sorted(asked, key=lambda one: one.place)
        for choice in range(one.choices)
    ]


class FactsUsedPlugin:
    """What vLLM asks of an endpoint plugin."""

    name = "revisor"
    required_tasks = ("generate",)

    def __init__(self) -> None:
        self._engine: Any = None
        self._facts: dict[tuple[int, str], Fact] = {}
        self._answers = Counter("revisor_answers", "Choices told.", ["facts"])
        self._hits = Counter("revisor_hits", "Facts used in choices told.", ["namespace"])

    def attach_router(self, app: Any) -> None:
        """Add the route, and the middleware behind vLLM's own, which check API keys."""
        assign = InputProcessor.assign_request_id

        def noted(request: Any) -> None:
            assign(request)
            _note(request)

        InputProcessor.assign_request_id = staticmethod(noted)
        app.add_middleware(FactsUsed, plugin=self)
        app.get("/v1/revisor")(self.report)

    async def init_state(self, engine_client: Any, state: Any, args: Any) -> None:
        """Take the way to the engine."""
        self._engine = engine_client

    async def report(self) -> dict[str, Any]:
        """The edition of the newest request, tokens read, and how often each row fired."""
        found: list[dict[str, Any]] = await self._engine.collective_rpc("revisor_report")
        return found[0]

    async def used(self, asked: list[_Named], choice: int | None = None) -> dict[str, Any]:
        """The field `revisor` of an answer, or of one of its choices."""
        names = choice_names(asked)
        wanted = names if choice is None else names[choice : choice + 1]
        told: list[dict[str, Any]] = await self._engine.collective_rpc(
            "revisor_hits", args=(wanted,)
        )
        facts, generations = [], set()
        for number, name in enumerate(names):
            if name not in told[0]:
                continue
            generation = told[0][name]["generation"]
            hits = told[0][name]["hits"]
            mine = [one for hit in hits for one in self._told(generation, hit, number)]
            self._answers.labels("used" if mine else "none").inc()
            facts += mine
            generations.add(generation)
        return {"generation": next(iter(generations), None), "facts_used": facts}

    def _told(self, generation: int, hit: dict[str, Any], choice: int) -> list[dict[str, Any]]:
        """The facts behind one hit."""
        ids = row_facts(hit["row_id"])
        unknown = [i for i in ids if (generation, i) not in self._facts]
        if unknown:
            if len(self._facts) > _KNOWN:
                self._facts.clear()
            for fact in editions().known(generation, unknown).values():
                self._facts[generation, fact.id] = fact
        found = []
        for fact in (self._facts[generation, i] for i in ids if (generation, i) in self._facts):
            self._hits.labels(fact.namespace).inc()
            found.append(
                {
                    "id": fact.id,
                    "subject": fact.subject,
                    "object": fact.object,
                    "position": hit["position"],
                    "cosine": round(hit["cosine"], 4),
                    "threshold": round(hit["threshold"], 4),
                    "choice": choice,
                }
            )
        return found


class FactsUsed:
    """The middleware: adds the field and the headers to answers on their way out."""

    def __init__(self, app: Any, plugin: FactsUsedPlugin) -> None:
        self.app, self.plugin = app, plugin

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in PATHS:
            await self.app(scope, receive, send)
            return
        asked: list[_Named] = []
        token = _asked.set(asked)
        try:
            await self.app(scope, receive, _Answer(self.plugin, asked, send))
        finally:
            _asked.reset(token)


class _Answer:
    """One answer on its way out, as messages of ASGI."""

    def __init__(self, plugin: FactsUsedPlugin, asked: list[_Named], send: Send) -> None:
        self._plugin, self._asked, self._send = plugin, asked, send
        self._start: Message | None = None
        self._streamed = self._plain = False
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            kind = dict(message["headers"]).get(b"content-type", b"")
            self._streamed = kind.startswith(b"text/event-stream")
            self._plain = not self._streamed and (
                message["status"] != 200 or not kind.startswith(b"application/json")
            )
            if self._streamed or self._plain:
                await self._send(message)
            else:
                self._start = message  # its length is known later
        elif self._plain or message["type"] != "http.response.body":
            await self._send(message)
        elif self._streamed:
            await self._stream(message)
        else:
            await self._whole(message)

    async def _whole(self, message: Message) -> None:
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        told = json.loads(self._body)
        used = told["revisor"] = await self._plugin.used(self._asked)
        body = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
        assert self._start is not None
        names = ",".join(dict.fromkeys(fact["id"] for fact in used["facts_used"]))
        self._start["headers"] = [
            *((key, value) for key, value in self._start["headers"] if key != b"content-length"),
            (b"content-length", str(len(body)).encode()),
            (b"x-revisor-generation", str(used["generation"] or "").encode()),
            (b"x-revisor-facts", names.encode()),
        ]
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": body})

    async def _stream(self, message: Message) -> None:
        *events, self._body = (self._body + message.get("body", b"")).split(b"\n\n")
        out = [await self._event(event) + b"\n\n" for event in events]
        more = message.get("more_body", False)
        if not more:
            out.append(self._body)
        await self._send({**message, "body": b"".join(out)})

    async def _event(self, event: bytes) -> bytes:
        """An event of the stream; the last one of a choice has the facts that it used."""
        if not event.startswith(b"data: {") or b'"finish_reason"' not in event:
            return event
        told = json.loads(event.removeprefix(b"data: "))
        ended = [c["index"] for c in told.get("choices", []) if c.get("finish_reason")]
        if not ended:
            return event
        found = [await self._plugin.used(self._asked, choice) for choice in ended]
        told["revisor"] = {
            "generation": found[0]["generation"],
            "facts_used": [fact for one in found for fact in one["facts_used"]],
        }
        return b"data: " + json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()

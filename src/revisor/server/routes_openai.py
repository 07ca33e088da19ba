"""The routes that OpenAI's clients know: models, completions, chat completions."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from revisor.errors import NotFound, UsageError
from revisor.server import openai as shapes
from revisor.server.access import CallerOf, ServiceOf
from revisor.server.answering import Answered, Asked, Asking, ClientGone
from revisor.server.bodies import Route
from revisor.server.openai import ChatRequest, CompletionRequest, TokenTold
from revisor.server.roles import Role
from revisor.server.service import Service

router = APIRouter(prefix="/v1", tags=["OpenAI"], route_class=Route)

FACTS_IN_HEADER = 20

# The content of one choice, from its text, its tokens' log probabilities and where they begin.
Shape = Callable[[str, Sequence[TokenTold], int], dict[str, Any]]


@router.get("/models")
def models(service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """The one model of the store."""
    caller.must_be(Role.read)
    return {"object": "list", "data": [_model(service)]}


@router.get("/models/{name:path}")
def model(name: str, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """That model by its name."""
    caller.must_be(Role.read)
    _check_model(service, name)
    return _model(service)


def _model(service: Service) -> dict[str, Any]:
    return {
        "id": service.name,
        "object": "model",
        "created": service.created,
        "owned_by": "revisor",
        "revisor": {"generation": service.live},
    }


def _check_model(service: Service, name: str) -> None:
    if name != service.name:
        raise NotFound(f"There is no model '{name}'.", f"This server has '{service.name}'.")


@router.post("/completions")
async def completions(
    body: CompletionRequest, request: Request, service: ServiceOf, caller: CallerOf
) -> Response:
    """Continue one or more prompts."""
    caller.must_be(Role.read)
    _check_model(service, body.model)
    asked = Asked(
        prompts=await service.reading.run(caller.owner, _ids, service, body.prompts),
        sampling=body.sampling(body.rivals),
        max_tokens=_limit(service, body.max_tokens or shapes.DEFAULT_COMPLETION),
        stops=body.stops,
        choices=body.choices,
        facts=body.revisor,
    )

    def choice(text: str, tokens: Sequence[TokenTold], offset: int) -> dict[str, Any]:
        told = shapes.completion_logprobs(tokens, offset) if body.rivals is not None else None
        return {"text": text, "logprobs": told}

    asking = await Asking.begin(service, asked, caller, "cmpl")
    frame = _frame(service, asking, "text_completion")
    if body.stream:
        return await _stream(asking, frame, choice, request, usage=body.usage_at_end)
    return await _whole(asking, frame, choice, request)


@router.post("/chat/completions")
async def chat_completions(
    body: ChatRequest, request: Request, service: ServiceOf, caller: CallerOf
) -> Response:
    """Answer a conversation."""
    caller.must_be(Role.read)
    _check_model(service, body.model)
    read = service.prompts.of_chat
    asked = Asked(
        prompts=[await service.reading.run(caller.owner, read, body.turns())],
        sampling=body.sampling(body.rivals),
        max_tokens=_limit(
            service, body.max_completion_tokens or body.max_tokens or service.settings.max_tokens
        ),
        stops=body.stops,
        choices=body.choices,
        facts=body.revisor,
    )
    part = "delta" if body.stream else "message"

    def choice(text: str, tokens: Sequence[TokenTold], offset: int) -> dict[str, Any]:
        told = shapes.chat_logprobs(tokens) if body.rivals is not None else None
        content = {"content": text} if body.stream else {"role": "assistant", "content": text}
        return {part: content, "logprobs": told}

    asking = await Asking.begin(service, asked, caller, "chatcmpl")
    if body.stream:
        frame = _frame(service, asking, "chat.completion.chunk")
        first = {"delta": {"role": "assistant", "content": ""}, "logprobs": None}
        usage = body.usage_at_end
        return await _stream(asking, frame, choice, request, usage=usage, first=first)
    return await _whole(asking, _frame(service, asking, "chat.completion"), choice, request)


def _ids(service: Service, prompts: Sequence[str | list[int]]) -> list[list[int]]:
    return [service.prompts.of_text(one) if isinstance(one, str) else one for one in prompts]


def _limit(service: Service, wanted: int) -> int:
    if wanted > service.settings.max_tokens:
        raise UsageError(
            f"At most {service.settings.max_tokens} tokens are answered here, not {wanted}.",
            "Ask for fewer.",
        )
    return wanted


def _frame(service: Service, asking: Asking, kind: str) -> dict[str, Any]:
    return {
        "id": asking.id,
        "object": kind,
        "created": int(time.time()),
        "model": service.name,
        "system_fingerprint": service.fingerprint,
    }


async def _whole(asking: Asking, frame: dict[str, Any], shape: Shape, request: Request) -> Response:
    answers = await asking.whole(request.is_disconnected)
    choices = [
        _ends(answer.index, answer.reason) | shape(answer.text, answer.tokens, 0)
        for answer in answers
    ]
    body = frame | {
        "choices": choices,
        "usage": shapes.usage(asking.prompt_tokens, asking.completion_tokens),
    }
    if asking.asked.facts.report:
        body["revisor"] = _report(asking, answers)
    return JSONResponse(body, headers=_headers(asking))


async def _stream(
    asking: Asking,
    frame: dict[str, Any],
    shape: Shape,
    request: Request,
    *,
    usage: bool,
    first: dict[str, Any] | None = None,
) -> Response:
    """Server-sent events. The first token is awaited: by then the prompt's facts are known, and the
    headers can name them."""
    pieces = asking.pieces(request.is_disconnected)
    begun = await anext(pieces)

    async def events() -> AsyncIterator[str]:
        offsets = [0] * len(asking.answers)
        # With `include_usage` every chunk but the last has a null usage, as OpenAI's have.
        chunk = frame | ({"usage": None} if usage else {})
        if first is not None:
            for index in range(len(asking.answers)):
                yield _event(chunk | {"choices": [first | _ends(index, None)]})
        async for answer, text, tokens in _chained(begun, pieces):
            if answer.reason in ("error", "cancelled"):
                yield _event(shapes.error_body("The answer was broken off.", status=503))
                return
            choice = shape(text, tokens, offsets[answer.index]) | _ends(answer.index, answer.reason)
            offsets[answer.index] += sum(len(token.text) for token in tokens)
            last = {}
            if answer.reason is not None and asking.asked.facts.report:
                last["revisor"] = _report(asking, [answer])
            yield _event(chunk | {"choices": [choice]} | last)
        if usage:
            told = shapes.usage(asking.prompt_tokens, asking.completion_tokens)
            yield _event(frame | {"choices": [], "usage": told})
        yield "data: [DONE]\n\n"

    headers = _headers(asking) | {"cache-control": "no-cache", "x-accel-buffering": "no"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


async def _chained(
    begun: tuple[Answered, str, list[TokenTold]],
    pieces: AsyncIterator[tuple[Answered, str, list[TokenTold]]],
) -> AsyncIterator[tuple[Answered, str, list[TokenTold]]]:
    try:
        yield begun
        async for piece in pieces:
            yield piece
    except ClientGone:
        return
    finally:
        await pieces.aclose()  # type: ignore[attr-defined]


def _ends(index: int, reason: str | None) -> dict[str, Any]:
    return {"index": index, "finish_reason": reason}


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


def _report(asking: Asking, answers: Sequence[Answered]) -> dict[str, Any]:
    """What the extension says: the generation, and the facts used of each choice."""
    used = [one.told() | {"choice": answer.index} for answer in answers for one in answer.used]
    return {"generation": asking.generation, "facts_used": used}


def _headers(asking: Asking) -> dict[str, str]:
    """Facts that were written so far: of a stream those at its first token."""
    if not asking.asked.facts.report or asking.generation is None:
        return {}
    used = [quote(fact_id, safe="") for fact_id in asking.written_so_far()[:FACTS_IN_HEADER]]
    return {"x-revisor-generation": str(asking.generation), "x-revisor-facts": ",".join(used)}

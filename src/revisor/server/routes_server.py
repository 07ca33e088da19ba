"""The server itself over HTTP: keys, namespaces, questions of the console, figures and health.

What comes in: orders of operators, questions. What goes out: keys, answers with and without the
facts, figures. What it does not do: the work (service.py and its parts do).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from revisor.serve.access import CallerOf, ServiceOf
from revisor.serve.answering import Asked, Asking
from revisor.serve.openai import Facts
from revisor.serve.roles import Role, role_of
from revisor.serve.routes_builds import Body, Name
from revisor.serve.sampling import Sampling

router = APIRouter()


class NewKey(Body):
    """Body of `POST /keys`."""

    name: Name
    role: str
    namespaces: Annotated[list[Name], Field(max_length=1_000)] | None = None


class Policy(Body):
    """Body of `PUT /namespaces/{name}`."""

    needs_approval: bool


class Question(Body):
    """Body of `POST /ask`."""

    prompt: Annotated[str, Field(min_length=1, max_length=20_000)]
    chat: bool = False
    max_tokens: Annotated[int, Field(ge=1, le=1024)] = 24
    generation: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    namespace: Name | None = None


# Keys and namespaces


@router.get("/keys", tags=["keys"])
def list_keys(service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """All keys, without their secrets."""
    caller.must_be(Role.admin, everywhere=True)
    return {"keys": service.keys.all()}


@router.post("/keys", status_code=201, tags=["keys"])
def make_key(body: NewKey, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """A new key. Its token is in this answer and nowhere else."""
    caller.must_be(Role.admin, everywhere=True)
    token = service.keys.make(body.name, role_of(body.role), body.namespaces)
    return {"name": body.name, "token": token}


@router.delete("/keys/{name:path}", tags=["keys"])
def revoke_key(name: str, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """End a key at once."""
    caller.must_be(Role.admin, everywhere=True)
    service.keys.revoke(name)
    return {"revoked": name}


@router.get("/namespaces", tags=["keys"])
def list_policies(service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """The namespaces that were set up, and whether their changes need approval."""
    caller.must_be(Role.read)
    found = service.desk.policies()
    return {
        "namespaces": [
            {"name": name, "needs_approval": needs}
            for name, needs in sorted(found.items())
            if caller.sees(name)
        ]
    }


@router.put("/namespaces/{name:path}", tags=["keys"])
def set_policy(
    name: Annotated[str, Path(min_length=1, max_length=200)],
    body: Policy,
    service: ServiceOf,
    caller: CallerOf,
) -> dict[str, Any]:
    """Say whether changes of facts in a namespace need approval."""
    caller.must_be(Role.admin)
    caller.must_see(name)
    service.desk.set_policy(name, needs_approval=body.needs_approval)
    return {"name": name, "needs_approval": body.needs_approval}


# What runs


@router.post("/ask", tags=["answers"])
async def ask(body: Question, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """One prompt with and without the facts, greedily, and the tokens at which facts fired."""
    caller.must_be(Role.read)
    tokenizer = service.store.loaded.tokenizer
    ids = (
        service.chat_ids([{"role": "user", "content": body.prompt}])
        if body.chat
        else list(tokenizer(body.prompt)["input_ids"])
    )
    sides = []
    for facts in (True, False):
        choice = Facts(
            facts=facts,
            generation=body.generation if facts else None,
            namespace=body.namespace if facts else None,
        )
        asked = Asked(
            prompts=[ids],
            sampling=Sampling(temperature=0),
            max_tokens=body.max_tokens,
            stops=(),
            choices=1,
            facts=choice,
        )
        asking = await Asking.begin(service, asked, caller, "ask")
        sides.append((asking, (await asking.whole(_never))[0]))
    (asking, answer), (_, base) = sides
    return {
        "id": asking.id,
        "prompt": body.prompt,
        "generation": asking.generation,
        "tokens": [str(tokenizer.decode([token])) for token in [*ids, *answer.ids]],
        "prompt_tokens": len(ids),
        "answer": answer.text,
        "base_answer": base.text,
        "facts_used": [asdict(used) for used in answer.used],
    }


async def _never() -> bool:
    return False


@router.get("/why/{answer_id:path}", tags=["answers"])
def why(answer_id: str, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """The facts that fired in an answer, by its id."""
    caller.must_be(Role.read)
    return service.hit_log.get(answer_id, caller)


@router.get("/figures", tags=["server"])
def figures(service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """The server's state in numbers, for people; /metrics has them all."""
    caller.must_be(Role.read)
    ok, health = service.health()
    never = service.never_hit() if caller.namespaces is None else []
    return {
        "healthy": ok,
        "model": service.name,
        "live": service.generations.live_number,
        "ledger": service.store.ledger.generation,
        "facts": service.store.ledger.count(),
        "queue": service.scheduler.waiting,
        "running": service.scheduler.running,
        "alarm": service.metrics.alarm,
        "never_hit": len(never),
        "never_hit_ids": never[:100],
        "generations": {
            str(number): found.told() for number, found in service.metrics.by_generation.items()
        },
        "role": caller.role.name,
        "faults": health["faults"],
    }


@router.get("/metrics", tags=["server"])
async def metrics(service: ServiceOf, caller: CallerOf) -> Response:
    """All figures, as Prometheus reads them."""
    caller.must_be(Role.read)
    text = await run_in_threadpool(service.metrics.text)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/healthz", tags=["server"])
async def healthz(service: ServiceOf) -> Response:
    """200 if the bank loaded and its self-test passes, else 503. Open to all: faults are named only
    to a server without keys; others find them under /figures and in the log."""
    ok, told_ = service.health()
    if not await run_in_threadpool(lambda: service.is_open):
        told_ = {"status": told_["status"]}
    return JSONResponse(told_, status_code=200 if ok else 503)

"""Generations, builds, and what runs: what is live, what is tried, keys, figures and health.

What comes in: orders of operators. What goes out: what became of them, and figures. What it does
not do: the work (service.py and its parts).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from revisor.serve.access import CallerOf, ServiceOf
from revisor.serve.answering import Asked, Asking
from revisor.serve.metrics import Figures
from revisor.serve.openai import Facts
from revisor.serve.roles import Role, role_of
from revisor.serve.routes_facts import told
from revisor.serve.sampling import Sampling

router = APIRouter()

Number = Annotated[int, Path(ge=0, le=2**31 - 1)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewBuild(_Body):
    """Body of `POST /builds`."""

    publish: bool = True


class Publish(_Body):
    """Body of `POST /generations/{n}/publish`."""

    force: bool = False


class Rollback(_Body):
    """Body of `POST /generations/rollback`."""

    to: Annotated[int, Field(ge=0, le=2**31 - 1)]
    reason: Annotated[str, Field(max_length=2_000)] = ""


class TryOut(_Body):
    """Body of `PUT /canary`."""

    generation: Annotated[int, Field(ge=0, le=2**31 - 1)]
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    keys: Annotated[list[Name], Field(max_length=1_000)] = []


class NewKey(_Body):
    """Body of `POST /keys`."""

    name: Name
    role: str
    namespaces: Annotated[list[Name], Field(max_length=1_000)] | None = None


class Policy(_Body):
    """Body of `PUT /namespaces/{name}`."""

    needs_approval: bool


class Question(_Body):
    """Body of `POST /ask`."""

    prompt: Annotated[str, Field(min_length=1, max_length=20_000)]
    chat: bool = False
    max_tokens: Annotated[int, Field(ge=1, le=1024)] = 24
    generation: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    namespace: Name | None = None


# Generations


@router.get("/generations", tags=["generations"])
def list_generations(
    service: ServiceOf, caller: CallerOf, limit: Annotated[int, Query(ge=1, le=1000)] = 20
) -> dict[str, Any]:
    """The ledger's generations, the last one first, and which of them have a bank."""
    caller.must_be(Role.read)
    there, held = service.generations.on_disk(), service.generations.held()
    canary = service.generations.canary
    return {
        "live": service.generations.live_number,
        "canary": None if canary is None else canary.snapshot.generation,
        "built": there,
        "held": sorted(held & set(there)),
        "generations": [asdict(made) for made in service.store.ledger.log(limit)],
    }


@router.get("/generations/{start}/diff/{end}", tags=["generations"])
def diff(start: Number, end: Number, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """How the facts of one generation differ from those of another."""
    caller.must_be(Role.read)
    ledger = service.store.ledger
    put, removed = ledger.changed_since(start, upto=end)
    back, new = ledger.changed_since(end, upto=start)
    before = {fact.id: fact for fact in back if caller.sees(fact.namespace)}
    after = [fact for fact in put if caller.sees(fact.namespace)]
    return {
        "from": start,
        "to": end,
        "added": [told(fact) for fact in after if fact.id in new],
        "updated": [
            {"id": fact.id, "before": told(before[fact.id]), "after": told(fact)}
            for fact in after
            if fact.id in before
        ],
        "removed": [told(before[fact_id]) for fact_id in removed if fact_id in before],
    }


@router.post("/generations/{number}/publish", tags=["generations"])
def publish(
    number: Number, service: ServiceOf, caller: CallerOf, body: Publish | None = None
) -> dict[str, Any]:
    """Make a built generation live, at once and for every request that begins after it."""
    caller.must_be(Role.approve)
    force = body is not None and body.force
    if force:
        caller.must_be(Role.admin)
    snapshot = service.generations.publish(number, force=force)
    return {"live": snapshot.generation, "rows": len(snapshot.view.ids)}


@router.delete("/generations/{number}", tags=["generations"])
def discard(number: Number, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """Delete the bank of a generation that waits; its facts stay in the ledger."""
    service.discard(number, caller)
    return {"discarded": number}


@router.post("/generations/rollback", tags=["generations"])
def rollback(body: Rollback, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """Have the facts of an earlier generation again, as a new one; nothing is forgotten."""
    return service.rollback(body.to, caller, body.reason)


@router.get("/canary", tags=["generations"])
def canary(service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """The generation that is tried, and its figures beside those of the live one."""
    caller.must_be(Role.read)
    found = service.generations.canary
    live = service.generations.live_number
    figures = service.metrics.by_generation
    sides = {"live": live, "canary": found.snapshot.generation if found else None}
    return {
        "share": found.share if found else 0.0,
        "keys": sorted(found.keys) if found else [],
        **{
            side: None
            if number is None
            else {"generation": number, **figures.get(number, Figures()).told()}
            for side, number in sides.items()
        },
    }


@router.put("/canary", tags=["generations"])
def try_out(body: TryOut, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """Give a share of requests, or those of named keys, another generation than the live one."""
    caller.must_be(Role.admin, everywhere=True)
    service.generations.try_out(body.generation, share=body.share, keys=body.keys)
    return canary(service, caller)


@router.delete("/canary", tags=["generations"])
def stop_trying(service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """End the trial."""
    caller.must_be(Role.admin, everywhere=True)
    service.generations.stop_trying()
    return canary(service, caller)


# Builds


@router.post("/builds", status_code=202, tags=["builds"])
def build(service: ServiceOf, caller: CallerOf, body: NewBuild | None = None) -> dict[str, Any]:
    """Write the rows of what changed, in the background; then publish them unless told not to."""
    return service.build(caller, publish=body is None or body.publish).told()


@router.get("/builds", tags=["builds"])
def list_builds(service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """Builds since the server started, the last one first."""
    caller.must_be(Role.read)
    return {"builds": [build.told() for build in service.builds.latest()]}


@router.get("/builds/{number}", tags=["builds"])
def get_build(number: Number, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """One build and how far it is."""
    caller.must_be(Role.read)
    return service.builds.get(number).told()


@router.delete("/builds/{number}", tags=["builds"])
def cancel_build(number: Number, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """End a build; the next one takes up what it wrote."""
    caller.must_be(Role.approve)
    return service.builds.cancel(number).told()


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

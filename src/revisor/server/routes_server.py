"""The server itself over HTTP: keys, namespaces, explanations, figures and health."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import torch
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from revisor.facts.rules import NAMESPACE_LIMIT
from revisor.operations.explain import Explanation, as_json, explain
from revisor.server.access import CallerOf, ServiceOf
from revisor.server.answering import Asked, Asking, facts_for
from revisor.server.bodies import Body, Route
from revisor.server.generations import InForce
from revisor.server.hints import over_http
from revisor.server.openai import Facts
from revisor.server.roles import Caller, Role, role_of
from revisor.server.routes_facts import Limit, Offset, following
from revisor.server.routes_generations import OfKey as Name
from revisor.server.sampling import Sampling
from revisor.server.service import Service

router = APIRouter(route_class=Route)


class NewKey(Body):
    """Body of `POST /keys`; without `namespaces` the key is for all."""

    name: Name
    role: str
    namespaces: (
        Annotated[list[Name], Field(min_length=1, max_length=1_000, fail_fast=True)] | None
    ) = None


class Policy(Body):
    """Body of `PUT /namespaces/{name}`."""

    needs_approval: bool


class Explained(Body):
    """Body of `POST /explain`: a prompt, and which facts it is asked with.

    Attributes:
        text_only: the model is not run, and whether its logits say that an answer is due is left
            open.
    """

    prompt: Annotated[str, Field(min_length=1, max_length=20_000)]
    chat: bool = False
    generation: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    namespace: Name | None = None
    text_only: bool = False

    @property
    def facts(self) -> Facts:
        """Which facts it asks for."""
        return Facts(generation=self.generation, namespace=self.namespace)


# Keys and namespaces


@router.get("/keys", tags=["keys"])
def list_keys(
    service: ServiceOf, caller: CallerOf, limit: Limit = 50, offset: Offset = 0
) -> dict[str, Any]:
    """The keys without their secrets, the first made first."""
    caller.must_be(Role.admin, everywhere=True)
    found = service.keys.all(limit=limit + 1, offset=offset)
    return {"keys": found[:limit], "next_offset": following(found, limit, offset)}


@router.post("/keys", status_code=201, tags=["keys"])
def make_key(body: NewKey, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """A new key. Its token is in this answer and nowhere else."""
    caller.must_be(Role.admin, everywhere=True)
    token = service.keys.make(body.name, role_of(body.role), body.namespaces, actor=caller.name)
    return {"name": body.name, "token": token}


@router.delete("/keys/{name:path}", tags=["keys"])
def revoke_key(name: str, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """End a key at once."""
    caller.must_be(Role.admin, everywhere=True)
    service.keys.revoke(name, actor=caller.name)
    return {"revoked": name}


@router.get("/namespaces", tags=["keys"])
def list_policies(
    service: ServiceOf, caller: CallerOf, limit: Limit = 50, offset: Offset = 0
) -> dict[str, Any]:
    """The namespaces that were set up, and whether their changes need approval."""
    caller.must_be(Role.read)
    mine = [one for one in sorted(service.store.ledger.policies().items()) if caller.sees(one[0])]
    found = mine[offset : offset + limit + 1]
    return {
        "namespaces": [{"name": name, "needs_approval": needs} for name, needs in found[:limit]],
        "next_offset": following(found, limit, offset),
    }


@router.put("/namespaces/{name:path}", tags=["keys"])
def set_policy(
    name: Annotated[str, Path(min_length=1, max_length=NAMESPACE_LIMIT)],
    body: Policy,
    service: ServiceOf,
    caller: CallerOf,
) -> dict[str, Any]:
    """Say whether changes of facts in a namespace need approval."""
    caller.must_be(Role.admin)
    name = name.strip()  # as the namespaces of facts are
    caller.must_see(name)
    service.store.ledger.set_policy(name, needs_approval=body.needs_approval, actor=caller.name)
    return {"name": name, "needs_approval": body.needs_approval}


# What runs


@router.post("/explain", tags=["answers"])
async def explain_prompt(
    body: Explained, request: Request, service: ServiceOf, caller: CallerOf
) -> Response:
    """What is decided at the end of a prompt: names, questions, candidates with their scores,
    whether an answer is due, and which rule silenced what."""
    return await _explained(request, service, caller, body)


@router.get("/explain", tags=["answers"])
async def explain_text(
    request: Request,
    service: ServiceOf,
    caller: CallerOf,
    prompt: Annotated[str, Query(min_length=1, max_length=20_000)],
    chat: bool = False,
) -> Response:
    """The same of a prompt in the address."""
    return await _explained(request, service, caller, Explained(prompt=prompt, chat=chat))


async def _explained(
    request: Request, service: Service, caller: Caller, body: Explained
) -> Response:
    caller.must_be(Role.read)
    ids, found, told = await service.reading.run(caller.owner, _decided, service, caller, body)
    probe, seen = found.gate.probe, list[torch.Tensor]()
    if probe is not None and not body.text_only:
        asked = Asked(
            prompts=[ids],
            sampling=Sampling(temperature=0),
            max_tokens=1,
            stops=(),
            choices=1,
            facts=Facts(facts=False),
            look=lambda logits_V: seen.append(logits_V.clone()),
        )
        asking = await Asking.begin(service, asked, caller, "explain")
        await asking.whole(request.is_disconnected)
        told = replace(told, is_due=bool(probe.is_due(seen[0][None])[0]))
    shown = as_json(told) | {"generation": found.generation}
    if shown["helps"]:
        shown["helps"] = over_http(shown["helps"])
    return JSONResponse(shown)


def _ids(service: Service, body: Explained) -> list[int]:
    if body.chat:
        return service.prompts.of_chat([{"role": "user", "content": body.prompt}])
    return service.prompts.of_text(body.prompt)


def _decided(
    service: Service, caller: Caller, body: Explained
) -> tuple[list[int], InForce, Explanation]:
    """The tokens of a prompt, its facts, and what they decide without the model."""
    ids, found = _ids(service, body), facts_for(service, body.facts, caller)
    return ids, found, explain(found.gate, body.prompt, chat=body.chat)


@router.get("/why/{answer_id:path}", tags=["answers"])
def why(answer_id: str, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """The facts used in an answer, by its id."""
    caller.must_be(Role.read)
    return service.hit_log.get(answer_id, caller)


@router.get("/figures", tags=["server"])
def figures(service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """The server's state in numbers, for people; /metrics has them all. A key of some namespaces
    is told of its own facts, and of no others' traffic."""
    caller.must_be(Role.read)
    ok, health = service.health()
    view = service.store.index.view(namespaces=caller.namespaces)
    told = {
        "healthy": ok,
        "model": service.name,
        "live": view.generation,
        "newest": service.store.ledger.generation,
        "facts": len(view),
        "queue": None,
        "running": None,
        "role": caller.role.name,
        "faults": [],
        "generations": {},
    }
    if caller.namespaces is None:
        told["queue"], told["running"] = service.scheduler.waiting, service.scheduler.running
        told["faults"] = health["faults"]
        told["facts_used"] = service.metrics.distinct_used
        told["generations"] = {
            str(number): found.told() for number, found in service.metrics.by_generation.items()
        }
    return told


@router.get("/metrics", tags=["server"])
async def metrics(service: ServiceOf, caller: CallerOf) -> Response:
    """All figures, as Prometheus reads them; they are of all namespaces."""
    caller.must_be(Role.read, everywhere=True)
    text = await run_in_threadpool(service.metrics.text)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/healthz", tags=["server"])
async def healthz(service: ServiceOf) -> Response:
    """200 if the model, the ledger and its facts are well, else 503. Open to all: faults are named
    only to a server without keys; others find them under /figures and in the log."""
    ok, told = service.health()
    if not service.is_open:
        told = {"status": told["status"]}
    return JSONResponse(told, status_code=200 if ok else 503)

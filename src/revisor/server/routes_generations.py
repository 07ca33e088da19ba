"""Generations over HTTP: what changed, what is live, what is tried."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import Field

from revisor.facts.changes import Difference
from revisor.server.access import CallerOf, ServiceOf
from revisor.server.bodies import Body, Route
from revisor.server.metrics import Figures
from revisor.server.roles import Role
from revisor.server.routes_facts import Limit, Offset, Reason, following, told

router = APIRouter(tags=["generations"], route_class=Route)

Number = Annotated[int, Path(ge=0, le=2**31 - 1)]
OfKey = Annotated[str, Field(min_length=1, max_length=200)]
# What a key of some namespaces may not know of a generation: it may be about others' facts.
PRIVATE = ("actor", "reason", "added", "updated", "removed", "unchanged", "live")


class Publish(Body):
    """Body of `POST /generations/{n}/publish`."""

    force: bool = False
    reason: Reason = ""


class Rollback(Body):
    """Body of `POST /generations/rollback`."""

    to: Annotated[int, Field(ge=0, le=2**31 - 1)]
    reason: Reason = ""


class TryOut(Body):
    """Body of `PUT /canary`."""

    generation: Annotated[int, Field(ge=0, le=2**31 - 1)]
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    keys: Annotated[list[OfKey], Field(max_length=1_000, fail_fast=True)] = []


@router.get("/generations")
def list_generations(
    service: ServiceOf, caller: CallerOf, limit: Limit = 20, offset: Offset = 0
) -> dict[str, Any]:
    """The ledger's generations, the last one first. Who made them and why is for keys of all
    namespaces."""
    caller.must_be(Role.read)
    ledger, canary = service.store.ledger, service.generations.canary
    hidden = dict.fromkeys(() if caller.namespaces is None else PRIVATE)
    found = ledger.log(limit + 1, offset=offset)
    return {
        "live": ledger.live_generation(),
        "pinned": ledger.pinned() is not None,
        "newest": ledger.generation,
        "canary": None if canary is None else canary.generation,
        "generations": [asdict(made) | hidden for made in found[:limit]],
        "next_offset": following(found, limit, offset),
    }


@router.get("/generations/{start}/diff/{end}")
def diff(
    start: Number,
    end: Number,
    service: ServiceOf,
    caller: CallerOf,
    limit: Limit = 50,
    offset: Offset = 0,
) -> dict[str, Any]:
    """How the facts of one generation differ from those of another: a page of those that do."""
    caller.must_be(Role.read)
    found = service.store.ledger.diff(
        start, end, namespaces=caller.namespaces, limit=limit + 1, offset=offset
    ).pairs
    page = Difference(pairs=found[:limit])
    return {
        "from": start,
        "to": end,
        "added": list(map(told, page.added)),
        "updated": [
            {"id": after.id, "before": told(before), "after": told(after)}
            for before, after in page.updated
        ],
        "removed": list(map(told, page.removed)),
        "next_offset": following(found, limit, offset),
    }


@router.post("/generations/{number}/publish")
def publish(
    number: Number, service: ServiceOf, caller: CallerOf, body: Publish | None = None
) -> dict[str, Any]:
    """Make a generation live, for every request that begins after it and on every server of the
    store. The newest is followed from then on; an older one stays."""
    wanted = body or Publish()
    caller.must_be(Role.admin if wanted.force else Role.approve, everywhere=True)
    service.generations.publish(number, actor=caller.name, reason=wanted.reason, force=wanted.force)
    ledger = service.store.ledger
    return {"live": ledger.live_generation(), "pinned": ledger.pinned() is not None}


@router.post("/generations/rollback")
def rollback(body: Rollback, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """Have the facts of an earlier generation again, as a new one; nothing is forgotten."""
    caller.must_be(Role.admin, everywhere=True)
    return service.generations.rollback(body.to, actor=caller.name, reason=body.reason)


@router.get("/canary")
def canary(service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """The generation that is tried, and its figures beside those of the live one."""
    caller.must_be(Role.read, everywhere=True)
    found, live = service.generations.canary, service.generations.live
    figures = service.metrics.by_generation
    sides = {"live": live, "canary": None if found is None else found.generation}
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


@router.put("/canary")
def try_out(body: TryOut, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """Give a share of requests, or those of named keys, another generation than the live one."""
    caller.must_be(Role.admin, everywhere=True)
    service.keys.must_stand(body.keys)
    service.generations.try_out(
        body.generation, share=body.share, keys=body.keys, actor=caller.name
    )
    return canary(service, caller)


@router.delete("/canary")
def stop_trying(service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """End the trial."""
    caller.must_be(Role.admin, everywhere=True)
    service.generations.stop_trying(actor=caller.name)
    return canary(service, caller)

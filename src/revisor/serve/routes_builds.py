"""Generations and builds over HTTP: what there is, what is live, what is tried.

What comes in: orders of operators. What goes out: what became of them. What it does not do: the
work (live.py and jobs.py do).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from revisor.serve.access import CallerOf, ServiceOf
from revisor.serve.metrics import Figures
from revisor.serve.roles import Role
from revisor.serve.routes_facts import told

router = APIRouter()

Number = Annotated[int, Path(ge=0, le=2**31 - 1)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class Body(BaseModel):
    """A body of which every field is known."""

    model_config = ConfigDict(extra="forbid")


class NewBuild(Body):
    """Body of `POST /builds`."""

    publish: bool = True


class Publish(Body):
    """Body of `POST /generations/{n}/publish`."""

    force: bool = False


class Rollback(Body):
    """Body of `POST /generations/rollback`."""

    to: Annotated[int, Field(ge=0, le=2**31 - 1)]
    reason: Annotated[str, Field(max_length=2_000)] = ""


class TryOut(Body):
    """Body of `PUT /canary`."""

    generation: Annotated[int, Field(ge=0, le=2**31 - 1)]
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    keys: Annotated[list[Name], Field(max_length=1_000)] = []


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

"""The ledger over HTTP: facts, their history, checks and proposals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from revisor.errors import BadInput, Fault, NotFound
from revisor.facts.changes import Put, Remove
from revisor.facts.check import conflicts_between, expired, same_subject
from revisor.facts.fact import Fact, with_reverses
from revisor.facts.forms import fact_from, follows
from revisor.operations.asking import as_json, ask_facts
from revisor.server.access import CallerOf, ServiceOf
from revisor.server.proposals import Outcome
from revisor.server.roles import Caller, Role
from revisor.server.service import Service

router = APIRouter(tags=["facts"])

MOST = 1_000  # facts in one request
PROPOSED = 202

Name = Annotated[str, Query(min_length=1, max_length=200)]
Number = Annotated[int, Field(ge=0, le=2**31 - 1)]
Limit = Annotated[int, Query(ge=1, le=MOST)]
Offset = Annotated[int, Query(ge=0, le=10**9)]
# PostgreSQL keeps no NUL.
Reason = Annotated[str, Field(max_length=2_000, pattern=r"^[^\x00]*$")]


class NewFacts(BaseModel):
    """Body of `POST /facts` and `POST /check`."""

    model_config = ConfigDict(extra="forbid")

    facts: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST)]
    reason: Reason = ""
    expected_generation: Number | None = None


class ChangedFact(BaseModel):
    """Body of `PATCH /facts/{id}`: the fields to change; `revisor set` changes `object`."""

    model_config = ConfigDict(extra="forbid")

    object: str | None = None
    paraphrases: list[str] | None = None
    aliases: list[str] | None = None
    reverse: str | None = None
    source: str | None = None
    valid_from: str | None = None
    valid_to: str | None = None
    reason: Reason = ""
    expected_generation: Number | None = None


@router.get("/facts")
def list_facts(
    service: ServiceOf,
    caller: CallerOf,
    search: Annotated[str, Query(max_length=500)] = "",
    namespace: Name | None = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> dict[str, Any]:
    """Live facts in the order in which they were added; `next_offset` is null on the last page."""
    caller.must_be(Role.read)
    if namespace is not None:
        caller.must_see(namespace)
    found = _facts(service, caller, namespace, search or None, limit + 1, offset)
    more = len(found) > limit
    return {
        "facts": [told(fact) for fact in found[:limit]],
        "next_offset": offset + limit if more else None,
        "generation": service.store.ledger.generation,
        "live_generation": service.generations.live,
    }


def _facts(
    service: Service,
    caller: Caller,
    namespace: str | None,
    search: str | None,
    limit: int,
    offset: int,
) -> list[Fact]:
    ledger = service.store.ledger
    if namespace is not None or caller.namespaces is None:
        return list(ledger.facts(namespace=namespace, search=search, limit=limit, offset=offset))

    def mine() -> Iterator[Fact]:
        for name in sorted(caller.namespaces or ()):
            yield from ledger.facts(namespace=name, search=search)

    return list(islice(mine(), offset, offset + limit))


@router.post("/facts", status_code=201)
def add_facts(
    body: NewFacts, service: ServiceOf, caller: CallerOf, response: Response
) -> dict[str, Any]:
    """Add facts, or give those that are there new values: all of them or none.

    202 and the ids of proposals where a namespace asks for approval.
    """
    facts = _read(body.facts)
    outcome = service.desk.change(
        [Put(fact) for fact in facts],
        caller,
        body.reason,
        expected_generation=body.expected_generation,
    )
    return {"ids": [fact.id for fact in facts]} | _outcome(outcome, response)


@router.get("/facts/{fact_id:path}/history")
def history(fact_id: str, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """Every value the fact ever had: who gave it, when and why."""
    caller.must_be(Role.read)
    with _telling_nothing_of_others(caller, fact_id):
        revisions = service.store.ledger.history(fact_id)
        if not all(caller.sees(revision.fact.namespace) for revision in revisions):
            raise NotFound("It is of another namespace.")
    return {
        "history": [
            {**asdict(revision), "fact": told(revision.fact), "state": revision.state}
            for revision in revisions
        ]
    }


@router.get("/facts/{fact_id:path}")
def get_fact(fact_id: str, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """One live fact, by its id or a beginning of it that is unique."""
    caller.must_be(Role.read)
    return told(_mine(service, caller, fact_id))


@router.patch("/facts/{fact_id:path}")
def change_fact(
    fact_id: str, body: ChangedFact, service: ServiceOf, caller: CallerOf, response: Response
) -> dict[str, Any]:
    """Change a fact: a new revision of it. 202 and a proposal where approval is asked for."""
    caller.must_be(Role.propose)
    old = _mine(service, caller, fact_id)
    wanted = body.model_dump(exclude_unset=True, exclude={"reason", "expected_generation"})
    if not wanted:
        raise BadInput("Nothing to change is named.", "Give an object, for example.")
    new = _checked(replace(old, **{k: _tupled(v) for k, v in wanted.items()}))
    outcome = service.desk.change(
        [Put(new)], caller, body.reason, expected_generation=body.expected_generation
    )
    return {"fact": told(new)} | _outcome(outcome, response)


@router.delete("/facts/{fact_id:path}")
def remove_fact(
    fact_id: str,
    service: ServiceOf,
    caller: CallerOf,
    response: Response,
    reason: Annotated[str, Query(max_length=2_000)] = "",
) -> dict[str, Any]:
    """End a fact; its history stays. 202 and a proposal where approval is asked for."""
    caller.must_be(Role.propose)
    old = _mine(service, caller, fact_id)
    return _outcome(service.desk.change([Remove(old.id)], caller, reason), response)


@router.post("/check")
def check(body: NewFacts, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """Hold facts against one another and against the live ones; nothing is written."""
    caller.must_be(Role.read)
    facts = _read(body.facts)
    for fact in facts:
        caller.must_see(fact.namespace)
    found = conflicts_between(with_reverses(facts), service.store.ledger)
    return {
        "ids": [fact.id for fact in facts],
        "conflicts": [
            {
                "kind": conflict.kind,
                "fact": told(conflict.fact),
                "other": told(conflict.other),
                "in_ledger": conflict.in_ledger,
            }
            for conflict in found
            if caller.sees(conflict.other.namespace)
        ],
        "same_subject": [
            [fact.id for fact in group] for group in same_subject(facts).values() if len(group) > 1
        ],
    }


@router.get("/check")
def check_ledger(service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """What is worth knowing of the live facts: those that no longer hold, and those that do not
    answer their own prompts or paraphrases (of the first thousand)."""
    caller.must_be(Role.read)
    live, now = service.generations.live, service.store.workspace.clock()
    found = service.generations.choose(caller.name, live, caller.namespaces)
    timed = service.store.ledger.timed(generation=live)
    ended = expired((fact for fact in timed if caller.sees(fact.namespace)), now)
    first = (fact for fact in _facts(service, caller, None, None, MOST, 0) if fact.valid_at(now))
    return {
        "facts": len(found.view),
        "expired": [told(fact) for fact in ended[:MOST]],
        **as_json(ask_facts(found.gate, first, quiet=True)),
    }


@router.get("/proposals")
def list_proposals(
    service: ServiceOf,
    caller: CallerOf,
    state: Annotated[str, Query(pattern="^(open|approved|rejected|all)$")] = "open",
    limit: Limit = 50,
    offset: Offset = 0,
) -> dict[str, Any]:
    """Proposed changes, the oldest first."""
    caller.must_be(Role.read)
    wanted = None if state == "all" else state
    found = service.desk.proposals(caller, state=wanted, limit=limit + 1, offset=offset)
    return {
        "proposals": found[:limit],
        "next_offset": offset + limit if len(found) > limit else None,
    }


@router.post("/proposals/{proposal_id}/approve")
def approve(
    proposal_id: int, service: ServiceOf, caller: CallerOf, response: Response
) -> dict[str, Any]:
    """Make a proposed change. Not one's own."""
    outcome = service.desk.approve(_id(proposal_id), caller)
    return _outcome(outcome, response)


@router.delete("/proposals/{proposal_id}")
def erase_proposal(proposal_id: int, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """Leave no byte of a proposal, decided or not: one's own, or any for an admin of all."""
    service.desk.erase(_id(proposal_id), caller)
    return {"erased": proposal_id}


@router.post("/proposals/{proposal_id}/reject")
def reject(proposal_id: int, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """Decide against a proposal, or take one's own back."""
    service.desk.reject(_id(proposal_id), caller)
    return {"rejected": proposal_id}


def told(fact: Fact) -> dict[str, Any]:
    """A fact as JSON: all its fields, and its text."""
    return asdict(fact) | {"text": fact.text}


def _id(number: int) -> int:
    if not 0 < number < 2**31:
        raise NotFound(f"There is no proposal {number}.", "GET /proposals lists them.")
    return number


def _mine(service: Service, caller: Caller, fact_id: str) -> Fact:
    with _telling_nothing_of_others(caller, fact_id):
        found = service.store.ledger.get(fact_id)
        if not caller.sees(found.namespace):
            raise NotFound("It is of another namespace.")
    return found


@contextmanager
def _telling_nothing_of_others(caller: Caller, fact_id: str) -> Iterator[None]:
    """To a key of some namespaces a fact of others is as one that never was, and so is what the
    ledger would say of ids that are near, or of who removed it."""
    try:
        yield
    except NotFound:
        if caller.namespaces is None:
            raise
        raise NotFound(f"There is no fact {fact_id!r}.", "GET /facts lists them.") from None


def _read(records: list[dict[str, Any]]) -> list[Fact]:
    """The facts, or every fault of every one; `line` counts them from 1."""
    facts: list[Fact] = []
    faults: list[Fault] = []
    for line, record in enumerate(records, start=1):
        if follows(record):  # it comes with the fact that declares it
            continue
        found = fact_from(record, line=line)
        if isinstance(found, Fact):
            facts.append(found)
        else:
            faults += found
    if faults:
        raise BadInput(f"{len(faults)} fault(s); nothing was written.", "Mend them all.", faults)
    return facts


def _checked(fact: Fact) -> Fact:
    """The fact, read again as a record would be, so that a change is checked as an import is."""
    record: Mapping[str, Any] = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(fact).items()
        if value not in (None, "", ()) and key != "reverse_of"
    }
    return _read([{"object": "", **record}])[0]


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _outcome(outcome: Outcome, response: Response) -> dict[str, Any]:
    made = outcome.generation
    if outcome.proposed:
        response.status_code = PROPOSED
    result: dict[str, Any] = {"proposals": list(outcome.proposed)}
    if made is not None:
        counts = ("added", "updated", "removed", "unchanged")
        result |= {"generation": made.number} | {name: getattr(made, name) for name in counts}
    return result

"""The ledger over HTTP: facts, their history, checks and proposals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from revisor.errors import BadInput, Fault, NotFound
from revisor.facts.changes import Change, Put, Remove
from revisor.facts.check import conflicts_between, expired, same_subject
from revisor.facts.fact import Fact, with_reverses
from revisor.facts.forms import fact_from, follows
from revisor.facts.ledger import Ledger
from revisor.facts.rules import LIST_LIMIT, NAMESPACE_LIMIT
from revisor.operations.asking import ask_facts
from revisor.server.access import CallerOf, ServiceOf
from revisor.server.answering import while_there
from revisor.server.bodies import Body, Record, Route
from revisor.server.proposals import REASON_LIMIT, Outcome
from revisor.server.roles import Caller, Role
from revisor.server.service import Service

router = APIRouter(tags=["facts"], route_class=Route)

MOST = 1_000  # facts in one request, and wordings that are asked by one
MOST_PAIRS = 20_000  # of a name and a wording in one request: each is looked up
MOST_KEYS = 100  # different ones: each that is unknown is compared with those that are known
PROPOSED = 202

Name = Annotated[str, Query(min_length=1, max_length=NAMESPACE_LIMIT)]
Number = Annotated[int, Field(ge=0, le=2**31 - 1)]
Limit = Annotated[int, Query(ge=1, le=MOST)]
Offset = Annotated[int, Query(ge=0, le=10**9)]
NO_NUL = r"^[^\x00]*$"  # PostgreSQL keeps none
Texts = Annotated[list[str], Field(max_length=LIST_LIMIT, fail_fast=True)]
Reason = Annotated[str, Field(max_length=REASON_LIMIT, pattern=NO_NUL)]


class NewFacts(Body):
    """Body of `POST /facts` and `POST /check`."""

    facts: Annotated[list[Record], Field(min_length=1, max_length=MOST, fail_fast=True)]
    reason: Reason = ""
    expected_generation: Number | None = None


class ChangedFact(Body):
    """Body of `PATCH /facts/{id}`: the fields to change."""

    object: str | None = None
    paraphrases: Texts | None = None
    aliases: Texts | None = None
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
    """Live facts in the order in which they were added, and the generation that they are of;
    `next_offset` is null on the last page."""
    caller.must_be(Role.read)
    namespaces = caller.namespaces
    if namespace is not None:
        caller.must_see(namespace)
        namespaces = frozenset({namespace})
    ledger = service.store.ledger
    generation = ledger.generation  # first: a change made for it was made for these facts
    found = list(
        ledger.facts(
            generation=generation,
            namespaces=namespaces,
            search=search or None,
            limit=limit + 1,
            offset=offset,
        )
    )
    return {
        "facts": [told(fact) for fact in found[:limit]],
        "next_offset": following(found, limit, offset),
        "generation": generation,
        "live_generation": service.generations.live,
    }


@router.post("/facts", status_code=201)
async def add_facts(
    body: NewFacts, service: ServiceOf, caller: CallerOf, response: Response
) -> dict[str, Any]:
    """Add facts, or give those that are there new values: all of them or none.

    202 and the ids of proposals where a namespace asks for approval.
    """
    return await service.writing.run(caller.owner, _add, body, service, caller, response)


def _add(body: NewFacts, service: Service, caller: Caller, response: Response) -> dict[str, Any]:
    facts = _read(body.facts)
    outcome = service.desk.change(
        [Put(fact) for fact in facts],
        caller,
        body.reason,
        expected_generation=body.expected_generation,
    )
    return {"ids": [fact.id for fact in facts]} | _outcome(outcome, response)


@router.get("/facts/{fact_id:path}/history")
def history(
    fact_id: str, service: ServiceOf, caller: CallerOf, limit: Limit = 50, offset: Offset = 0
) -> dict[str, Any]:
    """The values that the fact had, the first one first: who gave it, when and why."""
    caller.must_be(Role.read)
    revisions = service.store.ledger.history(
        fact_id, namespaces=caller.namespaces, limit=limit + 1, offset=offset
    )
    return {
        "history": [
            {**asdict(revision), "fact": told(revision.fact), "state": revision.state}
            for revision in revisions[:limit]
        ],
        "next_offset": following(revisions, limit, offset),
    }


@router.get("/facts/{fact_id:path}")
def get_fact(fact_id: str, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """One live fact, by its id or a beginning of it that is unique, and the generation that it is
    of."""
    caller.must_be(Role.read)
    ledger = service.store.ledger
    generation = ledger.generation  # first, as in `list_facts`
    return told(ledger.get(fact_id, namespaces=caller.namespaces)) | {"generation": generation}


@router.patch("/facts/{fact_id:path}")
async def change_fact(
    fact_id: str, body: ChangedFact, service: ServiceOf, caller: CallerOf, response: Response
) -> dict[str, Any]:
    """Change a fact, by its whole id: a new revision of it. 202 and a proposal where approval is
    asked for."""
    caller.must_be(Role.propose)
    run = service.writing.run
    return await run(caller.owner, _change, fact_id, body, service, caller, response)


def _change(
    fact_id: str, body: ChangedFact, service: Service, caller: Caller, response: Response
) -> dict[str, Any]:
    wanted = body.model_dump(exclude_unset=True, exclude={"reason", "expected_generation"})
    if not wanted:
        raise BadInput("Nothing to change is named.", "Give an object, for example.")
    made: list[Fact] = []

    def changed(ledger: Ledger) -> list[Change]:
        made.append(_checked(replace(_named(ledger, fact_id, caller), **wanted)))
        return [Put(made[0])]

    outcome = service.desk.change(
        changed, caller, body.reason, expected_generation=body.expected_generation
    )
    return {"fact": told(made[0])} | _outcome(outcome, response)


@router.delete("/facts/{fact_id:path}")
async def remove_fact(
    fact_id: str,
    service: ServiceOf,
    caller: CallerOf,
    response: Response,
    reason: Annotated[str, Query(max_length=REASON_LIMIT, pattern=NO_NUL)] = "",
    expected_generation: Annotated[int | None, Query(ge=0, le=2**31 - 1)] = None,
) -> dict[str, Any]:
    """End a fact, by its whole id; its history stays. 202 and a proposal where approval is asked
    for."""
    caller.must_be(Role.propose)

    def ended(ledger: Ledger) -> list[Change]:
        return [Remove(_named(ledger, fact_id, caller).id)]

    def removed() -> Outcome:
        return service.desk.change(ended, caller, reason, expected_generation=expected_generation)

    return _outcome(await service.writing.run(caller.owner, removed), response)


def _named(ledger: Ledger, fact_id: str, caller: Caller) -> Fact:
    """The live fact of a whole id: a change that is sent twice must not reach another fact."""
    fact = ledger.get(fact_id, namespaces=caller.namespaces)
    if fact.id != fact_id:
        raise NotFound(f"There is no fact {fact_id!r}.", f"Did you mean {fact.id}?")
    return fact


@router.post("/check")
async def check(body: NewFacts, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """Hold facts against one another and against the live ones; nothing is written."""
    caller.must_be(Role.read)
    return await service.checking.run(caller.owner, _check, body, service, caller)


def _check(body: NewFacts, service: Service, caller: Caller) -> dict[str, Any]:
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
async def check_ledger(request: Request, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """What is worth knowing of the live facts: those that no longer hold, and those that do not
    answer their own prompts or paraphrases (of the first thousand of these)."""
    caller.must_be(Role.read)
    async with while_there(request) as is_there:
        run = service.checking.run
        return await run(caller.owner, _check_ledger, service, caller, is_there)


def _check_ledger(service: Service, caller: Caller, is_there: Callable[[], bool]) -> dict[str, Any]:
    live, now = service.generations.live, service.store.workspace.clock()
    found = service.generations.choose(caller.name, live, caller.namespaces)
    timed = service.store.ledger.timed(generation=live)
    ended = expired((fact for fact in timed if caller.sees(fact.namespace)), now)
    first = service.store.ledger.facts(
        at=now, generation=live, namespaces=caller.namespaces, limit=MOST
    )
    return {
        "facts": len(found.view),
        "expired": [told(fact) for fact in ended[:MOST]],
        **asdict(ask_facts(found.gate, _first_wordings(first, is_there), quiet=True)),
    }


def _first_wordings(facts: Iterable[Fact], is_there: Callable[[], bool]) -> Iterator[Fact]:
    """Facts with `MOST` wordings at most, as long as somebody wants them."""
    left = MOST
    for fact in facts:
        left -= 1 + len(fact.paraphrases)
        if left < 0 or not is_there():
            return
        yield fact


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
    return {"proposals": found[:limit], "next_offset": following(found, limit, offset)}


@router.post("/proposals/{proposal_id}/approve")
async def approve(
    proposal_id: int, service: ServiceOf, caller: CallerOf, response: Response
) -> dict[str, Any]:
    """Make a proposed change. Not one's own."""
    run = service.writing.run
    outcome = await run(caller.owner, service.desk.approve, proposal_id, caller)
    return _outcome(outcome, response)


@router.delete("/proposals/{proposal_id}")
async def erase_proposal(proposal_id: int, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """Leave no byte of a proposal, decided or not: one's own, or any for an admin of all."""
    await service.writing.run(caller.owner, service.desk.erase, proposal_id, caller)
    return {"erased": proposal_id}


@router.post("/proposals/{proposal_id}/reject")
async def reject(proposal_id: int, service: ServiceOf, caller: CallerOf) -> dict[str, Any]:
    """Decide against a proposal, or take one's own back."""
    await service.writing.run(caller.owner, service.desk.reject, proposal_id, caller)
    return {"rejected": proposal_id}


def told(fact: Fact) -> dict[str, Any]:
    """A fact as JSON: all its fields, and its text."""
    return asdict(fact) | {"text": fact.text}


def following(found: Sequence[object], limit: int, offset: int) -> int | None:
    """Where the next page of a list begins; None on the last one.

    Args:
        found: a page, of which one more than `limit` was asked for.
    """
    return offset + limit if len(found) > limit else None


def _read(records: list[dict[str, Any]]) -> list[Fact]:
    """The facts, or every fault of every one; `line` counts them from 1."""
    keys = len(set().union(*records))
    if keys > MOST_KEYS:
        raise BadInput(
            f"The facts have {keys:,} different keys; at most {MOST_KEYS} are read.",
            "Leave out what no fact has.",
        )
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
    pairs = sum((1 + len(fact.aliases)) * (1 + len(fact.paraphrases)) for fact in facts)
    if pairs > MOST_PAIRS:
        told = f"the facts have {pairs:,} pairs of a name and a wording"
        faults.append(Fault(told, f"at most {MOST_PAIRS:,} in one request"))
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


def _outcome(outcome: Outcome, response: Response) -> dict[str, Any]:
    made = outcome.generation
    if outcome.proposed:
        response.status_code = PROPOSED
    result: dict[str, Any] = {"proposals": list(outcome.proposed)}
    if made is not None:
        counts = ("added", "updated", "removed", "unchanged")
        result |= {"generation": made.number} | {name: getattr(made, name) for name in counts}
    return result

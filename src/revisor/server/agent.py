"""What an agent may do with a store: ask, find out why, search, propose.

What comes in: a store, who the agent speaks for, and the agent's questions. What goes out: plain
dicts. What it does not do: speak a protocol (mcp.py), or change a fact; a proposal waits for
somebody else's approval.

Answers are those of the newest build that is not held back, also while the agent is at work.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from revisor.errors import BadInput, NotBuilt, NotFound, UsageError
from revisor.facts.changes import Put
from revisor.facts.fact import Fact
from revisor.facts.forms import fact_from
from revisor.facts.lines import fact_line
from revisor.neuraldb.bank.files import generation_folder, generations
from revisor.neuraldb.bank.leases import Lease
from revisor.neuraldb.bank.manifest import MANIFEST
from revisor.serve.engine import Answer, Engine
from revisor.serve.proposals import ChangeDesk
from revisor.serve.roles import Caller, KeyBook, Role
from revisor.serve.snapshot import Snapshot, open_snapshot
from revisor.serve.tables import Database
from revisor.store import Store

LONGEST_ANSWER = 256  # tokens
LARGEST_PAGE = 50  # facts


class Agent:
    """The tools of one agent; close it, or use it as a context manager.

    Args:
        store: whose facts.
        database: with the server's tables.
        caller: whom the agent speaks for; never more than the role `propose`.
    """

    def __init__(self, store: Store, database: Database, caller: Caller) -> None:
        caller.must_be(Role.read)
        self.caller = replace(caller, role=min(caller.role, Role.propose))
        self._store, self._database = store, database
        self._desk = ChangeDesk(database, store.ledger)
        self._model = threading.Lock()  # one question at a time
        self._snapshot: Snapshot | None = None
        self._lease: Lease | None = None

    @classmethod
    def of(cls, store: Store, *, user: str, token: str | None = None) -> Agent:
        """An agent of a user of this machine, or of an API key.

        Raises:
            Unauthorized: the key is not known, or was revoked.
        """
        database = Database.of(store)
        try:
            caller = (
                KeyBook(database).who(token)
                if token
                else Caller(name=f"agent of {user}", role=Role.propose)
            )
            return cls(store, database, caller)
        except BaseException:
            database.close()
            raise

    def close(self) -> None:
        if self._lease is not None:
            self._lease.close()
        self._database.close()

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, prompt: str, *, max_tokens: int = 24, chat: bool = False) -> dict[str, Any]:
        """Have the model continue a text, or answer a question, with the facts.

        Returns:
            `answer`, `facts_used` as of `revisor ask --json`, `generation`.

        Raises:
            UsageError: an empty prompt, or one that does not fit.
            NotBuilt: there is no build.
        """
        with self._model:
            engine = self._engine()
            return self._told(engine, self._answer(engine, prompt, max_tokens, chat, facts=True))

    def why(self, prompt: str, *, max_tokens: int = 24, chat: bool = False) -> dict[str, Any]:
        """As `ask`, and what the model says without facts, and where each fact used is from.

        Returns:
            The keys of `ask`, `base_answer`, and in each fact used also `source` and `history`.
        """
        with self._model:
            engine = self._engine()
            told = self._told(engine, self._answer(engine, prompt, max_tokens, chat, facts=True))
            base = self._answer(engine, prompt, max_tokens, chat, facts=False)
        for used in told["facts_used"]:
            revisions = self._store.ledger.history(used["id"])
            used["source"] = revisions[-1].fact.source
            used["history"] = [
                {
                    "kind": one.kind,
                    "object": one.fact.object,
                    "actor": one.actor,
                    "reason": one.reason,
                    "at": one.at,
                }
                for one in revisions
            ]
        return told | {"base_answer": base.answer}

    def search(self, text: str = "", *, limit: int = 10, offset: int = 0) -> dict[str, Any]:
        """Live facts with a text in them, in any case; all for no text.

        Returns:
            `facts` as lines of a fact file, and `more`, whether there are more.
        """
        if not 1 <= limit <= LARGEST_PAGE or offset < 0:
            raise UsageError(f"limit is 1 to {LARGEST_PAGE}, offset 0 or more.")
        spaces = self.caller.namespaces
        names: Sequence[str | None] = [None] if spaces is None else sorted(spaces)
        found: list[Fact] = []
        for name in names:
            found += self._store.ledger.facts(
                namespace=name, search=text or None, limit=limit + 1 + offset
            )
        page = found[offset : offset + limit]
        return {
            "facts": [fact_line(fact) for fact in page],
            "more": len(found) > offset + limit,
        }

    def propose(self, record: dict[str, Any], *, reason: str = "") -> dict[str, Any]:
        """Propose a fact; it is not live until somebody else approves it and builds.

        Args:
            record: as a line of a fact file.

        Returns:
            `proposal`, its number; `fact`, as it was read.

        Raises:
            BadInput: it is no fact; all faults are listed.
            Conflict: it contradicts a live fact.
            Forbidden: the agent's key may only read, or has no part in the namespace.
        """
        found = fact_from({key: value for key, value in record.items() if value}, line=1)
        if not isinstance(found, Fact):
            faults = "; ".join(one.fault for one in found)
            raise BadInput(f"That is no fact: {faults}.", "Nothing was proposed.", found)
        outcome = self._desk.change([Put(found)], self.caller, reason, propose_all=True)
        return {"proposal": outcome.proposed[0], "fact": fact_line(found), "state": "open"}

    def _engine(self) -> Engine:
        """An engine on the newest build, with the facts that the caller may see."""
        held = set(self._database.recall("held") or ())
        ready = [number for number in generations(self._store.banks) if number not in held]
        if not ready:
            raise NotBuilt("This store has no build to ask.", "Run: revisor build")
        if self._snapshot is None or self._snapshot.generation != ready[-1]:
            folder = generation_folder(self._store.banks, ready[-1])
            try:
                lease = Lease(folder / MANIFEST)
            except FileNotFoundError as error:
                raise NotFound("The build was replaced at this moment.", "Try again.") from error
            if self._lease is not None:
                self._lease.close()
            self._lease = lease
            self._snapshot = open_snapshot(self._store, ready[-1])
        self._snapshot = self._snapshot.at(datetime.now(UTC))
        return Engine(
            self._store.loaded,
            self._store.spec,
            self._store.settings.layer,
            self._snapshot.view_for(self.caller.namespaces),
            self._snapshot.facts_of,
        )

    def _answer(
        self, engine: Engine, prompt: str, max_tokens: int, chat: bool, *, facts: bool
    ) -> Answer:
        if not 1 <= max_tokens <= LONGEST_ANSWER:
            raise UsageError(f"max_tokens is {max_tokens}.", f"1 to {LONGEST_ANSWER}.")
        model: Any = engine.loaded.model
        room = getattr(model.config, "max_position_embeddings", None)
        length = len(engine.loaded.tokenizer(prompt)["input_ids"])
        if room is not None and length + max_tokens > room:
            raise UsageError(
                f"The prompt has {length} tokens and the answer {max_tokens}; "
                f"the model has room for {room}.",
                "Ask something shorter.",
            )
        return engine.generate([prompt], max_tokens=max_tokens, facts=facts, chat=chat)[0]

    def _told(self, engine: Engine, answer: Answer) -> dict[str, Any]:
        return {
            "answer": answer.answer,
            "facts_used": [asdict(used) for used in answer.facts_used],
            "generation": engine.view.generation,
        }

"""What an agent may do with a store: ask, find out why, search, propose.

A proposal changes nothing until somebody else approves it.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import cached_property
from typing import Any

from revisor.errors import BadInput, RevisorError, UsageError
from revisor.facts.changes import Put
from revisor.facts.fact import Fact
from revisor.facts.forms import fact_from
from revisor.facts.lines import fact_line
from revisor.facts.rules import text_fault
from revisor.server.batching import Scheduler
from revisor.server.generations import Generations
from revisor.server.job import Awaited
from revisor.server.prompts import Prompts
from revisor.server.proposals import REASON_LIMIT, ChangeDesk
from revisor.server.roles import Caller, KeyBook, Role
from revisor.server.tables import Database
from revisor.store import Store

LONGEST_ANSWER = 256  # tokens
LARGEST_PAGE = 50  # facts
PATIENCE_S = 600.0


class NoAnswer(RevisorError):
    """The model failed, or took too long."""


class Agent:
    """The tools of one agent; close it, or use it as a context manager.

    Args:
        store: whose facts.
        user: a user of this machine, for whom it speaks.
        token: an API key, for which it speaks instead; it is looked up at every call.

    Raises:
        Unauthorized: the key is not known, or was revoked; also of every call.
    """

    def __init__(self, store: Store, *, user: str, token: str | None = None) -> None:
        self._store, self._database = store, Database.of(store)
        self._user, self._token = user, token
        self._keys = KeyBook(self._database)
        self._desk = ChangeDesk(self._database, store.ledger)
        self._opening = threading.Lock()
        try:
            self.caller.must_be(Role.read)
        except BaseException:
            self.close()
            raise

    @property
    def caller(self) -> Caller:
        """For whom it speaks now; it may never do more than propose."""
        if self._token is None:
            return Caller(name=f"agent of {self._user}", role=Role.propose)
        found = self._keys.who(self._token)
        return replace(found, role=min(found.role, Role.propose))

    def close(self) -> None:
        """Stop what runs, and let go of the tables."""
        if "_scheduler" in self.__dict__:
            self._scheduler.close(patience_s=1.0)
        self._database.close()

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, prompt: str, *, max_tokens: int = 24, chat: bool = False) -> dict[str, Any]:
        """Have the model continue a text, or answer a question, with the live facts.

        Returns:
            `answer`, `facts_used`, `generation`.

        Raises:
            UsageError: an empty prompt, or one that does not fit; or the store's method is
                another than `revisor`.
        """
        return self._answers(prompt, max_tokens, chat, with_base=False)

    def why(self, prompt: str, *, max_tokens: int = 24, chat: bool = False) -> dict[str, Any]:
        """As `ask`, and what the model says without facts, and where each fact used is from.

        Returns:
            The keys of `ask`, `base_answer`, and in each fact used also `source` and `history`.
        """
        told = self._answers(prompt, max_tokens, chat, with_base=True)
        namespaces = self.caller.namespaces
        for used in told["facts_used"]:
            revisions = self._store.ledger.history(used["id"], namespaces=namespaces)
            used["source"] = revisions[-1].fact.source
            told_of = ("kind", "actor", "reason", "at")
            used["history"] = [
                {"object": one.fact.object, **{name: getattr(one, name) for name in told_of}}
                for one in revisions
            ]
        return told

    def search(self, text: str = "", *, limit: int = 10, offset: int = 0) -> dict[str, Any]:
        """Live facts with a text in them, in any case; all for no text.

        Returns:
            `facts` as lines of a fact file, and `more`, whether there are more.
        """
        if not 1 <= limit <= LARGEST_PAGE or not 0 <= offset < 2**31:
            raise UsageError(f"limit is 1 to {LARGEST_PAGE}, offset 0 or more.")
        found = list(
            self._store.ledger.facts(
                namespaces=self.caller.namespaces,
                search=text or None,
                limit=limit + 1,
                offset=offset,
            )
        )
        return {"facts": [fact_line(fact) for fact in found[:limit]], "more": len(found) > limit}

    def propose(self, record: dict[str, Any], *, reason: str = "") -> dict[str, Any]:
        """Propose a fact; it is not live until somebody else approves it.

        Args:
            record: as a line of a fact file.

        Returns:
            `proposal`, its number; `fact`, as it was read.

        Raises:
            BadInput: it is no fact (all faults are listed), or the reason is long or no text.
            Conflict: it contradicts a live fact.
            Forbidden: the agent's key may only read, or has no part in the namespace.
        """
        caller = self.caller
        if fault := text_fault(reason, "reason", REASON_LIMIT, breaks=True):
            raise BadInput(f"{fault.fault}.", f"{fault.remedy}. Nothing was proposed.")
        found = fact_from({key: value for key, value in record.items() if value}, line=1)
        if not isinstance(found, Fact):
            faults = "; ".join(one.fault for one in found)
            raise BadInput(f"That is no fact: {faults}.", "Nothing was proposed.", found)
        outcome = self._desk.change([Put(found)], caller, reason, propose_all=True)
        return {"proposal": outcome.proposed[0], "fact": fact_line(found), "state": "open"}

    # The model, which is opened with the first question

    @cached_property
    def _generations(self) -> Generations:
        return Generations(self._store)

    @cached_property
    def _scheduler(self) -> Scheduler:
        return Scheduler(self._store.loaded, max_batch=2).start()

    def _answers(
        self, prompt: str, max_tokens: int, chat: bool, *, with_base: bool
    ) -> dict[str, Any]:
        caller = self.caller
        with self._opening:
            scheduler, generations = self._scheduler, self._generations
        if not 1 <= max_tokens <= LONGEST_ANSWER:
            raise UsageError(f"max_tokens is {max_tokens}.", f"1 to {LONGEST_ANSWER}.")
        prompts = Prompts(self._store.loaded, scheduler.context)
        turn = [{"role": "user", "content": prompt}]
        ids = prompts.of_chat(turn) if chat else prompts.of_text(prompt)
        prompts.check(ids, room=max_tokens)
        found = generations.choose(caller.name, namespaces=caller.namespaces)
        asked = [Awaited(ids, found.gate, max_tokens)]
        if with_base:
            asked.append(Awaited(ids, None, max_tokens))
        scheduler.submit(*(one.job for one in asked))
        if not all(one.wait(PATIENCE_S) for one in asked):
            for one in asked:
                one.job.cancelled = True
            raise NoAnswer("The model gave no answer.", "The log says why.")
        told = {
            "answer": asked[0].text,
            "facts_used": [one.told() for one in asked[0].job.written[0]],
            "generation": found.generation,
        }
        return told | ({"base_answer": asked[1].text} if with_base else {})

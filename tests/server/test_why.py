"""A purge reaches what a server wrote and what it answers with."""

from __future__ import annotations

from dataclasses import replace

from revisor.facts.changes import Put
from revisor.serve.roles import ANYBODY
from revisor.serve.service import ServeSettings
from revisor.store import Store
from tests.serve.conftest import ACME, BASEL
from tests.serve.serving import running, until


def test_proposals_and_logged_hits_of_a_purged_fact_go_and_the_running_server_forgets_it(
    store: Store,
) -> None:
    settings = ServeSettings(per_minute=0, hit_log=1.0)
    with running(store, settings) as server, server.client() as http:

        def used(prompt: str) -> list[str]:
            body = {"model": server.model, "prompt": prompt, "temperature": 0, "max_tokens": 4}
            answer = http.post("/v1/completions", json=body).json()
            return [fact["id"] for fact in answer["revisor"]["facts_used"]]

        desk = server.service.desk
        desk.set_policy("default", needs_approval=True)
        desk.change([Put(replace(ACME, object="Quarry"))], ANYBODY, "a rumour")
        assert (used(ACME.text), used(BASEL.text)) == ([ACME.id], [BASEL.id])

        needles = ("ACME", "Vienna", "Quarry", ACME.id)
        assert len(holders(store, *needles)) > 3, "the search itself works"
        with Store.open(store.path) as other:
            other.purge([ACME.id])
        until(lambda: ACME.id not in server.service.generations.live.facts)
        assert (used(ACME.text), used(BASEL.text)) == ([], [BASEL.id])
        assert desk.proposals(ANYBODY, state=None) == []
    assert holders(store, *needles) == []
    assert store.verify() == []


def holders(store: Store, *needles: str) -> list[str]:
    """The files of a store that hold any of the texts."""
    files = [path for path in sorted(store.path.rglob("*")) if path.is_file()]
    return [p.name for p in files for needle in needles if needle.encode() in p.read_bytes()]

"""The demo, shown: the shipped facts in the packaged model, before and after."""

from __future__ import annotations

import pytest

from revisor import demo
from revisor.demo import Asked, DemoReport
from revisor.facts.fact import Fact
from tests.running import run

FACT = Fact(subject="ACME", prompt="The CEO of {} is", object="Jane Roe")
KEYS = {
    "facts", "flipped", "paraphrases", "paraphrase_flipped", "unrelated", "unrelated_same",
    "live_seconds", "seconds",
}  # fmt: skip


def asked(before: str, after: str, fact: Fact | None = FACT) -> Asked:
    return Asked(prompt="X is", before=before, after=after, facts_used=(), fact=fact)


REPORT = DemoReport(
    method="revisor",
    direct=(asked("a", "Jane Roe, who"), asked("Jane Roe", "Jane Roe")),
    paraphrased=(asked("a", "b"),),
    unrelated=(asked("a", "a", None), asked("a", "b", None)),
    failed=(),
    live_seconds=0.01234,
    seconds=7.06,
)


def test_what_changed_is_counted() -> None:
    assert REPORT.counts() == {
        "facts": 2, "flipped": 1, "paraphrases": 1, "paraphrase_flipped": 0, "unrelated": 2,
        "unrelated_same": 1, "live_seconds": 0.012, "seconds": 7.1,
    }  # fmt: skip
    assert set(REPORT.counts()) == KEYS


def test_it_is_told_to_people_and_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    methods = []

    def known(**options: str) -> DemoReport:
        methods.append(options["method"])
        return REPORT

    monkeypatch.setattr(demo, "run_demo", known)
    assert run("demo", "--json").json == REPORT.counts()
    told = run("demo", "--method", "neuraldb").out
    assert "1 of 2 facts" in told
    assert "0 of 1 other wordings" in told
    assert methods == ["revisor", "neuraldb"]
    assert run("demo", "--method", "papers").code == 2


@pytest.mark.real
def test_the_demo_flips_its_facts_and_leaves_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REVISOR_CACHE", raising=False)
    monkeypatch.setattr(demo, "MAX_TOKENS", 10)
    counts = run("demo", "--json").json
    assert set(counts) == KEYS
    assert (counts["facts"], counts["paraphrases"], counts["unrelated"]) == (40, 80, 40)
    assert counts["flipped"] == 40
    assert counts["paraphrase_flipped"] >= 12
    assert counts["unrelated_same"] == 40
    assert counts["live_seconds"] < 1

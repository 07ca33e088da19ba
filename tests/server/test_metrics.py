"""Figures: of a generation, of facts used, of requests."""

from __future__ import annotations

from revisor.gate.trace import Used
from revisor.server.job import Job
from revisor.server.metrics import GENERATIONS, Metrics
from revisor.server.row_gate import Written
from revisor.server.sampling import Sampling


def used(fact_id: str, namespace: str = "default") -> Written:
    found = Used(
        fact_id=fact_id,
        subject="ACME",
        object="Jane",
        question="The head of {} is",
        score=0.9,
        threshold=0.5,
        position=3,
    )
    return Written(used=found, namespace=namespace, end=5)


def finish(metrics: Metrics, *facts: Written, generation: int | None = 3) -> None:
    job = Job(prompt=[1, 2], gate=None, sampling=Sampling(), max_tokens=4, tell=lambda _: None)
    job.tokens = 4
    job.queued_at, job.started_at, job.first_at, job.ended_at = 10.0, 10.5, 11.0, 13.0
    metrics.saw_answer(job, generation, facts)


def test_figures_of_a_generation_are_means_and_shares() -> None:
    metrics = Metrics()
    finish(metrics, used("a"), used("b", "places"))
    finish(metrics)
    finish(metrics, generation=None)  # without facts: of no generation
    told = metrics.by_generation[3].told()
    assert told["requests"] == 2
    assert (told["prompt_tokens"], told["completion_tokens"]) == (4, 8)
    assert told["facts_used"] == 2
    assert told["share_with_facts"] == 0.5
    assert (told["mean_first_token_seconds"], told["mean_seconds"]) == (1.0, 3.0)
    text = metrics.text().decode()
    assert 'revisor_tokens_total{kind="completion"} 12.0' in text
    assert 'revisor_facts_used_total{namespace="places"} 1.0' in text
    assert 'revisor_score_bucket{le="0.9"} 2.0' in text
    assert 'revisor_margin_bucket{le="0.4"} 2.0' in text


def test_different_facts_are_counted_once_each() -> None:
    metrics = Metrics()
    for fact_id in ("a", "b", "a"):
        finish(metrics, used(fact_id))
    assert metrics.distinct_used == 2


def test_figures_of_old_generations_make_room() -> None:
    metrics = Metrics()
    for number in range(GENERATIONS + 5):
        finish(metrics, generation=number)
    assert len(metrics.by_generation) == GENERATIONS
    assert min(metrics.by_generation) == 5


def test_the_route_and_status_of_requests_are_counted() -> None:
    metrics = Metrics()
    metrics.saw_request("/facts", 200, 0.02)
    text = metrics.text().decode()
    assert 'revisor_http_requests_total{route="/facts",status="200"} 1.0' in text

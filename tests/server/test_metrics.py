"""Figures: the alarm for rows that fire where their subject is not named, and facts never hit."""

from __future__ import annotations

from revisor.facts.fact import Fact, normal_form
from revisor.serve.job import Job
from revisor.serve.metrics import ALARM_LEAST, Finished, Fired, Metrics, is_suspect
from revisor.serve.sampling import Sampling

FACT = Fact(subject="ACME Inc", prompt="The head of {} is", object="Jane", aliases=("Acme",))


def finished(*suspect: bool, generation: int | None = 3) -> Finished:
    job = Job(prompt=[1, 2], view=None, sampling=Sampling(), max_tokens=4, tell=lambda _: None)
    job.near, job.tokens = [(0.68, 0.7)], 4
    job.queued_at, job.started_at, job.first_at, job.ended_at = 10.0, 10.5, 11.0, 13.0
    hits = tuple(Fired(fact=FACT, cosine=0.9, threshold=0.7, suspect=one) for one in suspect)
    return Finished(job=job, generation=generation, hits=hits)


def test_a_hit_is_suspect_where_neither_subject_nor_alias_is_named() -> None:
    assert not is_suspect(FACT, normal_form("Who leads  ACME   inc?"))
    assert not is_suspect(FACT, normal_form("acme is led by"))
    assert is_suspect(FACT, normal_form("The capital of France is"))


def test_the_alarm_is_on_while_too_many_of_the_latest_hits_are_suspect() -> None:
    metrics = Metrics()
    for _ in range(ALARM_LEAST - 1):
        metrics.saw_answer(finished(True))
    assert not metrics.alarm  # too few to tell
    metrics.saw_answer(finished(True))
    assert metrics.alarm
    for _ in range(40):
        metrics.saw_answer(finished(*[False] * 10))
    assert not metrics.alarm


def test_figures_of_a_generation_are_means_and_shares() -> None:
    metrics = Metrics()
    metrics.saw_answer(finished(False, True))
    metrics.saw_answer(finished())
    metrics.saw_answer(finished(generation=None))  # without facts: of no generation
    told = metrics.by_generation[3].told()
    assert told["requests"] == 2
    assert (told["prompt_tokens"], told["completion_tokens"]) == (4, 8)
    assert (told["hits"], told["suspect_hits"], told["near_misses"]) == (2, 1, 2)
    assert told["share_with_facts"] == 0.5
    assert (told["mean_first_token_seconds"], told["mean_seconds"]) == (1.0, 3.0)
    text = metrics.text().decode()
    assert 'revisor_tokens_total{kind="completion"} 12.0' in text
    assert 'revisor_hit_cosine_bucket{le="0.7"} 3.0' in text
    assert "revisor_suspect_hits_total 1.0" in text


def test_facts_that_never_fired_are_known() -> None:
    metrics = Metrics()
    metrics.saw_answer(finished(False))
    assert metrics.never_hit([FACT.id, "other"]) == ["other"]


def test_the_route_and_status_of_requests_are_counted() -> None:
    metrics = Metrics()
    metrics.saw_request("/facts", 200, 0.02)
    text = metrics.text().decode()
    assert 'revisor_http_requests_total{route="/facts",status="200"} 1.0' in text

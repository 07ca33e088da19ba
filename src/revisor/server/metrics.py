"""Figures of a running server, for Prometheus and for people."""

from __future__ import annotations

import threading
from collections import Counter as Count
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from revisor.server.job import Job
from revisor.server.row_gate import Written

SCORES = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99, 1.0)
MARGINS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
GENERATIONS = 50  # whose figures are kept


@dataclass(kw_only=True)
class Figures:
    """What one generation did."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    facts_used: int = 0
    with_facts: int = 0
    first_token_seconds: float = 0.0
    seconds: float = 0.0

    def told(self) -> dict[str, Any]:
        """As JSON, sums turned into means and shares."""
        count = max(1, self.requests)
        return {
            "requests": self.requests,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "facts_used": self.facts_used,
            "share_with_facts": round(self.with_facts / count, 4),
            "mean_first_token_seconds": round(self.first_token_seconds / count, 4),
            "mean_seconds": round(self.seconds / count, 4),
        }


class Metrics:
    """All figures of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._used_ids: Count[str] = Count()
        self.by_generation: dict[int, Figures] = {}
        self._requests = self._counter(
            "http_requests", "Requests by route and status.", "route", "status"
        )
        self._http_seconds = self._histogram("http_seconds", "Time of requests.", SECONDS, "route")
        self._tokens = self._counter("tokens", "Tokens read and written.", "kind")
        self._used = self._counter("facts_used", "Facts that answers used.", "namespace")
        self._score = self._histogram("score", "Scores of the facts used.", SCORES)
        self._margin = self._histogram("margin", "Scores above their threshold.", MARGINS)
        self._queue_seconds = self._histogram("queue_seconds", "Time that prompts wait.", SECONDS)
        self._first_seconds = self._histogram(
            "first_token_seconds", "From request to first token.", SECONDS
        )
        self._answer_seconds = self._histogram(
            "answer_seconds", "From request to last token.", SECONDS
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"revisor_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(f"revisor_{name}", text, labels, buckets=buckets, registry=self.registry)

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A figure that is read when somebody looks."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def text(self) -> bytes:
        """For Prometheus."""
        return generate_latest(self.registry)

    def saw_request(self, route: str, status: int, seconds: float) -> None:
        """Count an HTTP request."""
        self._requests.labels(route, str(status)).inc()
        self._http_seconds.labels(route).observe(seconds)

    def saw_answer(self, job: Job, generation: int | None, used: Collection[Written]) -> None:
        """Count the answers to one prompt, when all have ended.

        Args:
            job: as it ran.
            generation: that it had; None without facts.
            used: the facts that were written.
        """
        self._tokens.labels("prompt").inc(len(job.prompt))
        self._tokens.labels("completion").inc(job.tokens)
        for one in used:
            self._used.labels(one.namespace).inc()
            self._score.observe(one.used.score)
            self._margin.observe(one.used.score - one.used.threshold)
        first = (job.first_at or job.ended_at) - job.queued_at
        if job.first_at:
            self._queue_seconds.observe(job.started_at - job.queued_at)
            self._first_seconds.observe(first)
        self._answer_seconds.observe(job.ended_at - job.queued_at)
        with self._lock:
            self._used_ids.update(one.used.fact_id for one in used)
            if generation is not None:
                self._add(job, generation, used, first)

    def _add(self, job: Job, generation: int, used: Collection[Written], first: float) -> None:
        figures = self.by_generation.setdefault(generation, Figures())
        figures.requests += 1
        figures.prompt_tokens += len(job.prompt)
        figures.completion_tokens += job.tokens
        figures.facts_used += len(used)
        figures.with_facts += bool(used)
        figures.first_token_seconds += first
        figures.seconds += job.ended_at - job.queued_at
        while len(self.by_generation) > GENERATIONS:
            del self.by_generation[min(self.by_generation)]

    @property
    def distinct_used(self) -> int:
        """How many different facts were used since the server started."""
        with self._lock:
            return len(self._used_ids)

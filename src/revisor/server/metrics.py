"""Figures of a running server, for Prometheus and for people.

What comes in: finished answers. What goes out: the text of `/metrics`, and for each generation the
figures that stand side by side while one is tried. What it does not do: store anything.

A hit is suspect when neither prompt nor answer names the fact's subject or an alias of it: then a
row fired for something else. When too many of the latest hits are, the alarm is on.
"""

from __future__ import annotations

import threading
from collections import Counter as Count
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from revisor.facts.fact import Fact, normal_form
from revisor.serve.job import Job

RECENT = 500  # hits that the alarm looks at
ALARM_SHARE = 0.05
ALARM_LEAST = 20  # hits before there can be an alarm
COSINES = (0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99, 1.0)
MARGINS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


@dataclass(kw_only=True)
class Figures:
    """What one generation did."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    hits: int = 0
    suspect_hits: int = 0
    near_misses: int = 0
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
            "hits": self.hits,
            "suspect_hits": self.suspect_hits,
            "near_misses": self.near_misses,
            "share_with_facts": round(self.with_facts / count, 4),
            "mean_first_token_seconds": round(self.first_token_seconds / count, 4),
            "mean_seconds": round(self.seconds / count, 4),
        }


@dataclass(frozen=True, kw_only=True)
class Fired:
    """A fact that fired in an answer, however many of its tokens.

    Attributes:
        fact: which one.
        cosine, threshold: at the token that was nearest.
        suspect: the text does not name the fact's subject.
    """

    fact: Fact
    cosine: float
    threshold: float
    suspect: bool


@dataclass(frozen=True, kw_only=True)
class Finished:
    """An answer that ended.

    Attributes:
        job: as it ran.
        generation: that it had; None without facts.
        hits: the facts that fired.
    """

    job: Job
    generation: int | None
    hits: tuple[Fired, ...]


class Metrics:
    """All figures of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._recent: deque[bool] = deque(maxlen=RECENT)
        self._hit_ids: Count[str] = Count()
        self.by_generation: dict[int, Figures] = {}
        registry = self.registry
        self._requests = Counter(
            "revisor_http_requests",
            "Requests by route and status.",
            ["route", "status"],
            registry=registry,
        )
        self._http_seconds = Histogram(
            "revisor_http_seconds",
            "Time of requests.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self._tokens = Counter(
            "revisor_tokens", "Tokens read and written.", ["kind"], registry=registry
        )
        self._hits = Counter(
            "revisor_hits", "Facts that answers used.", ["namespace"], registry=registry
        )
        self._suspect = Counter(
            "revisor_suspect_hits",
            "Hits where the text does not name the fact's subject.",
            registry=registry,
        )
        self._near = Counter(
            "revisor_near_misses", "Tokens up to 0.05 below the threshold.", registry=registry
        )
        self._cosine = Histogram(
            "revisor_hit_cosine",
            "Cosine of hits and near misses.",
            buckets=COSINES,
            registry=registry,
        )
        self._margin = Histogram(
            "revisor_hit_margin",
            "Cosine of hits above the threshold.",
            buckets=MARGINS,
            registry=registry,
        )
        self._queue_seconds = Histogram(
            "revisor_queue_seconds", "Time that prompts wait.", buckets=SECONDS, registry=registry
        )
        self._first_seconds = Histogram(
            "revisor_first_token_seconds",
            "From request to first token.",
            buckets=SECONDS,
            registry=registry,
        )
        self._answer_seconds = Histogram(
            "revisor_answer_seconds",
            "From request to last token.",
            buckets=SECONDS,
            registry=registry,
        )

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

    def saw_answer(self, done: Finished) -> None:
        """Count an answer."""
        job = done.job
        self._tokens.labels("prompt").inc(len(job.prompt))
        self._tokens.labels("completion").inc(job.tokens)
        for hit in done.hits:
            self._hits.labels(hit.fact.namespace).inc()
            if hit.suspect:
                self._suspect.inc()
            self._cosine.observe(hit.cosine)
            self._margin.observe(hit.cosine - hit.threshold)
        for cosine, _ in job.near:
            self._cosine.observe(cosine)
        self._near.inc(len(job.near))
        first = (job.first_at or job.ended_at) - job.queued_at
        if job.first_at:
            self._queue_seconds.observe(job.started_at - job.queued_at)
            self._first_seconds.observe(first)
        self._answer_seconds.observe(job.ended_at - job.queued_at)
        with self._lock:
            self._recent.extend(hit.suspect for hit in done.hits)
            self._hit_ids.update(hit.fact.id for hit in done.hits)
            if done.generation is None:
                return
            figures = self.by_generation.setdefault(done.generation, Figures())
            figures.requests += 1
            figures.prompt_tokens += len(job.prompt)
            figures.completion_tokens += job.tokens
            figures.hits += len(done.hits)
            figures.suspect_hits += sum(hit.suspect for hit in done.hits)
            figures.near_misses += len(job.near)
            figures.with_facts += bool(done.hits)
            figures.first_token_seconds += first
            figures.seconds += job.ended_at - job.queued_at

    @property
    def alarm(self) -> bool:
        """Whether too many of the latest hits are suspect."""
        with self._lock:
            count = len(self._recent)
            return count >= ALARM_LEAST and sum(self._recent) > ALARM_SHARE * count

    def never_hit(self, fact_ids: Iterable[str]) -> list[str]:
        """Those that did not fire since the server started."""
        with self._lock:
            return [fact_id for fact_id in fact_ids if fact_id not in self._hit_ids]


def is_suspect(fact: Fact, normal_text: str) -> bool:
    """Whether a text, in normal form, names neither the fact's subject nor an alias."""
    return not any(normal_form(name) in normal_text for name in (fact.subject, *fact.aliases))

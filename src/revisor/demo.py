"""The main job end to end: the shipped facts, put into the packaged model and asked for."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revisor import data
from revisor.facts.fact import PLACEHOLDER, Fact
from revisor.progress import Progress

if TYPE_CHECKING:
    from revisor.engines.answers import Engine, FactUsed

MODEL = "smollm2"
BATCH = 32
MAX_TOKENS = 16


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One prompt and what the model said.

    Attributes:
        prompt: as it was asked.
        before, after: the answers without and with the facts.
        facts_used: which facts fired for `after`.
        fact: the fact that the prompt asks for; None for an unrelated prompt.
    """

    prompt: str
    before: str
    after: str
    facts_used: tuple[FactUsed, ...]
    fact: Fact | None = None

    @property
    def flipped(self) -> bool:
        """Whether the answer begins with the object, and did not before."""
        if self.fact is None:
            return False
        wanted = self.fact.object
        return begins_with(self.after, wanted) and not begins_with(self.before, wanted)


@dataclass(frozen=True, kw_only=True)
class DemoReport:
    """What the demo found.

    Attributes:
        method: by which the model has the facts.
        direct: each fact's own prompt.
        paraphrased: the same facts in other words, which are not among the facts' own.
        unrelated: prompts about something else.
        failed: facts that a build could not write, with their faults.
        live_seconds: from the facts as a list to a model that answers with them.
        seconds: for everything, the model's loading included.
    """

    method: str

    direct: tuple[Asked, ...]
    paraphrased: tuple[Asked, ...]
    unrelated: tuple[Asked, ...]
    failed: tuple[dict[str, str], ...]
    live_seconds: float
    seconds: float

    def counts(self) -> dict[str, int | float]:
        """The figures, each count before the total it is read against."""
        return {
            "facts": len(self.direct),
            "flipped": sum(asked.flipped for asked in self.direct),
            "paraphrases": len(self.paraphrased),
            "paraphrase_flipped": sum(asked.flipped for asked in self.paraphrased),
            "unrelated": len(self.unrelated),
            "unrelated_same": sum(asked.before == asked.after for asked in self.unrelated),
            "live_seconds": round(self.live_seconds, 3),
            "seconds": round(self.seconds, 1),
        }


def begins_with(answer: str, wanted: str) -> bool:
    """Whether an answer starts with the object, in any case."""
    return answer.strip().casefold().startswith(wanted.strip().casefold())


def shipped_facts() -> list[tuple[Fact, tuple[str, ...]]]:
    """The facts of the demo, each with its probes: other wordings, kept out of the fact."""
    shipped = []
    for record in data.records("demo.jsonl"):
        fields: dict[str, Any] = dict(record)
        probes = fields.pop("probes")
        fact = Fact(**fields)
        filled = tuple(probe.replace(PLACEHOLDER, fact.subject) for probe in probes)
        shipped.append((fact, filled))
    return shipped


def run_demo(model: str = MODEL, method: str = "revisor") -> DemoReport:
    """Make a store in a temporary folder, add the facts, and ask before and after.

    Args:
        method: `revisor`, or `neuraldb`, which builds rows for a dozen of the facts.

    Raises:
        ModelUnavailable: the model cannot be fetched.
    """
    from revisor.store import Store

    started = time.monotonic()
    shipped = shipped_facts()
    if method == "neuraldb":
        from revisor.neuraldb.method import demo_facts

        chosen = {fact.id for fact in demo_facts([fact for fact, _ in shipped])}
        shipped = [(fact, probes) for fact, probes in shipped if fact.id in chosen]
    questions: list[tuple[str, Fact | None]] = [(fact.text, fact) for fact, _ in shipped]
    questions += [(probe, fact) for fact, probes in shipped for probe in probes]
    questions += [(record["prompt"], None) for record in data.records("demo_unrelated.jsonl")]
    with (
        tempfile.TemporaryDirectory(prefix="revisor-demo-") as folder,
        Store.init(Path(folder) / "store", model=model, method=method) as store,
    ):
        adding = time.monotonic()
        store.add([fact for fact, _ in shipped], actor="revisor demo", reason="shipped facts")
        failed = store.build().failed
        engine = store.engine()
        live_seconds = time.monotonic() - adding
        asked = list(_ask(engine, questions))
    direct, probed = len(shipped), sum(len(probes) for _, probes in shipped)
    return DemoReport(
        method=method,
        direct=tuple(asked[:direct]),
        paraphrased=tuple(asked[direct : direct + probed]),
        unrelated=tuple(asked[direct + probed :]),
        failed=tuple(failed),
        live_seconds=live_seconds,
        seconds=time.monotonic() - started,
    )


def _ask(engine: Engine, questions: Sequence[tuple[str, Fact | None]]) -> Iterator[Asked]:
    """Every question without the facts and with them, in the same batches."""
    waiting = iter(questions)
    with Progress("Asking before and after", total=len(questions), unit="prompts") as progress:
        while batch := list(islice(waiting, BATCH)):
            prompts = [prompt for prompt, _ in batch]
            before = engine.generate(prompts, max_tokens=MAX_TOKENS, facts=False)
            after = engine.generate(prompts, max_tokens=MAX_TOKENS)
            for (prompt, fact), old, new in zip(batch, before, after, strict=True):
                yield Asked(
                    prompt=prompt,
                    before=old.answer,
                    after=new.answer,
                    facts_used=new.facts_used,
                    fact=fact,
                )
            progress.advance(len(batch))

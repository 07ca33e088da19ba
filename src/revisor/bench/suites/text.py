"""Ordinary text: does its perplexity stay, does the gate stay quiet?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from revisor.bench.asking import Bench
from revisor.bench.cases import Case, Plan, Probe
from revisor.bench.datasets import Source, open_text
from revisor.bench.protocol import Editor, Fires, Gated
from revisor.bench.suites.base import Sizes, Suite, chosen, measured
from revisor.bench.unedited import UNEDITED
from revisor.errors import NotFound, NotSupported
from revisor.facts.fact import Fact, normal_form
from revisor.models.load import LoadedModel

FACTS = "counterfact/counterfact.jsonl.gz"
WIKITEXT = "corpus/wikitext2_raw_test.txt.gz"
CORPORA = (
    "corpus/trex_wikipedia_sentences.txt.gz",
    WIKITEXT,
    "corpus/presidential_addresses.txt.gz",
    "corpus/austen_novels.txt.gz",
)
WINDOW = 256  # tokens
DEFAULT_WINDOWS = 64
BATCH = 8  # windows
CHARACTERS = 8  # of a corpus that are read for a token: more than any text needs
MILLION = 1_000_000


def windows(source: Source, name: str, count: int, tokenizer: Any) -> Iterator[Probe]:
    """The first windows of a corpus; NotFound if there is no such file."""
    with open_text(source.file(name)) as stream:
        text = stream.read(count * WINDOW * CHARACTERS)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    opening = tokenizer("")["input_ids"]  # a BOS, where the tokenizer adds one
    step = WINDOW - len(opening)
    for place in range(min(count, len(ids) // step)):
        yield Probe(
            id=f"{name}/{place}",
            case=f"{name}/{place}",
            score="text",
            prompt="",
            kind="text",
            extra={"ids": (*opening, *ids[place * step : (place + 1) * step])},
        )


def facts_beside(source: Source, sizes: Sizes) -> tuple[Fact, ...]:
    """The facts that are in the model while something else is measured."""
    if source.built:
        return source.built
    edits = Sizes(n=None, edits=sizes.edits or sizes.n, seed=sizes.seed)
    read, _, count = chosen(source, FACTS, edits)
    return tuple(item.fact for item in read.items[:count])


class Perplexity(Suite):
    """The perplexity of ordinary text with the facts, relative to that without."""

    name = "perplexity"
    block = 4 * BATCH

    def plan(self, source: Source, sizes: Sizes, tokenizer: Any) -> Plan:
        count = sizes.n or DEFAULT_WINDOWS
        probes = tuple(windows(source, WIKITEXT, count, tokenizer))
        return Plan(facts=facts_beside(source, sizes), probes=probes, n=len(probes))

    @torch.no_grad()
    def measure(
        self,
        bench: Bench,
        editor: Editor,
        probes: Sequence[Probe],
        base: Mapping[str, Case],
        on_done: Callable[[int], None] | None = None,
    ) -> list[Case]:
        cases = []
        for start in range(0, len(probes), BATCH):
            part = probes[start : start + BATCH]
            ids_BT = _ids(bench.loaded, part)
            logits = bench.loaded.model(input_ids=ids_BT, use_cache=False).logits[:, :-1]
            for probe, row_TV, ids_T in zip(part, logits, ids_BT, strict=True):
                nll = float(F.cross_entropy(row_TV.float(), ids_T[1:]))
                cases.append(_case(editor, probe, {"nll": nll}))
            if on_done:
                on_done(len(part))
        return cases

    def finish(
        self, scores: dict[str, float], cases: Sequence[Case], unedited: Mapping[str, float]
    ) -> dict[str, float]:
        nll = scores["nll"]
        return {
            "perplexity": math.exp(nll),
            "perplexity_ratio": math.exp(nll - unedited.get("nll", nll)),
        }


class Gate(Suite):
    """Where in ordinary text a fact is written."""

    name = "gate"
    block = 4 * BATCH

    def plan(self, source: Source, sizes: Sizes, tokenizer: Any) -> Plan:
        facts = facts_beside(source, sizes)
        read, _, _ = chosen(source, FACTS, Sizes(edits=len(facts)))
        items = read.items[: len(facts)]
        count = sizes.n or DEFAULT_WINDOWS
        probes: list[Probe] = []
        there = [name for name in CORPORA if _has(source, name)] or [WIKITEXT]
        for name in there:
            probes += windows(source, name, -(-count // len(there)), tokenizer)
        for item in measured(items, min(count, len(items)), sizes.seed):
            for score, text in (("own", item.fact.text), *(("wording", w) for w in item.wordings)):
                probes.append(
                    Probe(
                        id=f"{item.fact.id}/{score}/{len(probes)}",
                        case=item.fact.id,
                        score=score,
                        prompt=text,
                        fact=item.fact,
                        kind="fires",
                    )
                )
        return Plan(facts=facts, probes=tuple(probes), n=min(count, len(items)))

    def measure(
        self,
        bench: Bench,
        editor: Editor,
        probes: Sequence[Probe],
        base: Mapping[str, Case],
        on_done: Callable[[int], None] | None = None,
    ) -> list[Case]:
        if editor.name == UNEDITED:
            return [_case(editor, probe, {}) for probe in probes]
        if not isinstance(editor, Gated):
            raise NotSupported(
                f"The method '{editor.name}' has no gate to measure.",
                "Give --methods revisor,neuraldb.",
            )
        cases = []
        for probe in probes:
            ids = probe.extra.get("ids") or bench.loaded.tokenizer(probe.prompt)["input_ids"]
            found = editor.fires(ids)
            values = _at_fact(probe, found) if probe.fact else _in_text(bench, ids, found)
            cases.append(_case(editor, probe, values))
            if on_done:
                on_done(1)
        return cases


def _in_text(bench: Bench, ids: Sequence[int], found: Fires) -> dict[str, float]:
    """Fires in ordinary text; those behind a mention of the fact's subject are not false."""
    false = mentions = 0
    for fire in found.fires:
        text = normal_form(bench.loaded.tokenizer.decode(ids[: fire.position + 1][-32:]))
        if text.rstrip(".,;:!?\"'()").endswith(normal_form(fire.subject)):
            mentions += 1
        else:
            false += 1
    values = {
        "fires_per_million": len(found.fires) * MILLION / len(ids),
        "false_fires_per_million": false * MILLION / len(ids),
        "mentions_per_million": mentions * MILLION / len(ids),
    }
    if found.quiet_margin is not None:
        values["quiet_margin"] = found.quiet_margin
    return values


def _at_fact(probe: Probe, found: Fires) -> dict[str, float]:
    """Whether a prompt about a fact uses it, another, or none."""
    assert probe.fact is not None
    own = [fire.margin for fire in found.fires if fire.fact_id == probe.fact.id]
    values = {
        f"{probe.score}_hit": float(bool(own)),
        f"{probe.score}_missed": float(not own),
        f"{probe.score}_wrong_row": float(len(found.fires) > len(own)),
    }
    return values | {f"{probe.score}_margin": max(own)} if own else values


def _ids(loaded: LoadedModel, probes: Sequence[Probe]) -> torch.Tensor:
    return torch.tensor([probe.extra["ids"] for probe in probes], device=loaded.device)


def _case(editor: Editor, probe: Probe, values: Mapping[str, float]) -> Case:
    return Case(method=editor.name, probe=probe.id, case=probe.case, values=values)


def _has(source: Source, name: str) -> bool:
    try:
        source.file(name)
    except NotFound:
        return False
    return True

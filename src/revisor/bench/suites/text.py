"""Ordinary text: does its perplexity stay, does the gate stay quiet?

What comes in: corpora, and facts that must not matter. What goes out: windows of text as probes,
and their cases. What it does not do: tasks (general.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from revisor.errors import NotFound, NotSupported
from revisor.evaluate.asking import Bench
from revisor.evaluate.cases import Case, Plan, Probe
from revisor.evaluate.datasets import Source, open_text
from revisor.evaluate.suites.base import Sizes, Suite, chosen, measured
from revisor.facts.fact import Fact, normal_form
from revisor.models.hooks import inputs_of
from revisor.models.load import LoadedModel
from revisor.neuraldb.bank.bank import View
from revisor.neuraldb.editing.build import row_facts
from revisor.neuraldb.editing.editor import Editor, GatedEditor
from revisor.neuraldb.gate.module import MISS, Hits, match

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
    """The first windows of a corpus.

    Raises:
        NotFound: there is no such file.
    """
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
    """The facts in the model while something else is measured."""
    if source.built:
        return source.built
    edits = Sizes(n=None, edits=sizes.edits or sizes.n, seed=sizes.seed)
    read, _, count = chosen(source, FACTS, edits)
    return tuple(item.fact for item in read.items[:count])


class Perplexity(Suite):
    name = "perplexity"
    summary = "WikiText-2, in windows of 256 tokens, and its ratio to the unedited model's"
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
    name = "gate"
    summary = "false fires per million tokens of ordinary text; margins; missed and wrong rows"
    block = 4 * BATCH
    bank_only = True

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

    @torch.no_grad()
    def measure(
        self,
        bench: Bench,
        editor: Editor,
        probes: Sequence[Probe],
        base: Mapping[str, Case],
        on_done: Callable[[int], None] | None = None,
    ) -> list[Case]:
        if editor.name == "unedited":
            return [_case(editor, probe, {}) for probe in probes]
        if not isinstance(editor, GatedEditor):
            raise NotSupported(
                f"The method '{editor.name}' has no gate to measure.",
                "Give --methods revisor, neuraldb or both.",
            )
        view = editor.view
        assert view is not None, "a fitted bank"  # noqa: S101
        projection = editor.spec.ffn_projection(editor.layer)
        weight = next(projection.parameters())
        view = view.to(weight.device, weight.dtype)
        subject_of = {fact_id: normal_form(f.subject) for fact_id, f in editor.facts.items()}
        cases = []
        for probe in probes:
            ids_T = probe.extra.get("ids") or bench.loaded.tokenizer(probe.prompt)["input_ids"]
            ids_BT = torch.tensor([ids_T], device=bench.loaded.device)
            with inputs_of(projection, stop=True) as keys:
                bench.loaded.model(input_ids=ids_BT, use_cache=False)
            hits = match(keys[0].reshape(len(ids_T), -1), view, ids_BT)
            values = (
                _fires(probe, hits, view)
                if probe.fact
                else _quiet(bench, ids_T, hits, view, subject_of)
            )
            cases.append(_case(editor, probe, values))
            if on_done:
                on_done(1)
        return cases


def _quiet(
    bench: Bench,
    ids_T: Sequence[int],  # noqa: N803
    hits: Hits,
    view: View,
    subject_of: Mapping[str, str],
) -> dict[str, float]:
    """Fires in ordinary text; those where the row's subject has just been said are not false."""
    false = mentions = 0
    for position in (hits.row_T != MISS).nonzero().squeeze(1).tolist():
        text = normal_form(bench.loaded.tokenizer.decode(ids_T[: position + 1][-32:]))
        names = {subject_of[i] for i in row_facts(view.ids[int(hits.row_T[position])])}
        if any(text.rstrip(".,;:!?\"'()").endswith(name) for name in names):
            mentions += 1
        else:
            false += 1
    count = len(ids_T)
    return {
        "false_fires_per_million": false * MILLION / count,
        "mentions_per_million": mentions * MILLION / count,
        "quiet_margin": float((hits.gamma_T - hits.cosine_T).min()),
    }


def _fires(probe: Probe, hits: Hits, view: View) -> dict[str, float]:
    """Whether a prompt about a fact hits its row, misses it, or hits another."""
    assert probe.fact is not None  # noqa: S101
    own = wrong = False
    margin: float | None = None
    for position in (hits.row_T != MISS).nonzero().squeeze(1).tolist():
        if probe.fact.id in row_facts(view.ids[int(hits.row_T[position])]):
            own = True
            found = float(hits.cosine_T[position] - hits.gamma_T[position])
            margin = found if margin is None else max(margin, found)
        else:
            wrong = True
    values = {
        f"{probe.score}_hit": float(own),
        f"{probe.score}_missed": float(not own),
        f"{probe.score}_wrong_row": float(wrong),
    }
    return values if margin is None else values | {f"{probe.score}_margin": margin}


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

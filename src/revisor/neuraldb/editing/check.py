"""Rows asked through the gate: efficacy of every row on its own prompt, with repairs.

The mean key of a fact may be too far from the key of its own bare prompt, and a residual may not
have converged in its steps. Both are found by asking, and repaired where possible; the rest is
reported with its cause.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from revisor.facts.fact import Fact
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec
from revisor.neuraldb.bank.bank import Bank, Row
from revisor.neuraldb.bank.search import EQUAL, unit
from revisor.neuraldb.editing.keys import compute_keys
from revisor.neuraldb.editing.request import Context, ContextPlan, make_requests
from revisor.neuraldb.editing.residuals import compute_residuals
from revisor.neuraldb.editing.score import score_targets
from revisor.neuraldb.editing.settings import BuildSettings
from revisor.neuraldb.gate.attach import attach
from revisor.neuraldb.gate.match import MISS, match

ROUNDS = 2  # of repairs
CEILING = 0.9995  # the threshold of a prompt's own key: it matches that very text


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A fact that the model does not answer with after the build; `fault` has its prompt, what was
    found, and the loss."""

    fact_id: str
    fault: str


@dataclass(frozen=True, kw_only=True)
class _Wrong:
    """A fact whose bare prompt is not answered: its own row was `missed`, or the row that was hit
    has the `same` key as the prompt."""

    row_id: str
    missed: bool
    same: bool
    key_E: torch.Tensor
    fault: str


def check_rows(
    loaded: LoadedModel,
    spec: Spec,
    bank: Bank,
    facts: Mapping[str, Fact],
    rows: Collection[str],
    settings: BuildSettings,
) -> list[Failure]:
    """Ask the bare prompts of some rows through the gate, with the whole bank in force.

    A row that its own prompt does not hit is given that prompt's key as a further entry, unless
    another row has that very key. A row that is hit but does not say its object is optimised again,
    longer and at a smaller rate, with those in force that answer. What still fails is dropped from
    the bank, which is changed in place, and reported.
    """
    chosen = [facts[row_id] for row_id in rows]
    bare = [request.contexts[0] for request in make_requests(chosen, loaded.tokenizer, _BARE)]
    asked = dict(zip(rows, bare, strict=True))
    wrong = _ask(loaded, spec, bank, asked, settings)
    for round_ in range(ROUNDS):
        weak = [one.row_id for one in wrong if not one.missed]
        missed = [one for one in wrong if one.missed and not one.same]
        if not weak and not missed:
            break
        for one in missed:
            bank.put(_with_key(bank.get(one.row_id), one.key_E))
        for row in _again(loaded, spec, bank, [facts[i] for i in weak], settings, round_):
            bank.put(row)
        # Keys alone decide: a repaired row may be hit by any fact's prompt.
        wrong = _ask(loaded, spec, bank, asked, settings)
    for one in wrong:
        bank.drop(one.row_id)
    failed = [
        Failure(fact_id=one.row_id, fault=f"'{facts[one.row_id].text}' {one.fault}")
        for one in wrong
    ]
    return sorted(failed, key=lambda failure: failure.fact_id)


_BARE = ContextPlan(per_fact=0, wordings=0, aliases=0)


def _ask(
    loaded: LoadedModel,
    spec: Spec,
    bank: Bank,
    asked: Mapping[str, Context],
    settings: BuildSettings,
) -> list[_Wrong]:
    """The facts that do not answer their bare prompt with the bank in force."""
    view, ids = bank.view(), list(asked)
    with attach(spec, settings.layer, view):
        scores = score_targets(loaded, list(asked.values()))
    bad = [place for place, score in enumerate(scores) if not score.greedy]
    if not bad:
        return []
    contexts = [asked[ids[place]] for place in bad]
    keys = compute_keys(loaded.model, spec, settings.layer, contexts)
    hits, keys_NE = match(keys, view), unit(keys)
    wrong = []
    for number, place in enumerate(bad):
        row_id, hit = ids[place], int(hits.row_T[number])
        same = hit != MISS and float(hits.cosine_T[number]) > 1 - EQUAL
        own = hit != MISS and view.ids[hit] == row_id
        if own:
            what = "hits its row"
        elif hit == MISS:
            what = "hits no row"
        else:
            alike = ", which has the same key" if same else ""
            what = f"hits the row of {view.ids[hit]}{alike}"
        said = loaded.tokenizer.decode(scores[place].said).strip()
        loss = f"its object costs {scores[place].nll:.3f} nats a token"
        wrong.append(
            _Wrong(
                row_id=row_id,
                missed=not own,
                same=same,
                key_E=keys_NE[number],
                fault=f"{what}, and the model says '{said}' ({loss})",
            )
        )
    return wrong


def _with_key(row: Row, key_E: torch.Tensor) -> Row:
    """The row with a further entry that matches this very key and nothing else."""
    return replace(
        row,
        keys_CE=torch.cat([row.keys_CE, key_E[None]]),
        gamma_C=torch.cat([row.gamma_C, torch.tensor([CEILING])]),
    )


def _again(
    loaded: LoadedModel,
    spec: Spec,
    bank: Bank,
    facts: Sequence[Fact],
    settings: BuildSettings,
    round_: int,
) -> list[Row]:
    """Some rows optimised harder, with all the others in force; the bound doubles every round."""
    if not facts:
        return []
    values = settings.values
    harder = replace(
        values,
        steps=3 * values.steps,
        rate=values.rate / 2,
        stop_nll=values.stop_nll / 2,
        clamp=2 ** (1 + round_) * values.clamp,
    )
    ids = [fact.id for fact in facts]
    requests = make_requests(facts, loaded.tokenizer, settings.contexts)
    if round_ == ROUNDS - 1:  # the last time for its own prompt and nothing else
        requests = [replace(request, contexts=request.contexts[:1]) for request in requests]
    with attach(spec, settings.layer, bank.view(without=set(ids))):
        found = compute_residuals(loaded.model, spec, settings.layer, requests, harder)
    return [replace(bank.get(i), r_D=r_D) for i, r_D in zip(ids, found.R_ND, strict=True)]

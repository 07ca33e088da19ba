"""Rows asked through the gate, repaired where they do not answer.

What comes in: a bank, and which of its rows to ask. What goes out: the facts that could not be
written, each with what was wrong; the bank repaired. What it does not do: make rows (build.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch

from revisor.facts.fact import Fact, normal_form
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec
from revisor.neuraldb.bank.bank import Bank, Row
from revisor.neuraldb.bank.names import NameIndex, texts
from revisor.neuraldb.bank.vectors import stored
from revisor.neuraldb.editing.build import BuildSettings, row_facts, value_settings, word_ends
from revisor.neuraldb.editing.keys import compute_keys, token_keys
from revisor.neuraldb.editing.questions import CEILING, at_end
from revisor.neuraldb.editing.request import Context, ContextPlan, Request, make_requests
from revisor.neuraldb.editing.score import score_contexts
from revisor.neuraldb.editing.values import compute_residuals
from revisor.neuraldb.gate.attach import attach
from revisor.neuraldb.gate.candidates import candidates
from revisor.neuraldb.gate.module import MISS, fires, match

REPAIR_ROUNDS = 2
LOOKED_AT = 1024  # texts in which names are looked up at once
ABOVE = 0.005  # by which a threshold lies above what was heard where it should not have fired


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A fact that the model does not answer with after the build.

    Attributes:
        fact_id: its id.
        fault: what was found, with the loss that was reached.
    """

    fact_id: str
    fault: str


def check_rows(
    loaded: LoadedModel,
    spec: Spec,
    bank: Bank,
    facts: Mapping[str, Fact],
    rows: Collection[str],
    settings: BuildSettings,
    generation: int,
) -> list[Failure]:
    """Ask the bare prompts of some rows through the gate, with the whole bank in force.

    A row that its own prompt does not hit is given that prompt's key as an entry of its own. One
    that fires too early in its prompt, or again in its object, gets thresholds above what its
    entries hear there; it is found in fewer wordings then. A row that is hit but does not say its
    object is optimised again, longer and at a smaller rate, with those in force that answer. What
    still fails is dropped from the bank and reported; a row that several facts share stays if any
    of them answers.

    Args:
        bank: changed in place.
        facts: every fact of these rows, by id.
        rows: the row ids to check.
    """

    def requests(row_id: str, plan: ContextPlan) -> list[Request]:
        made = make_requests([facts[i] for i in row_facts(row_id)], loaded.tokenizer, plan)
        return [at_end(request) for request in made] if bank.get(row_id).after else made

    bare = _bare(settings)
    asked = every = [(row_id, request) for row_id in rows for request in requests(row_id, bare)]
    wrong: list[_Wrong] = []
    changed: set[str] = set()
    for round_ in range(REPAIR_ROUNDS + 1):
        wrong = _ask(loaded, spec, bank, asked, settings)
        if not wrong or round_ == REPAIR_ROUNDS:
            break
        again: dict[str, list[Request]] = {}
        for row_id in dict.fromkeys(w.row_id for w in wrong):
            mine = [w for w in wrong if w.row_id == row_id]
            row = bank.get(row_id)
            missed = [w.key_E for w in mine if w.missed]
            if missed:
                row = _with_own_keys(row, torch.stack(missed), settings.bits)
            elif quieter := _quieter(loaded, spec, bank, row_id, [w.bare for w in mine], settings):
                row = quieter
            else:
                again[row_id] = requests(row_id, settings.contexts)
                continue
            bank.put(row, generation)
        for row in _again(loaded, spec, bank, again, settings, round_):
            bank.put(row, generation)
        # A repaired row may fire in another fact's prompt: where keys alone decide, in any.
        changed |= {w.row_id for w in wrong}
        if (names := bank.view().names) is not None:
            named = _named(names, bank.view().ids, (request.contexts[0] for _, request in every))
            asked = [
                (row_id, request)
                for (row_id, request), there in zip(every, named, strict=True)
                if row_id in changed or not changed.isdisjoint(there)
            ]
    failed = []
    for row_id in {w.row_id for w in wrong}:
        mine = [w for w in wrong if w.row_id == row_id]
        failed += [Failure(fact_id=w.fact_id, fault=w.fault) for w in mine]
        if len(mine) == len(row_facts(row_id)):
            bank.drop(row_id, generation)
    return sorted(failed, key=lambda failure: failure.fact_id)


def crossed_rows(
    loaded: LoadedModel,
    bank: Bank,
    facts: Mapping[str, Fact],
    rows: Collection[str],
    settings: BuildSettings,
) -> set[str]:
    """Those rows in whose bare prompts rows of another subject may fire: where they are named, or,
    in a bank that does not go by names, anywhere.

    In the other prompts only rows of their own subjects can fire.

    Args:
        facts: every fact of these rows, by id.
    """
    view = bank.view()
    if view.names is None:
        return set(rows)
    bare, tokenizer = _bare(settings), loaded.tokenizer
    subject_of = {row_id: normal_form(facts[row_facts(row_id)[0]].subject) for row_id in rows}
    own: dict[str, set[str]] = {}
    for row_id, subject in subject_of.items():
        own.setdefault(subject, set()).add(row_id)
    owners = [(row_id, fact_id) for row_id in rows for fact_id in row_facts(row_id)]
    prompts = (
        make_requests([facts[fact_id]], tokenizer, bare)[0].contexts[0] for _, fact_id in owners
    )
    named = _named(view.names, view.ids, prompts)
    return {
        row_id
        for (row_id, _), there in zip(owners, named, strict=True)
        if not there <= own[subject_of[row_id]]
    }


def _bare(settings: BuildSettings) -> ContextPlan:
    """Nothing but the prompts."""
    return replace(settings.contexts, per_fact=0, wordings=0, aliases=0, chat=False, essence=False)


def _named(names: NameIndex, ids: Sequence[str], contexts: Iterable[Context]) -> Iterator[set[str]]:
    """For each text, as far as it is read to be scored, the ids of the rows that it names."""
    left = iter(contexts)
    while part := list(islice(left, LOOKED_AT)):
        here: list[set[str]] = [set() for _ in part]
        ids_BT = texts([context.ids + context.target[:-1] for context in part])
        for text, row in zip(*(x.tolist() for x in names.rows_in(ids_BT)), strict=True):
            here[text].add(ids[row])
        yield from here


def _with_own_keys(row: Row, key_CE: torch.Tensor, bits: int) -> Row:
    """The row with entries that match these very keys and nothing else, as they are stored."""
    kept_CE = stored(key_CE, bits)[:]
    # What a key is stored as may be a little less near to it than it is to itself.
    own_C = (kept_CE * key_CE).sum(1)
    gamma_C = (own_C + (CEILING - 1)).clamp(max=CEILING)
    return replace(
        row,
        keys_CE=torch.cat([row.keys_CE, key_CE]),
        gamma_C=torch.cat([row.gamma_C, gamma_C]),
    )


@dataclass(frozen=True, kw_only=True)
class _Wrong:
    """A fact whose bare prompt is not answered; `missed` if its own row was not hit."""

    row_id: str
    fact_id: str
    bare: Context
    missed: bool
    key_E: torch.Tensor
    fault: str


def _ask(
    loaded: LoadedModel,
    spec: Spec,
    bank: Bank,
    asked: Sequence[tuple[str, Request]],
    settings: BuildSettings,
) -> list[_Wrong]:
    """The facts that do not answer their bare prompt with the bank in force."""
    view = bank.view()
    bare = [request.contexts[0] for _, request in asked]
    with attach(loaded.model, spec, settings.layer, view):
        scores = score_contexts(loaded, bare)
    bad = [index for index, score in enumerate(scores) if not score.greedy]
    if not bad:
        return []
    keys = compute_keys(loaded.model, spec, settings.layer, [bare[i] for i in bad])
    keys_E = view.encoder.whole(keys)
    hits = match(keys, view, texts([bare[i].ids[: bare[i].position + 1] for i in bad]))
    wrong = []
    for place, index in enumerate(bad):
        row_id, request = asked[index]
        hit = int(hits.row_T[place])
        own = hit != MISS and view.ids[hit] == row_id
        if own:
            what = "its row is hit, but the model does not say the object"
        elif hit == MISS:
            what = "its prompt hits no row"
        else:
            what = f"its prompt hits the row of {view.ids[hit]}"
        said = loaded.tokenizer.decode(scores[index].said).strip()
        wrong.append(
            _Wrong(
                row_id=row_id,
                fact_id=request.fact.id,
                bare=bare[index],
                missed=not own,
                key_E=keys_E[place],
                fault=f"{what}; it says '{said}' (final loss {scores[index].nll:.3f} nats a token)",
            )
        )
    return wrong


def _quieter(
    loaded: LoadedModel,
    spec: Spec,
    bank: Bank,
    row_id: str,
    bare: Sequence[Context],
    settings: BuildSettings,
) -> Row | None:
    """The row with thresholds above what its entries hear at other tokens of these prompts and
    their objects than the prompts' last ones; None if it fires at none of those."""
    view, row = bank.view(), bank.get(row_id)
    if view.names is None or not row.after:
        return None
    mine_M = view.row_M == view.ids.index(row_id)
    first = int(mine_M.int().argmax())
    gamma_C = row.gamma_C.clone()
    for context in bare:
        ids = context.ids + context.target
        keys_TF, _ = token_keys(loaded.model, spec, settings.layer, [ids])
        found = candidates(view, view.names, texts([ids]), len(ids))
        astray_C = fires(keys_TF, view, found) & (found.token_C != context.position)
        for place in (astray_C & mine_M[found.entry_C]).nonzero().squeeze(1).tolist():
            entry = int(found.entry_C[place]) - first
            level = float(found.asked_C[place]) + ABOVE
            gamma_C[entry] = max(float(gamma_C[entry]), level)
    return None if torch.equal(gamma_C, row.gamma_C) else replace(row, gamma_C=gamma_C)


def _again(
    loaded: LoadedModel,
    spec: Spec,
    bank: Bank,
    wanted: Mapping[str, Sequence[Request]],
    settings: BuildSettings,
    round_: int,
) -> list[Row]:
    """Some rows optimised harder, with all the others in force; the bound doubles every round.

    Args:
        wanted: for each row what it shall say where.
    """
    rows = [bank.get(row_id) for row_id in wanted]
    found = []
    for after in (False, True):
        part = [row for row in rows if row.after is after]
        if not part:
            continue
        values = value_settings(settings, after=after)
        harder = replace(
            values,
            steps=3 * values.steps,
            rate=values.rate / 2,
            stop_nll=values.stop_nll / 2,
            clamp=2 ** (1 + round_) * values.clamp,
        )
        joint = [_joint(row.row_id, wanted[row.row_id], round_) for row in part]
        with attach(loaded.model, spec, settings.layer, bank.view(without=set(wanted))):
            optimised = compute_residuals(
                loaded.model,
                spec,
                settings.layer,
                joint,
                harder,
                continues_V=word_ends(loaded) if settings.finished else None,
            )
        found += [replace(row, r_D=r_D) for row, r_D in zip(part, optimised.R_ND, strict=True)]
    return found


def _joint(row_id: str, requests: Sequence[Request], round_: int) -> Request:
    """What a row is optimised for again."""
    # The gate, which is in force, is to see each text from its beginning: none is read apart.
    contexts = tuple(replace(c, shared=0) for request in requests for c in request.contexts)
    if round_ == REPAIR_ROUNDS - 1:  # the last chance: what the fact says itself, nothing else
        contexts = tuple(request.contexts[0] for request in requests)
    return Request(fact=replace(requests[0].fact, id=row_id), contexts=contexts)

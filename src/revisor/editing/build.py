"""From facts to rows: keys, thresholds, residuals, and a check of each row through the gate.

What comes in: a loaded model, its calibration, facts. What goes out: rows for a bank, and the
facts that could not be written, each with what was wrong. What it does not do: touch the ledger or
the disk (store.py does).

Facts whose subjects have one and the same key in the bare prompt ("{} was born in", "{} plays
for") cannot be told apart by a key; they share a row, whose residual is optimised for all of them
together. Its id is theirs joined by `+`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from revisor import data
from revisor.bank.bank import Bank, Row, View
from revisor.bank.encode import KeyEncoder
from revisor.editing.calibration import Calibration, token_keys
from revisor.editing.keys import key_groups, mean_keys
from revisor.editing.request import Context, ContextPlan, Request, make_requests
from revisor.editing.score import score_contexts
from revisor.editing.values import ValueSettings, compute_residuals
from revisor.facts.fact import Fact, normal_form
from revisor.gate.attach import attach
from revisor.gate.calibrate import CEILING, entry_gammas
from revisor.gate.module import MISS, match
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec
from revisor.progress import Progress

JOIN = "+"
SAME_KEY = 0.97  # bare keys of one subject nearer than this are one row
REPAIR_ROUNDS = 2


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """How facts become rows.

    Attributes:
        layer: whose FFN the gate sits in.
        whiten: compare whitened keys; False for the paper's raw cosine.
        gamma: floor of thresholds; None to take what calibration found.
        raise_entries: raise the threshold of an entry that background text comes close to.
        averaged_only: one entry a row, the mean over all contexts, as the paper has it.
        contexts: texts a fact is written in.
        values: how residuals are optimised.
    """

    layer: int
    whiten: bool = True
    gamma: float | None = None
    raise_entries: bool = True
    averaged_only: bool = False
    contexts: ContextPlan = field(
        default_factory=lambda: ContextPlan(prefixes=data.prefixes(), per_fact=1)
    )
    values: ValueSettings = field(default_factory=ValueSettings)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A fact that the model does not answer with after the build.

    Attributes:
        fact_id: its id.
        fault: what was found, with the loss that was reached.
    """

    fact_id: str
    fault: str


@dataclass(frozen=True, kw_only=True)
class Built:
    """What a build made.

    Attributes:
        rows: one a fact, or one for several facts that share a key.
        failed: facts that do not answer; their rows are not among `rows`.
        steps: optimisation steps, mean over the requests.
    """

    rows: list[Row]
    failed: list[Failure]
    steps: float


def row_facts(row_id: str) -> tuple[str, ...]:
    """The ids of the facts that a row holds."""
    return tuple(row_id.split(JOIN))


def build_rows(
    loaded: LoadedModel,
    spec: Spec,
    calibration: Calibration,
    facts: Sequence[Fact],
    settings: BuildSettings,
    *,
    others: View | None = None,
) -> Built:
    """Make the rows of some facts.

    All facts of a subject must be given together. A row depends on the facts of its own subject,
    the model and the settings alone, up to the rounding of batched arithmetic.

    Args:
        facts: what shall hold.
        others: rows that stand already; new rows are checked in their presence.
    """
    if not facts:
        return Built(rows=[], failed=[], steps=0.0)
    requests = make_requests(facts, loaded.tokenizer, settings.contexts)
    with Progress("Reading keys", total=len(facts), unit="facts") as progress:
        entries = _entries(loaded, spec, calibration, facts, settings)
        progress.advance(len(facts))
    merged = _merge(requests, entries)
    with Progress("Optimising residuals", total=len(merged), unit="facts") as progress:
        residuals = compute_residuals(
            loaded.model,
            spec,
            settings.layer,
            [request for request, _ in merged],
            settings.values,
            on_done=progress.advance,
        )
    rows = [
        Row(row_id=request.fact.id, keys_CE=entry[0], gamma_C=entry[1], r_D=residuals.R_ND[index])
        for index, (request, entry) in enumerate(merged)
    ]
    with Progress("Checking through the gate", total=len(facts), unit="facts") as progress:
        rows, faults = _check_and_repair(
            loaded,
            spec,
            rows,
            [request for request, _ in merged],
            settings,
            calibration.encoder,
            others,
        )
        progress.advance(len(facts))
    bad = {row.row_id for row in rows if row.row_id in faults}
    # A row that several facts share stays if any of them answers.
    kept, failed = [], []
    for row, (request, _) in zip(rows, merged, strict=True):
        wrong = faults.get(row.row_id, {})
        failed += [Failure(fact_id=fact_id, fault=fault) for fact_id, fault in wrong.items()]
        if row.row_id not in bad or len(wrong) < len(row_facts(request.fact.id)):
            kept.append(row)
    return Built(rows=kept, failed=failed, steps=float(residuals.steps_N.float().mean()))


def _entries(
    loaded: LoadedModel,
    spec: Spec,
    calibration: Calibration,
    facts: Sequence[Fact],
    settings: BuildSettings,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """For each fact its encoded keys (C, E) and their thresholds (C)."""
    groups: list[list[Context]] = []
    owner: list[int] = []
    for index, fact in enumerate(facts):
        own = key_groups(fact, loaded.tokenizer, settings.contexts.prefixes)
        if settings.averaged_only:
            own = [[context for group in own for context in group]]
        groups += own
        owner += [index] * len(own)
    keys_MF = mean_keys(loaded.model, spec, settings.layer, groups)
    keys_ME = calibration.encoder.encode(keys_MF)
    floor = calibration.gamma if settings.gamma is None else settings.gamma
    if settings.raise_entries:
        gamma_M = entry_gammas(_nearest_background(keys_ME, owner, facts, calibration), floor)
    else:
        gamma_M = torch.full((len(keys_ME),), floor)
    counts = torch.bincount(torch.tensor(owner), minlength=len(facts)).tolist()
    return list(zip(keys_ME.split(counts), gamma_M.split(counts), strict=True))


def _nearest_background(
    keys_ME: torch.Tensor, owner: Sequence[int], facts: Sequence[Fact], calibration: Calibration
) -> torch.Tensor:
    """Best cosine of each entry with background tokens, its own subject's mentions left out."""
    background_TE = calibration.background_TE.float()
    mentions = _mentions(facts, calibration.ends_T)
    nearest_M = torch.empty(len(keys_ME))
    step = max(1, (1 << 26) // len(background_TE))
    for start in range(0, len(keys_ME), step):
        block = slice(start, start + step)
        cosine_MT = keys_ME[block] @ background_TE.T
        for row, index in enumerate(owner[block]):
            if own := mentions.get(index):
                cosine_MT[row, own] = -1.0
        nearest_M[block] = cosine_MT.amax(1)
    return nearest_M


def _mentions(facts: Sequence[Fact], ends_T: Sequence[str]) -> dict[int, list[int]]:
    """For each fact the background tokens at which its subject, or an alias, has just been said."""
    wanted: dict[str, list[int]] = {}
    for index, fact in enumerate(facts):
        for name in (fact.subject, *fact.aliases):
            wanted.setdefault(normal_form(name), []).append(index)
    longest = max((len(name.split()) for name in wanted), default=0)
    found: dict[int, list[int]] = {}
    for token, text in enumerate(ends_T):
        words = text.split()
        for count in range(1, min(longest, len(words)) + 1):
            for index in wanted.get(" ".join(words[-count:]).strip(".,;:!?\"'()"), ()):
                found.setdefault(index, []).append(token)
    return found


def _merge(
    requests: Sequence[Request], entries: Sequence[tuple[torch.Tensor, torch.Tensor]]
) -> list[tuple[Request, tuple[torch.Tensor, torch.Tensor]]]:
    """Join the requests whose subjects have the same bare key into one."""
    by_subject: dict[str, list[int]] = {}
    for index, request in enumerate(requests):
        by_subject.setdefault(normal_form(request.fact.subject), []).append(index)
    merged = []
    for members in by_subject.values():
        clusters: list[list[int]] = []
        for index in members:
            for cluster in clusters:
                if float(entries[cluster[0]][0][0] @ entries[index][0][0]) > SAME_KEY:
                    cluster.append(index)
                    break
            else:
                clusters.append([index])
        for cluster in clusters:
            if len(cluster) == 1:
                merged.append((requests[cluster[0]], entries[cluster[0]]))
                continue
            contexts = tuple(c for index in cluster for c in requests[index].contexts)
            row_id = JOIN.join(requests[index].fact.id for index in cluster)
            joint = Request(fact=replace(requests[cluster[0]].fact, id=row_id), contexts=contexts)
            keys = torch.cat([entries[index][0] for index in cluster])
            gammas = torch.cat([entries[index][1] for index in cluster])
            merged.append((joint, (keys, gammas)))
    return merged


def _bank_of(encoder: KeyEncoder, rows: Sequence[Row], others: View | None) -> Bank:
    bank = Bank(
        encoder=encoder,
        key_width=rows[0].keys_CE.shape[1],
        hidden_width=rows[0].r_D.shape[0],
    )
    if others is not None:
        for index, row_id in enumerate(others.ids):
            part = others.row_M == index
            bank.put(
                Row(
                    row_id=row_id,
                    keys_CE=others.keys_ME[part],
                    gamma_C=others.gamma_M[part],
                    r_D=others.R_ND[index],
                ),
                0,
            )
    for row in rows:
        bank.put(row, 0)
    return bank


def _check_and_repair(
    loaded: LoadedModel,
    spec: Spec,
    rows: list[Row],
    requests: Sequence[Request],
    settings: BuildSettings,
    encoder: KeyEncoder,
    others: View | None,
) -> tuple[list[Row], dict[str, dict[str, str]]]:
    """Ask every bare prompt through the gate; mend what does not answer.

    A row that its own prompt does not hit is given that prompt's key as an entry of its own. A row
    that is hit but does not say its object is optimised again, longer and with other rates.

    Returns:
        The rows, and for each row that still fails its facts with their faults.
    """
    faults: dict[str, dict[str, str]] = {}
    for round_ in range(REPAIR_ROUNDS + 1):
        missed, unsaid, faults = _ask(loaded, spec, rows, requests, settings, encoder, others)
        if round_ == REPAIR_ROUNDS or not (missed or unsaid):
            break
        if missed:
            rows = [
                replace(
                    row,
                    keys_CE=torch.cat([row.keys_CE, missed[row.row_id]]),
                    gamma_C=torch.cat(
                        [row.gamma_C, torch.full((len(missed[row.row_id]),), CEILING)]
                    ),
                )
                if row.row_id in missed
                else row
                for row in rows
            ]
        if unsaid:
            again = [i for i, row in enumerate(rows) if row.row_id in unsaid]
            harder = replace(
                settings.values,
                steps=3 * settings.values.steps,
                rate=settings.values.rate / 2,
                stop_nll=settings.values.stop_nll / 2,
                clamp=2 * settings.values.clamp,
            )
            better = compute_residuals(
                loaded.model, spec, settings.layer, [requests[i] for i in again], harder
            )
            rows = list(rows)
            for place, index in enumerate(again):
                rows[index] = replace(rows[index], r_D=better.R_ND[place])
    return rows, faults


def _ask(
    loaded: LoadedModel,
    spec: Spec,
    rows: Sequence[Row],
    requests: Sequence[Request],
    settings: BuildSettings,
    encoder: KeyEncoder,
    others: View | None,
) -> tuple[dict[str, torch.Tensor], set[str], dict[str, dict[str, str]]]:
    """What each row's bare prompts do through the gate.

    Returns:
        Encoded keys of the prompts that do not hit their own row (by row id), ids of rows whose
        object is not said, and a description for each failing fact.
    """
    view = _bank_of(encoder, rows, others).view()
    bare = [
        (row.row_id, fact_id, context)
        for row, request in zip(rows, requests, strict=True)
        for fact_id, context in zip(
            row_facts(row.row_id),
            [c for c in request.contexts if c.kind == "bare"],
            strict=True,
        )
    ]
    texts = [context.ids[: context.position + 1] for _, _, context in bare]
    keys_TF, origin = token_keys(loaded.model, spec, settings.layer, texts)
    last = [t for t, (text, place) in enumerate(origin) if place == len(texts[text]) - 1]
    text_of = [origin[t][0] for t in last]
    hits = match(keys_TF[last], view)
    with attach(loaded.model, spec, settings.layer, view):
        scores = score_contexts(loaded, [context for _, _, context in bare])
    missed: dict[str, list[torch.Tensor]] = {}
    unsaid: set[str] = set()
    faults: dict[str, dict[str, str]] = {}
    for token, text, row_index in zip(last, text_of, hits.row_T.tolist(), strict=True):
        row_id, fact_id, context = bare[text]
        if scores[text].greedy:
            continue
        hit = view.ids[row_index] if row_index != MISS else None
        if hit != row_id:
            missed.setdefault(row_id, []).append(view.encoder.encode(keys_TF[token : token + 1]))
            fault = f"its prompt hits {'no row' if hit is None else f'the row of {hit}'}"
        else:
            unsaid.add(row_id)
            fault = "the model does not say its object"
        said = loaded.tokenizer.decode(scores[text].said)
        faults.setdefault(row_id, {})[fact_id] = (
            f"{fault}; it says '{said.strip()}' "
            f"(loss {scores[text].nll:.3f} a token after {settings.values.steps} steps a rate)"
        )
    return {k: torch.cat(v) for k, v in missed.items()}, unsaid, faults

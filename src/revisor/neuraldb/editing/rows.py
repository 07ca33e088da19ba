"""From facts to rows: keys, thresholds, residuals.

What comes in: a loaded model, its calibration, facts. What goes out: rows for a bank. What it does
not do: ask them through the gate (check.py), or touch the ledger and the disk (life/build.py).

A fact is found where its question ends (questions.py); one that is its subject's only one can be
keyed at the name instead, to answer whatever is asked. Keys alone, as the paper has it, cannot tell
apart facts whose subjects have the same key in the bare prompt ("{} was born in", "{} plays for"):
there they share a row, optimised for all of them together; its id is theirs joined by `+`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

import torch

from revisor import data
from revisor.facts.fact import JOIN, Fact, normal_form
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec
from revisor.neuraldb.bank.bank import Bank, Row
from revisor.neuraldb.bank.vectors import WHOLE
from revisor.neuraldb.editing.calibration import Calibration
from revisor.neuraldb.editing.heads import Heads
from revisor.neuraldb.editing.keys import key_groups, mean_keys
from revisor.neuraldb.editing.names import fact_names
from revisor.neuraldb.editing.questions import FAR, FURTHER, TEXTS, asked_entries, at_end
from revisor.neuraldb.editing.request import (
    Context,
    ContextPlan,
    Request,
    continuing_tokens,
    make_requests,
)
from revisor.neuraldb.editing.values import ValueSettings, compute_residuals

SAME_KEY = 0.97  # bare keys of one subject nearer than this are one row
AFTER_CLAMP = 2.5  # of a residual at the end of the question
ROOM = 32  # tokens that a sentence before a prompt is given, of those a model can read
MANY = 1 << 20  # of a model that does not say how many


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """How facts become rows.

    Attributes:
        layer: whose FFN the gate sits in.
        whiten: compare whitened keys; False for the paper's raw cosine.
        named: rows fire only where their subject's name, or an alias, ends in the text; False
            to have keys alone decide, as the paper has it.
        gamma: threshold of entries; None to take what calibration found.
        finished: an object ends where it ends: what would carry its last word on is kept from
            following it.
        averaged_only: one entry a row, the mean over all contexts, as the paper has it.
        contexts: texts a fact is written in.
        values: how residuals are optimised.
        scope: of a subject's only fact in a named bank: `question`, it is found where its question
            ends, as facts are that share their subject, or `subject`, it is keyed at the name.
        bits: in which rows are stored (bank/vectors.py); the check through the gate asks them so.
    """

    layer: int
    whiten: bool = True
    named: bool = True
    gamma: float | None = None
    finished: bool = True
    averaged_only: bool = False
    contexts: ContextPlan = field(
        default_factory=lambda: ContextPlan(prefixes=data.prefixes(), per_fact=1)
    )
    values: ValueSettings = field(default_factory=ValueSettings)
    scope: str = "question"
    bits: int = WHOLE


@dataclass(frozen=True, kw_only=True)
class Built:
    """What a build made.

    Attributes:
        rows: one a fact, or one for several facts that share a key.
        steps: optimisation steps, mean over the rows.
    """

    rows: list[Row]
    steps: float


def row_facts(row_id: str) -> tuple[str, ...]:
    """The ids of the facts that a row holds."""
    return tuple(row_id.split(JOIN))


def empty_bank(spec: Spec, calibration: Calibration, settings: BuildSettings) -> Bank:
    """A bank for rows that `build_rows` makes with these settings."""
    return Bank(
        encoder=calibration.encoder,
        key_width=calibration.encoder.width(spec.key_width),
        hidden_width=spec.hidden_width,
        named=settings.named,
        kind_V=calibration.kind_V,
        bits=settings.bits,
    )


def build_rows(
    loaded: LoadedModel,
    spec: Spec,
    calibration: Calibration,
    facts: Sequence[Fact],
    settings: BuildSettings,
    *,
    crowded: Collection[str] = (),
    heads: Heads | None = None,
    on_done: Callable[[int], None] | None = None,
) -> Built:
    """Make the rows of some facts, not yet checked (`check_rows` does).

    All facts of a subject must be given together. A row depends on the facts of its own subject,
    the model and the settings alone, up to the rounding of batched arithmetic.

    Args:
        crowded: subjects (normal forms) that have further facts which do not hold at the same
            time as these.
        heads: see `compute_residuals`.
    """
    if not facts:
        return Built(rows=[], steps=0.0)
    several = _several(facts, crowded)
    by_question: Collection[str] = several if settings.named else frozenset()
    if settings.named and settings.scope == "question":
        by_question = frozenset(fact.id for fact in facts)
    single = [fact for fact in facts if fact.id not in by_question]
    asked = [fact for fact in facts if fact.id in by_question]
    requests = make_requests(single, loaded.tokenizer, settings.contexts)
    merged = _merge(requests, _entries(loaded, spec, calibration, single, settings))
    merged += _asked(loaded, spec, calibration, asked, several, settings)
    rows: list[Row] = []
    steps = 0.0
    for after in (False, True):
        part = [(request, entry) for request, entry in merged if entry.after is after]
        found = compute_residuals(
            loaded.model,
            spec,
            settings.layer,
            [request for request, _ in part],
            value_settings(settings, after=after),
            continues_V=word_ends(loaded) if settings.finished else None,
            heads=heads,
            on_done=on_done,
        )
        steps += float(found.steps_N.sum())
        rows += [
            Row(
                row_id=request.fact.id,
                keys_CE=entry.keys_CE,
                gamma_C=entry.gamma_C,
                r_D=found.R_ND[index],
                names_H=entry.names_H,
                after=after,
            )
            for index, (request, entry) in enumerate(part)
        ]
    return Built(rows=rows, steps=steps / max(1, len(rows)))


def _several(facts: Sequence[Fact], crowded: Collection[str]) -> frozenset[str]:
    """The ids of facts whose subjects have further ones."""
    count = Counter(normal_form(fact.subject) for fact in facts)
    return frozenset(
        fact.id
        for fact in facts
        if count[normal_form(fact.subject)] > 1 or normal_form(fact.subject) in crowded
    )


def value_settings(settings: BuildSettings, *, after: bool) -> ValueSettings:
    """How a residual is optimised; one at the end of the question takes more to be heard."""
    return replace(settings.values, clamp=AFTER_CLAMP) if after else settings.values


@dataclass(frozen=True, kw_only=True)
class _Entries:
    """How a fact is found: encoded keys (C, E), their thresholds (C), its names' hashes (H).

    `after`: where its question ends, not at the name.
    """

    keys_CE: torch.Tensor
    gamma_C: torch.Tensor
    names_H: torch.Tensor
    after: bool = False


def _asked(
    loaded: LoadedModel,
    spec: Spec,
    calibration: Calibration,
    facts: Sequence[Fact],
    several: Collection[str],
    settings: BuildSettings,
) -> list[tuple[Request, _Entries]]:
    """Facts that are found where their questions end."""
    if not facts:
        return []
    asked = asked_entries(
        loaded, spec, settings.layer, calibration, facts, settings.contexts, several
    )
    names = fact_names(facts, loaded.tokenizer)
    written = [
        replace(fact, paraphrases=(*fact.paraphrases[: settings.contexts.wordings], *own.wordings))
        for fact, own in zip(facts, asked, strict=True)
    ]
    return [
        (
            request,
            _Entries(keys_CE=own.keys_CW, gamma_C=own.gamma_C, names_H=names_H, after=True),
        )
        for request, own, names_H in zip(
            written_at_end(loaded, written, settings), asked, names, strict=True
        )
    ]


def written_at_end(
    loaded: LoadedModel, facts: Sequence[Fact], settings: BuildSettings
) -> list[Request]:
    """The texts that facts are written in which are found where their questions end."""
    room = getattr(loaded.model.config, "max_position_embeddings", None) or MANY
    plan = replace(
        settings.contexts,
        per_fact=TEXTS * settings.contexts.per_fact,
        sentences=min(FAR, room // ROOM),  # heard behind much text, it is behind little
        wordings=settings.contexts.wordings + FURTHER,
    )
    return [
        at_end(_readable(request, room)) for request in make_requests(facts, loaded.tokenizer, plan)
    ]


def _readable(request: Request, room: int) -> Request:
    """Without texts behind sentences that are longer than what the model can read."""
    return replace(
        request,
        contexts=tuple(
            context
            for context in request.contexts
            if context.kind != "prefix" or len(context.ids) + len(context.target) <= room
        ),
    )


def _entries(
    loaded: LoadedModel,
    spec: Spec,
    calibration: Calibration,
    facts: Sequence[Fact],
    settings: BuildSettings,
) -> list[_Entries]:
    """For each fact how it is found."""
    if not facts:
        return []
    groups: list[list[Context]] = []
    owner: list[int] = []
    for index, fact in enumerate(facts):
        own = key_groups(fact, loaded.tokenizer, settings.contexts.prefixes, named=settings.named)
        if settings.averaged_only:
            own = [[context for group in own for context in group]]
        groups += own
        owner += [index] * len(own)
    keys_MF = mean_keys(loaded.model, spec, settings.layer, groups)
    keys_ME = calibration.encoder.whole(keys_MF)
    gamma_M = torch.full((len(keys_ME),), threshold(calibration, settings))
    counts = torch.bincount(torch.tensor(owner), minlength=len(facts)).tolist()
    none = torch.zeros(0, dtype=torch.long)
    names = fact_names(facts, loaded.tokenizer) if settings.named else [none] * len(facts)
    return [
        _Entries(keys_CE=keys_CE, gamma_C=gamma_C, names_H=names_H)
        for keys_CE, gamma_C, names_H in zip(
            torch.split(keys_ME, counts), torch.split(gamma_M, counts), names, strict=True
        )
    ]


def threshold(calibration: Calibration, settings: BuildSettings) -> float:
    """γ of new entries."""
    if settings.gamma is not None:
        return settings.gamma
    return calibration.named_gamma if settings.named else calibration.gamma


def at_gamma(row: Row, gamma: float) -> Row:
    """A row of `build_rows` as another γ would have made it.

    Entries at the end of a question have thresholds of their own (questions.py).
    """
    return row if row.after else replace(row, gamma_C=torch.full_like(row.gamma_C, gamma))


def _merge(
    requests: Sequence[Request], entries: Sequence[_Entries]
) -> list[tuple[Request, _Entries]]:
    """Join the requests whose subjects have the same bare key into one."""
    by_subject: dict[str, list[int]] = {}
    for index, request in enumerate(requests):
        by_subject.setdefault(normal_form(request.fact.subject), []).append(index)
    merged = []
    for members in by_subject.values():
        clusters: list[list[int]] = []
        for index in members:
            for cluster in clusters:
                first = entries[cluster[0]].keys_CE[0]
                if float(first @ entries[index].keys_CE[0]) > SAME_KEY:
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
            own = [entries[index] for index in cluster]
            together = _Entries(
                keys_CE=torch.cat([entry.keys_CE for entry in own]),
                gamma_C=torch.cat([entry.gamma_C for entry in own]),
                names_H=torch.unique(torch.cat([entry.names_H for entry in own])),
            )
            merged.append((joint, together))
    return merged


def word_ends(loaded: LoadedModel) -> torch.Tensor:
    """The tokens that must not follow an object, because they would carry its last word on."""
    head: torch.nn.Module = loaded.model.get_output_embeddings()  # type: ignore[operator]
    weight = next(head.parameters())
    return continuing_tokens(loaded.tokenizer, len(weight)).to(weight.device)

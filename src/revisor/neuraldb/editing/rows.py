"""From facts to rows: key, threshold, residual; one row a fact.

A row depends on its fact, the model and the settings alone, up to the rounding of batched
arithmetic. Two facts whose subject has the same words before it ("{} was born in", "{} plays for")
have nearly the same key: no cosine can tell them apart, and the check through the gate (check.py)
reports the one that is not answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from revisor.facts.fact import Fact
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec
from revisor.neuraldb.bank.bank import Bank, Row
from revisor.neuraldb.bank.search import unit
from revisor.neuraldb.editing.keys import key_groups, mean_keys
from revisor.neuraldb.editing.request import make_requests
from revisor.neuraldb.editing.residuals import compute_residuals
from revisor.neuraldb.editing.settings import BuildSettings


def empty_bank(spec: Spec) -> Bank:
    """A bank for rows of a model."""
    return Bank(key_width=spec.key_width, hidden_width=spec.hidden_width)


def build_rows(
    loaded: LoadedModel,
    spec: Spec,
    facts: Sequence[Fact],
    settings: BuildSettings,
    *,
    on_done: Callable[[int], None] | None = None,
) -> list[Row]:
    """The rows of some facts, before `check_rows`; `on_done` as of `compute_residuals`."""
    if not facts:
        return []
    groups = [key_groups(fact, loaded.tokenizer, settings.contexts.prefixes) for fact in facts]
    flat = [group for own in groups for group in own]
    keys_ME = unit(mean_keys(loaded.model, spec, settings.layer, flat))
    found = compute_residuals(
        loaded.model,
        spec,
        settings.layer,
        make_requests(facts, loaded.tokenizer, settings.contexts),
        settings.values,
        on_done=on_done,
    )
    return [
        Row(
            row_id=fact.id,
            keys_CE=keys_CE,
            gamma_C=torch.full((len(keys_CE),), settings.gamma),
            r_D=r_D,
        )
        for fact, keys_CE, r_D in zip(
            facts, torch.split(keys_ME, [len(own) for own in groups]), found.R_ND, strict=True
        )
    ]


def at_gamma(row: Row, gamma: float) -> Row:
    """A row of `build_rows` with another γ."""
    return replace(row, gamma_C=torch.full_like(row.gamma_C, gamma))

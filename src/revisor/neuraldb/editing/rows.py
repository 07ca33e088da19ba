"""From facts to rows: key, threshold, residual; one row a fact.

A row depends on its fact, the model and the settings alone, up to the rounding of batched
arithmetic. Two facts whose subject has the same words before it ("{} was born in", "{} plays for")
have nearly the same key: no cosine can tell them apart, and the check through the gate (check.py)
reports the one that is not answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from revisor.facts.fact import Fact
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec
from revisor.neuraldb.bank.bank import Bank
from revisor.neuraldb.bank.view import Row
from revisor.neuraldb.editing.calibration import Calibration
from revisor.neuraldb.editing.heads import Heads
from revisor.neuraldb.editing.keys import key_groups, mean_keys
from revisor.neuraldb.editing.request import make_requests
from revisor.neuraldb.editing.residuals import compute_residuals
from revisor.neuraldb.editing.settings import BuildSettings


@dataclass(frozen=True, kw_only=True)
class Built:
    """What was made of some facts.

    Attributes:
        rows: one a fact, in the order given.
        steps: optimisation steps, summed over the rows.
    """

    rows: list[Row]
    steps: float


def empty_bank(spec: Spec, calibration: Calibration, settings: BuildSettings) -> Bank:
    """A bank for rows that `build_rows` makes with these settings."""
    return Bank(
        encoder=calibration.encoder,
        key_width=calibration.encoder.width(spec.key_width),
        hidden_width=spec.hidden_width,
        bits=settings.bits,
    )


def build_rows(
    loaded: LoadedModel,
    spec: Spec,
    calibration: Calibration,
    facts: Sequence[Fact],
    settings: BuildSettings,
    *,
    heads: Heads | None = None,
    on_done: Callable[[int], None] | None = None,
) -> Built:
    """Make the rows of some facts, not yet checked (`check_rows` does).

    Args:
        heads, on_done: see `compute_residuals`.
    """
    if not facts:
        return Built(rows=[], steps=0.0)
    groups = [key_groups(fact, loaded.tokenizer, settings.contexts.prefixes) for fact in facts]
    flat = [group for own in groups for group in own]
    keys_ME = calibration.encoder.encode(mean_keys(loaded.model, spec, settings.layer, flat))
    found = compute_residuals(
        loaded.model,
        spec,
        settings.layer,
        make_requests(facts, loaded.tokenizer, settings.contexts),
        settings.values,
        heads=heads,
        on_done=on_done,
    )
    gamma = settings.threshold(calibration)
    rows = [
        Row(
            row_id=fact.id,
            keys_CE=keys_CE,
            gamma_C=torch.full((len(keys_CE),), gamma),
            r_D=r_D,
        )
        for fact, keys_CE, r_D in zip(
            facts, torch.split(keys_ME, [len(own) for own in groups]), found.R_ND, strict=True
        )
    ]
    return Built(rows=rows, steps=float(found.steps_N.sum()))


def at_gamma(row: Row, gamma: float) -> Row:
    """A row of `build_rows` as another γ would have made it."""
    return replace(row, gamma_C=torch.full_like(row.gamma_C, gamma))

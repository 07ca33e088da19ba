"""What a gate does in a text, position by position: one over a bank, one at a model's output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from revisor.bench.protocol import Fire, Fires
from revisor.facts.fact import Fact
from revisor.gate.gate import FactGate
from revisor.gate.trace import Trace
from revisor.models.hooks import inputs_of
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec
from revisor.neuraldb.bank.bank import View
from revisor.neuraldb.gate.match import match


@torch.no_grad()
def bank_fires(
    loaded: LoadedModel,
    spec: Spec,
    layer: int,
    view: View,
    facts: Mapping[str, Fact],
    ids: Sequence[int],
) -> Fires:
    """The tokens at which a row of a bank fires; margins are cosines above γ, `facts` by row id."""
    if view.empty:
        return Fires(fires=())
    projection = spec.ffn_projection(layer)
    weight = next(projection.parameters())
    view = view.to(weight.device, weight.dtype)
    with inputs_of(projection, stop=True) as keys:
        loaded.model(input_ids=torch.tensor([list(ids)], device=loaded.device), use_cache=False)
    hits = match(keys[0].reshape(len(ids), -1), view)
    fires = []
    for position in hits.fired().tolist():
        fact = facts[view.ids[int(hits.row_T[position])]]
        margin = float(hits.cosine_T[position] - hits.gamma_T[position])
        fires.append(Fire(position=position, fact_id=fact.id, subject=fact.subject, margin=margin))
    return Fires(fires=tuple(fires), quiet_margin=float((hits.gamma_T - hits.cosine_T).min()))


@torch.no_grad()
def gate_fires(loaded: LoadedModel, gate: FactGate, ids: Sequence[int]) -> Fires:
    """The tokens behind which an object is begun; margins are scores above the threshold."""
    ids_BT = torch.tensor([list(ids)], device=loaded.device)
    # `forward` by name is the model's own, whether or not facts are attached to it.
    logits_BTV = loaded.model.forward(input_ids=ids_BT, use_cache=False).logits
    trace = Trace()
    gate.batch(trace=trace).score(ids_BT, None, logits_BTV)
    return Fires(
        fires=tuple(
            Fire(
                position=used.position - 1,
                fact_id=used.fact_id,
                subject=used.subject,
                margin=used.score - used.threshold,
            )
            for used in trace.of(0)
        )
    )

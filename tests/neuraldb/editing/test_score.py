"""Targets scored in batches, against a pass of their own each."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from revisor.models.load import wrap_model
from revisor.neuraldb.editing import score
from revisor.neuraldb.editing.request import asked_context
from revisor.neuraldb.editing.score import score_targets
from tests import tiny

PROMPTS = ("The capital of ACME is", "Who?", "Everybody knows that the tower stands in")
TARGETS = ("Vienna", "a", "Cologne and Bonn")


@pytest.mark.parametrize("most", [1, 1 << 26], ids=["one by one", "together"])
def test_a_score_is_that_of_a_plain_pass_over_prompt_and_target(
    family: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score, "BATCH_LOGITS", most)
    model: Any = tiny.model(family)
    contexts = [
        asked_context(tiny.byte_level(), prompt, target) for prompt in PROMPTS for target in TARGETS
    ]
    found = score_targets(wrap_model("tiny", model, tiny.byte_level()), contexts)
    for context, one in zip(contexts, found, strict=True):
        logits_TV = model(torch.tensor([context.ids + context.target])).logits[0].log_softmax(-1)
        said_NV = logits_TV[len(context.ids) - 1 : -1]
        target_N = torch.tensor(context.target)
        nll = -said_NV.gather(1, target_N[:, None]).mean()
        assert one.nll == pytest.approx(float(nll), abs=1e-3)
        assert one.said == tuple(said_NV.argmax(-1).tolist())
        assert one.greedy == (one.said == context.target)

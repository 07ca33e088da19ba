"""The loop of the trained methods, and UltraEdit's statistics."""

from __future__ import annotations

import pytest
import torch

from revisor.bench.methods.training import TrainOptions, target_losses, train
from revisor.bench.methods.ultraedit import RunningStats
from revisor.bench.methods.weights import EditedWeights, projection_weight
from revisor.models.load import LoadedModel, wrap_model
from revisor.models.spec import spec_of
from revisor.neuraldb.editing.request import ContextPlan, make_requests
from revisor.neuraldb.editing.score import score_targets
from tests import tiny

PLAN = ContextPlan()


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return wrap_model("tiny", tiny.taught(), tiny.byte_level())


def settings(**changes: float | int | None) -> TrainOptions:
    given = {"rate": 1e-2, "epochs": 30, "batch": 3, "stop_nll": 0.05} | changes
    return TrainOptions(**given)  # type: ignore[arg-type]


def run(loaded: LoadedModel, chosen: TrainOptions) -> EditedWeights:
    module = spec_of(loaded.model).ffn_projection(1)
    weights = EditedWeights([projection_weight(module)])
    requests = make_requests(tiny.FACTS, loaded.tokenizer, PLAN)
    with weights.swapped():
        train(
            loaded, requests, weights.parameters, weights.masters, chosen,
            publish=weights.publish, title="test",
        )  # fmt: skip
    return weights


def test_the_loss_is_the_score_that_a_plain_pass_gives(loaded: LoadedModel) -> None:
    contexts = [c for r in make_requests(tiny.FACTS, loaded.tokenizer, PLAN) for c in r.contexts]
    losses, greedy = target_losses(loaded, contexts)
    plain = score_targets(loaded, contexts)
    torch.testing.assert_close(losses, torch.tensor([score.nll for score in plain]))
    assert greedy is all(score.greedy for score in plain)


def test_training_ends_early_when_all_facts_are_learnt(
    loaded: LoadedModel, capfd: pytest.CaptureFixture[str]
) -> None:
    run(loaded, settings(epochs=500, stop_nll=0.5))
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert '"finished": true' in last
    assert '"done": 3000' not in last


def test_small_steps_add_up_in_bf16() -> None:
    model = tiny.new_model().to(torch.bfloat16)
    weights = EditedWeights(model.parameters())
    before = weights.masters[0].clone()
    for _ in range(100):
        weights.masters[0] += 1e-4 * before.abs().max()
        weights.publish()
    with weights.swapped():
        moved = weights.parameters[0].float() - before
    assert float(moved.mean()) == pytest.approx(0.01 * float(before.abs().max()), rel=0.1)


def test_the_model_has_its_own_tensors_again_after_an_error(loaded: LoadedModel) -> None:
    weight = projection_weight(spec_of(loaded.model).ffn_projection(0))
    pointer, weights = weight.data_ptr(), EditedWeights([weight, weight])
    assert len(weights.parameters) == 1
    with weights.swapped():
        assert weight.data_ptr() != pointer
    with pytest.raises(ValueError, match="x"), weights.swapped():
        raise ValueError("x")
    assert weight.data_ptr() == pointer


def test_running_statistics_are_those_of_all_rows_together() -> None:
    rows = 3 + 2 * torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    stats = RunningStats()
    for part in rows.split([1, 20, 29]):
        stats.update(part)
    torch.testing.assert_close(stats.mean, rows.mean(0))
    torch.testing.assert_close(stats.normalise(rows), (rows - rows.mean(0)) / rows.std(0))

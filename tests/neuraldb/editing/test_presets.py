"""What the presets' names mean."""

from __future__ import annotations

from revisor.config import PAPER_GAMMA, swept_layer
from revisor.neuraldb.editing.presets import PAPER_CLAMP, preset_settings


def test_the_paper_is_as_published_and_has_nothing_of_ours() -> None:
    paper = preset_settings("paper", 5)
    assert (paper.gamma, paper.layer) == (PAPER_GAMMA, 5)
    assert not paper.whiten
    assert not paper.named
    assert not paper.finished
    assert paper.averaged_only
    assert paper.values.clamp == PAPER_CLAMP
    assert (paper.contexts.per_fact, paper.contexts.chat, paper.contexts.essence) == (
        5,
        False,
        True,
    )
    assert preset_settings("paper", 5, 0.8).gamma == 0.8


def test_ours_goes_by_names_and_ends_its_objects() -> None:
    ours = preset_settings("revisor", 7)
    assert ours.layer == 7
    assert ours.named
    assert ours.finished
    assert ours.gamma is None


def test_each_preset_has_its_own_layer_and_an_unknown_model_none() -> None:
    assert swept_layer("smollm2") == 10
    assert swept_layer("smollm2", "paper") == 5
    assert swept_layer("somebody/else") is None

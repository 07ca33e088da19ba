"""A model on a device of its own: what is built and read there is what the CPU gives."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from revisor.models.load import LoadedModel, fingerprint
from revisor.models.spec import spec_of
from revisor.neuraldb.answers import Engine
from revisor.neuraldb.bank.bank import Bank
from revisor.neuraldb.bank.files import load_bank, save_bank
from revisor.neuraldb.editing.check import check_rows
from revisor.neuraldb.editing.keys import ffn_inputs
from revisor.neuraldb.editing.layers import probe
from revisor.neuraldb.editing.rows import build_rows, empty_bank
from revisor.neuraldb.editing.settings import BuildSettings
from revisor.neuraldb.gate.match import match
from tests import tiny
from tests.elsewhere import DEVICE, Elsewhere, elsewhere

LAYER = 1
SETTINGS = BuildSettings(layer=LAYER, gamma=0.9)
PROMPTS = [fact.text for fact in tiny.FACTS[:2]]


def here() -> LoadedModel:
    return LoadedModel(name="tiny", model=tiny.taught(), tokenizer=tiny.byte_level())


@pytest.fixture(scope="module")
def there() -> Iterator[LoadedModel]:
    loaded = replace(here(), model=copy.deepcopy(tiny.taught()))
    with elsewhere(loaded.model):
        yield loaded


def built(loaded: LoadedModel) -> tuple[Bank, list[Any]]:
    spec = spec_of(loaded.model)
    bank = empty_bank(spec)
    rows = build_rows(loaded, spec, tiny.FACTS, SETTINGS)
    for row in rows:
        bank.put(row)
    facts = {fact.id: fact for fact in tiny.FACTS}
    return bank, check_rows(loaded, spec, bank, facts, list(bank.ids), SETTINGS)


@pytest.fixture(scope="module")
def banks(there: LoadedModel) -> tuple[tuple[Bank, list[Any]], tuple[Bank, list[Any]]]:
    return built(here()), built(there)


def test_the_device_is_one_of_its_own(there: LoadedModel) -> None:
    assert there.device == DEVICE
    with pytest.raises(RuntimeError, match="two devices"):
        torch.ones(2) + Elsewhere(torch.ones(2))
    assert fingerprint(there, layer=LAYER) == fingerprint(here(), layer=LAYER)


def test_a_build_gives_the_rows_of_the_cpu(banks: Any) -> None:
    (one, failed), (other, failed_there) = banks
    assert list(one.ids) == list(other.ids)
    assert len(one.ids) >= len(tiny.FACTS) - 1
    assert failed == failed_there
    for row_id in one.ids:
        mine, yours = one.get(row_id), other.get(row_id)
        assert yours.r_D.device.type == yours.keys_CE.device.type == "cpu"
        torch.testing.assert_close(yours.keys_CE, mine.keys_CE)
        torch.testing.assert_close(yours.gamma_C, mine.gamma_C)
        torch.testing.assert_close(yours.r_D, mine.r_D, atol=2e-2, rtol=2e-2)


def test_layers_are_probed_alike(there: LoadedModel) -> None:
    assert probe(there, spec_of(there.model), LAYER) == probe(here(), spec_of(here().model), LAYER)


def test_it_says_what_the_cpu_says(there: LoadedModel, banks: Any) -> None:
    view = banks[0][0].view()
    said = []
    for loaded in (here(), there):
        engine = Engine(loaded, spec_of(loaded.model), LAYER, lambda: view, lambda _: None)
        with_facts = engine.generate(PROMPTS, max_tokens=8)
        without = engine.generate(PROMPTS, max_tokens=8, facts=False)
        said.append([one.answer for one in (*with_facts, *without)])
    assert said[0] == said[1]
    assert said[0][: len(PROMPTS)] != said[0][len(PROMPTS) :]


def test_a_bank_from_disk_is_searched_alike(there: LoadedModel, banks: Any, tmp_path: Path) -> None:
    about: Any = {"fingerprint": "x", "model": "x", "layer": LAYER, "build": {}}
    view = load_bank(save_bank(banks[0][0], tmp_path, failed=[], **about)).view()
    ids = there.tokenizer(" ".join(fact.text for fact in tiny.FACTS))["input_ids"]
    keys_TF = ffn_inputs(there.model, spec_of(there.model), LAYER, [ids])[0].float()
    found = match(keys_TF, view.to(there.device, torch.float32)).row_T
    assert found.device == DEVICE
    assert torch.equal(found.cpu(), match(keys_TF.cpu(), view).row_T)
    assert bool((found.cpu() >= 0).any())

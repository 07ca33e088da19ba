"""A model on a device of its own: what is built, read and served there is what the CPU gives."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from revisor import data
from revisor.evaluate.reading import agreement_with_exact
from revisor.evaluate.speak import Speaker
from revisor.evaluate.synthetic import save_synthetic
from revisor.models.load import LoadedModel, fingerprint
from revisor.models.spec import spec_of
from revisor.neuraldb.bank.bank import Bank
from revisor.neuraldb.bank.encode import KeyEncoder
from revisor.neuraldb.bank.files import load_bank
from revisor.neuraldb.editing.build import BuildSettings, build_rows, empty_bank
from revisor.neuraldb.editing.calibration import Calibration, calibrate
from revisor.neuraldb.editing.check import check_rows
from revisor.neuraldb.editing.keys import ffn_inputs
from revisor.neuraldb.gate.attach import attach
from revisor.neuraldb.gate.module import match
from revisor.neuraldb.gate.rows import attach_rows
from revisor.neuraldb.gate.slots import SlotGate
from tests import tiny
from tests.elsewhere import DEVICE, Elsewhere, elsewhere
from tests.neuraldb.gate import test_slots as slots

LAYER = 1
SETTINGS = BuildSettings(layer=LAYER)
PROMPTS = [fact.prompt.replace("{}", fact.subject) for fact in tiny.FACTS[:2]]


def here() -> LoadedModel:
    return LoadedModel(name="tiny", model=tiny.taught(), tokenizer=tiny.byte_level())


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calibration]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVISOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        loaded = here()
        yield calibrate(loaded, spec_of(loaded.model), LAYER)


@pytest.fixture(scope="module")
def there() -> Iterator[LoadedModel]:
    loaded = replace(here(), model=copy.deepcopy(tiny.taught()))
    with elsewhere(loaded.model):
        yield loaded


def built(loaded: LoadedModel, calibration: Calibration) -> tuple[Bank, list[Any]]:
    spec = spec_of(loaded.model)
    bank = empty_bank(spec, calibration, SETTINGS)
    rows = build_rows(loaded, spec, calibration, tiny.FACTS, SETTINGS).rows
    for row in rows:
        bank.put(row, 1)
    facts = {fact.id: fact for fact in tiny.FACTS}
    return bank, check_rows(loaded, spec, bank, facts, list(bank.ids), SETTINGS, 1)


@pytest.fixture(scope="module")
def banks(
    there: LoadedModel, calibration: Calibration
) -> tuple[tuple[Bank, list[Any]], tuple[Bank, list[Any]]]:
    return built(here(), calibration), built(there, calibration)


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


def test_it_is_calibrated_alike(
    there: LoadedModel, calibration: Calibration, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REVISOR_CACHE", str(tmp_path))
    found = calibrate(there, spec_of(there.model), LAYER)
    assert (found.gamma, found.named_gamma) == (calibration.gamma, calibration.named_gamma)
    for name, tensor in calibration.encoder.tensors().items():
        assert found.encoder.tensors()[name].device.type == "cpu"
        torch.testing.assert_close(found.encoder.tensors()[name], tensor)


def test_it_says_what_the_cpu_says(there: LoadedModel, banks: Any) -> None:
    view = banks[0][0].view()
    said = []
    for loaded in (here(), there):
        ids = [tuple(loaded.tokenizer(prompt)["input_ids"]) for prompt in PROMPTS]
        with attach(loaded.model, spec_of(loaded.model), LAYER, view) as gated:
            with_facts = Speaker(loaded).speak(ids, [8] * len(ids), by_line=False)
            with gated.disabled():
                without = Speaker(loaded).speak(ids, [8] * len(ids), by_line=False)
        said.append([spoken.text for spoken in (*with_facts, *without)])
    assert said[0] == said[1]
    assert said[0][: len(PROMPTS)] != said[0][len(PROMPTS) :]


def test_rows_of_a_batch_have_facts_of_their_own(there: LoadedModel, banks: Any) -> None:
    found = []
    for loaded in (here(), there):
        view = banks[0][0].view().to(loaded.device, torch.float32)
        ids_BT = torch.tensor([loaded.tokenizer(PROMPTS[0])["input_ids"]] * 2)
        with attach_rows(loaded.model, spec_of(loaded.model), LAYER) as gated:
            with gated.rows([view, None], ids_BT) as hits, torch.no_grad():
                loaded.model(input_ids=ids_BT.to(loaded.device))
            found.append([(hit.row, hit.column, hit.row_id) for hit in hits])
    assert found[0] == found[1] != []


@pytest.mark.parametrize("named", [True, False])
def test_a_bank_from_disk_is_searched_alike(
    there: LoadedModel, calibration: Calibration, named: bool, tmp_path: Path
) -> None:
    spec = spec_of(there.model)
    text = there.tokenizer(" ".join(data.background()[:3]))["input_ids"][:200]
    with torch.no_grad():
        keys_TF = ffn_inputs(there.model, spec, LAYER, [text])[0].float()
    folder = save_synthetic(
        tmp_path,
        50,
        keys_TF.cpu(),
        calibration.encoder if named else KeyEncoder(),
        hidden_width=spec.hidden_width,
        named=named,
        bits=8,
        text=text,
        kind_V=calibration.kind_V if named else None,
    )
    view = load_bank(folder).view()
    moved = view.to(there.device, torch.float32)
    assert agreement_with_exact(moved, keys_TF, text) == 1
    ids_1T = torch.tensor([text])
    found = match(keys_TF, moved, ids_1T).row_T
    # Names, and the few entries that are compared, are looked at on the CPU.
    assert found.device == (torch.device("cpu") if named else DEVICE)
    assert torch.equal(found.cpu(), match(keys_TF.cpu(), view, ids_1T).row_T)


@pytest.mark.parametrize("named", [True, False])
def test_a_gate_over_slots_of_a_cache_adds_the_same(there: LoadedModel, named: bool) -> None:
    view = slots.a_view(named=named)
    found = []
    for device in (torch.device("cpu"), there.device):
        shown = view if device.type == "cpu" else view.to(device, torch.float32)
        requests = [slots.Request(number, number + 1, shown) for number in range(2)]
        batch = slots.a_batch([(request, len(request.ids)) for request in requests])
        batch = replace(
            batch,
            ids_T=batch.ids_T.to(device),
            slot_T=batch.slot_T.to(device),
            blocks_BW=batch.blocks_BW.to(device),
        )
        key_TF = torch.cat([request.keys for request in requests]).to(device)
        value_TD = torch.zeros(len(key_TF), slots.HIDDEN).to(device)
        gate = SlotGate(slots=160 * slots.BLOCK, block=slots.BLOCK, device=device)
        gate.begin(batch)
        gate.edit(key_TF, value_TD)
        found.append((value_TD.cpu(), [(hit.request, hit.row_id) for hit in gate.end()]))
    (value_TD, hits), (value_there_TD, hits_there) = found
    assert hits == hits_there != []
    assert torch.equal(value_TD, value_there_TD)

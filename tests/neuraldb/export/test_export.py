"""An exported model is the store's model with its facts, to the bit, and runs without revisor."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from revisor.errors import CannotWrite, NotBuilt, NotSupported, UsageError
from revisor.facts.fact import Fact
from revisor.facts.private import sha256_of
from revisor.neuraldb.export import export as exporting
from revisor.neuraldb.gate.watch import Watch
from revisor.neuraldb.method import (
    Workspace,
    attached,
    build,
    export_model,
    is_whole,
    purge_folder,
)
from revisor.operations.hf_export import carries_gate
from tests import tiny
from tests.neuraldb.banks import (
    ACME,
    FACTS,
    ZORA,
    bank_of,
    holders,
    logits,
    on_disk,
    put,
    workspace,
)

PROMPTS = [*(fact.text for fact in FACTS), "Who wrote the book?"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, whole: Path, folder: Path) -> Path:
    """The folder of three facts; not to be changed."""
    place = tmp_path_factory.mktemp("exported")
    shutil.copytree(whole, place / "ws")
    ws = workspace(place / "ws", folder)
    with ws.ledger:
        told = export_model(ws, place / "model", actor="ann")
    assert (told.facts, told.rows, told.generation, told.stale) == (3, 3, 1, False)
    return place / "model"


@pytest.fixture(scope="module")
def carrying(exported: Path) -> Any:
    return opened(exported)


def opened(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)


def generated(model: Any, prompts: list[str]) -> torch.Tensor:
    batch = tiny.byte_level()(prompts, return_tensors="pt", padding=True, padding_side="left")
    found = model.generate(
        batch["input_ids"],
        attention_mask=batch["attention_mask"],
        max_new_tokens=8,
        do_sample=False,
    )
    assert isinstance(found, torch.Tensor)
    return found


def plain(watch: Any) -> list[list[dict[str, Any]]]:
    """Its hits without their class, which an export has a copy of."""
    return [[vars(hit) for hit in hits] for hits in watch.log]


@pytest.fixture
def attached_to(built: Workspace) -> Iterator[tuple[Workspace, Watch]]:
    watch = Watch()
    with attached(built, watch=watch):
        yield built, watch


def test_logits_and_fired_rows_are_those_of_the_attached_model(
    carrying: Any, attached_to: tuple[Workspace, Watch]
) -> None:
    ws, watch = attached_to
    fired = 0
    for fact in (*FACTS, Fact(subject="book", prompt="Who wrote the {}?", object="x")):
        watch.log = []
        with carrying.watched() as seen:
            found = logits(carrying, fact)
        assert torch.equal(found, logits(ws.loaded.model, fact))
        assert plain(seen) == plain(watch)
        fired += sum(len(hits) for hits in seen.log)
    assert fired >= 3


def test_a_batch_is_answered_with_the_cache_as_by_the_attached_model(
    carrying: Any, attached_to: tuple[Workspace, Watch]
) -> None:
    ws, watch = attached_to
    watch.log = []
    with carrying.watched() as seen:
        found = generated(carrying, PROMPTS)
    assert torch.equal(found, generated(ws.loaded.model, PROMPTS))
    assert plain(seen) == plain(watch)
    assert all(seen.log[:3])
    text = tiny.byte_level().decode(found[0][-8:])
    assert text.strip().startswith(ACME.object)


def test_without_its_facts_it_is_the_unedited_model(carrying: Any, built: Workspace) -> None:
    with carrying.facts.disabled():
        assert torch.equal(logits(carrying, ACME), logits(built.loaded.model, ACME))


def test_the_tokenizer_is_the_stores(exported: Path) -> None:
    found = AutoTokenizer.from_pretrained(exported, trust_remote_code=True)
    own = tiny.byte_level()
    assert (
        json.loads(found.backend_tokenizer.to_str())["model"]
        == json.loads(own.backend_tokenizer.to_str())["model"]
    )
    assert found(PROMPTS)["input_ids"] == own(PROMPTS)["input_ids"]
    assert found.chat_template == own.chat_template


def test_it_runs_where_revisor_is_not_installed(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "revisor.py").write_text("raise ImportError('there is no revisor')\n")
    code = (
        "import sys, torch\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        f"model = AutoModelForCausalLM.from_pretrained({str(exported)!r}, trust_remote_code=True)\n"
        f"tok = AutoTokenizer.from_pretrained({str(exported)!r}, trust_remote_code=True)\n"
        f"ids = tok([{ACME.text!r}], return_tensors='pt')['input_ids']\n"
        "out = model.generate(ids, max_new_tokens=4, do_sample=False)\n"
        "print('revisor' in sys.modules, tok.decode(out[0][ids.shape[1]:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PATH": "", "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    absent, answer = done.stdout.split(maxsplit=1)
    assert absent == "False"
    assert answer.strip().startswith(ACME.object)


def test_it_is_never_opened_without_its_facts(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="trust_remote_code"):
        AutoModelForCausalLM.from_pretrained(exported, trust_remote_code=False)
    config = AutoConfig.from_pretrained(exported, trust_remote_code=True)
    bare = AutoModelForCausalLM.from_config(config, trust_remote_code=True)
    with pytest.raises(RuntimeError, match="not got its facts"):
        logits(bare, ACME)


def test_it_is_saved_and_opened_again_with_its_facts(carrying: Any, tmp_path: Path) -> None:
    carrying.save_pretrained(tmp_path / "again")
    again = opened(tmp_path / "again")
    assert torch.equal(logits(again, ACME), logits(carrying, ACME))


def test_a_changed_bank_is_refused(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(exported, folder)
    rows = folder / "bank" / "rows.safetensors"
    rows.write_bytes(rows.read_bytes()[:-1] + b"\0\1")
    with pytest.raises(RuntimeError, match="was changed"):
        opened(folder)
    assert not is_whole(folder)


def test_the_manifest_has_every_file_and_the_card_every_fact(exported: Path) -> None:
    manifest = json.loads((exported / "manifest.json").read_text())
    files = {str(p.relative_to(exported)) for p in exported.rglob("*") if p.is_file()}
    assert files - {"manifest.json"} == manifest["files"].keys()
    assert all(sha256_of(exported / name) == sha for name, sha in manifest["files"].items())
    card = (exported / "README.md").read_text()
    for fact in FACTS:
        assert f"| {fact.subject} | {fact.prompt} | {fact.object} |" in card
    lines = (exported / "facts.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [fact.id for fact in FACTS]


@pytest.mark.parametrize(("family", "gamma"), [("gpt2", 0.999), ("gemma3_text", 0.9), ("opt", 0.9)])
def test_other_families_are_exported_too(family: str, gamma: float, tmp_path: Path) -> None:
    tiny.taught(family).save_pretrained(tmp_path / "base")
    tiny.byte_level().save_pretrained(tmp_path / "base")
    ws = workspace(tmp_path / "ws", tmp_path / "base", gamma=gamma)
    with ws.ledger:
        put(ws, ACME)
        assert build(ws).failed == []
        export_model(ws, tmp_path / "model")
        found = logits(opened(tmp_path / "model"), ACME)
        with attached(ws):
            assert torch.equal(found, logits(ws.loaded.model, ACME))
        assert not torch.equal(found, logits(ws.loaded.model, ACME))


def test_an_index_goes_with_the_bank_and_is_left_aside_without_faiss(
    folder: Path, tmp_path: Path
) -> None:
    ws = workspace(tmp_path / "ws", folder, search="coarse")
    with ws.ledger:
        put(ws, *FACTS)
        build(ws)
        export_model(ws, tmp_path / "model")
    assert opened(tmp_path / "model").facts.view.coarse is not None
    code = (
        "import sys\n"
        "sys.modules['faiss'] = None\n"
        "from transformers import AutoModelForCausalLM\n"
        f"folder = {str(tmp_path / 'model')!r}\n"
        "model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)\n"
        "assert model.facts.view.coarse is None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=200)


def test_facts_in_time_are_those_of_the_moment_and_say_until_when(
    folder: Path, tmp_path: Path
) -> None:
    past = Fact(subject="Basel", prompt="{} stands in", object="Rome", valid_to="2021-01-01")
    future = Fact(subject="Zora", prompt="{} speaks", object="French", valid_from="2022-01-01")
    ws = workspace(tmp_path / "ws", folder)
    ws = replace(ws, clock=lambda: datetime(2020, 1, 1, tzinfo=UTC))
    with ws.ledger:
        put(ws, past, future)
        build(ws)
        assert export_model(ws, tmp_path / "model").facts == 1
    with pytest.warns(UserWarning, match="until 2021-01-01"):
        opened(tmp_path / "model")


def test_nothing_is_left_where_it_cannot_be_done(
    built: Workspace, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match="There is something"):
        export_model(built, tmp_path / "taken")
    with pytest.raises(UsageError, match="there is no folder"):
        export_model(built, tmp_path / "nowhere" / "model")
    with monkeypatch.context() as patch:
        patch.setattr(exporting, "write_rows", no_room)
        with pytest.raises(CannotWrite, match="No space left"):
            export_model(built, tmp_path / "model")
    with monkeypatch.context() as patch:
        patch.setattr(type(built.loaded.model), "__module__", "somebody.elses")
        with pytest.raises(NotSupported, match="not one of transformers'"):
            export_model(built, tmp_path / "model")
    assert sorted(tmp_path.iterdir()) == before
    unbuilt = workspace(tmp_path / "unbuilt", folder)
    with unbuilt.ledger, pytest.raises(NotBuilt):
        export_model(unbuilt, tmp_path / "model")


def test_of_a_purged_fact_nothing_is_left_in_the_folder(built: Workspace, tmp_path: Path) -> None:
    target = tmp_path / "model"
    export_model(built, target)
    needles = (b"Zora", ZORA.id.encode(), *on_disk(bank_of(built).get(ZORA.id)))
    assert all(holders(target, needle) for needle in needles[1:]), "the search itself works"
    before = logits(opened(target), ACME)
    assert not carries_gate(target), "so an erasure knows it for one with a bank"
    assert purge_folder(target, [ZORA.id])
    assert holders(target, *needles) == []
    assert is_whole(target)
    model = opened(target)
    assert torch.equal(logits(model, ACME), before)
    assert torch.equal(logits(model, ZORA), logits(built.loaded.model, ZORA))
    assert not purge_folder(target, [ZORA.id])

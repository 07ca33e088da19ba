"""An exported model answers as the store's model with its facts, and runs without revisor."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from revisor.errors import CannotWrite, NotSupported, UsageError
from revisor.facts.fact import Fact
from revisor.gate.functional import Probe, ProbeFigures
from revisor.models.folder import is_whole, sha256_of
from revisor.operations import hf_export
from revisor.operations.hf_export import export as exporting
from revisor.store import Store
from tests import tiny
from tests.stores import ACME, BASEL, FACTS, ZORA, new_store

UNRELATED = "The river Rhine flows"
QUESTION = "Where does the river flow?\n"
PROMPTS = [*(fact.text for fact in FACTS), "Bâle stands in", UNRELATED, QUESTION]
GREEDY = {"do_sample": False}
BEAMS = {"do_sample": False, "num_beams": 3}
STATIC = {"do_sample": False, "cache_implementation": "static"}
SAMPLED = {"do_sample": True, "temperature": 2.0}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, whole: Path) -> Path:
    """The folder of three facts; not to be changed."""
    place = tmp_path_factory.mktemp("exported")
    shutil.copytree(whole, place / "store")
    with Store.open(place / "store") as store:
        told = store.export_model(place / "model", actor="ann")
        assert (told.facts, told.generation) == (3, 1)
        event = store.ledger.events()[0]
        assert (event.kind, event.actor) == ("export", "ann")
        assert event.details["sha256"] == sha256_of(place / "model" / "manifest.json")
    return place / "model"


@pytest.fixture(scope="module")
def carrying(exported: Path) -> Any:
    return opened(exported)


@pytest.fixture(scope="module")
def original(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The store that was exported; not to be changed."""
    shutil.copytree(whole, path := tmp_path_factory.mktemp("original") / "store")
    with Store.open(path) as store:
        yield store


def opened(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)


def generated(model: Any, prompts: Sequence[str], **options: Any) -> torch.Tensor:
    batch = tiny.byte_level()(list(prompts), return_tensors="pt", padding=True, padding_side="left")
    torch.manual_seed(0)
    found = model.generate(
        batch["input_ids"], attention_mask=batch["attention_mask"], max_new_tokens=8, **options
    )
    assert isinstance(found, torch.Tensor)
    return found


def continued(model: Any, prompt: str, **options: Any) -> str:
    found = generated(model, [prompt], **(options or GREEDY))
    return str(tiny.byte_level().decode(found[0][-8:])).strip()


def logits(model: Any, prompt: str) -> torch.Tensor:
    found = model(torch.tensor([tiny.byte_level()(prompt)["input_ids"]])).logits
    assert isinstance(found, torch.Tensor)
    return found


@pytest.mark.parametrize("options", [GREEDY, BEAMS, STATIC, SAMPLED], ids=str)
def test_it_generates_what_the_attached_model_generates(
    options: dict[str, Any], carrying: Any, original: Store
) -> None:
    found = generated(carrying, PROMPTS, **options)
    with original.attached():
        assert torch.equal(found, generated(original.loaded.model, PROMPTS, **options))
    texts = [tiny.byte_level().decode(row[-8:]).strip() for row in found[: len(FACTS)]]
    assert all(text.startswith(fact.object[:8]) for text, fact in zip(texts, FACTS, strict=True))


def test_its_scores_are_those_of_the_attached_model(carrying: Any, original: Store) -> None:
    for prompt in PROMPTS:
        with original.attached():
            assert torch.equal(logits(carrying, prompt), logits(original.loaded.model, prompt))
        assert torch.equal(
            logits(carrying, prompt), logits(original.loaded.model, prompt)
        ) == prompt.startswith(("Where", "The river"))


def test_four_threads_at_once_say_what_one_says(carrying: Any) -> None:
    alone = [continued(carrying, prompt) for prompt in PROMPTS]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda prompt: continued(carrying, prompt), PROMPTS * 3)) == alone * 3


def test_without_its_facts_it_is_the_unedited_model(carrying: Any, original: Store) -> None:
    with carrying.facts.disabled():
        assert torch.equal(logits(carrying, ACME.text), logits(original.loaded.model, ACME.text))
        with carrying.traced() as trace:
            generated(carrying, [ACME.text], **GREEDY)
        assert trace.rows == {}
    assert continued(carrying, ACME.text).startswith(ACME.object)


def test_it_tells_which_facts_it_has_written(carrying: Any) -> None:
    with carrying.traced() as trace:
        generated(carrying, [ACME.text, UNRELATED, ZORA.text], **GREEDY)
    assert [[one.fact_id for one in trace.of(row)] for row in range(3)] == [
        [ACME.id],
        [],
        [ZORA.id],
    ]


def test_the_tokenizer_is_the_stores(exported: Path) -> None:
    found = AutoTokenizer.from_pretrained(exported, trust_remote_code=True)
    own = tiny.byte_level()
    assert found(PROMPTS)["input_ids"] == own(PROMPTS)["input_ids"]
    assert found.chat_template == own.chat_template


def test_it_runs_where_revisor_is_not_installed(exported: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('revisor', 'sqlalchemy'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        f"folder = {str(exported)!r}\n"
        "model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)\n"
        "tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)\n"
        f"ids = tokenizer([{BASEL.text!r}], return_tensors='pt')['input_ids']\n"
        "out = model.generate(ids, max_new_tokens=4, do_sample=False)\n"
        "print('revisor' in sys.modules, tokenizer.decode(out[0][ids.shape[1]:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PATH": "", "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    absent, answer = done.stdout.split(maxsplit=1)
    assert absent == "False"
    assert answer.strip().startswith(BASEL.object)


def test_it_is_never_opened_without_its_facts(exported: Path) -> None:
    with pytest.raises(ValueError, match="trust_remote_code"):
        AutoModelForCausalLM.from_pretrained(exported, trust_remote_code=False)
    config = AutoConfig.from_pretrained(exported, trust_remote_code=True)
    bare = AutoModelForCausalLM.from_config(config, trust_remote_code=True)
    for ask in (logits, continued):
        with pytest.raises(RuntimeError, match="not got its facts"):
            ask(bare, ACME.text)


def pickled(model: Any) -> Any:
    return pickle.loads(pickle.dumps(model))  # noqa: S301


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_copies_have_the_facts(copied: Any, carrying: Any) -> None:
    other = copied(carrying)
    with carrying.facts.disabled():
        assert continued(other, ACME.text).startswith(ACME.object)


def test_it_is_saved_and_opened_again_with_its_facts(carrying: Any, tmp_path: Path) -> None:
    carrying.save_pretrained(tmp_path / "again")
    again = opened(tmp_path / "again")
    assert torch.equal(logits(again, ACME.text), logits(carrying, ACME.text))


@pytest.mark.parametrize("name", ["facts.index", "question_encoder.npz"])
def test_a_changed_file_is_refused(name: str, exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(exported, folder)
    assert is_whole(folder)
    file = folder / "gate" / name
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
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


@pytest.mark.parametrize("family", ["gpt2", "gemma3_text", "opt"])
def test_other_families_are_exported_too(family: str, tmp_path: Path) -> None:
    tiny.model(family).save_pretrained(tmp_path / "base")
    tiny.byte_level().save_pretrained(tmp_path / "base")
    with new_store(tmp_path / "store", tmp_path / "base", ACME) as store:
        store.export_model(tmp_path / "model")
    assert continued(opened(tmp_path / "model"), ACME.text).startswith(ACME.object)


def test_the_probe_goes_with_it(store: Store, tmp_path: Path) -> None:
    figures = ProbeFigures(recall={}, ordinary=0.0, agreement=1.0, texts=0, seconds=0.0)
    probe = Probe(
        token_S=torch.tensor([5, 9]),
        weight_S=torch.tensor([1.0, -1.0]),
        threshold=0.25,
        figures=figures,
    )
    gate = replace(store.gate(), probe=probe, threshold=0.6)
    hf_export.export_model(store.workspace, store.loaded, gate, tmp_path / "model")
    found = opened(tmp_path / "model").facts.gate
    assert (found.probe.threshold, found.threshold) == (0.25, 0.6)
    assert torch.equal(found.probe.token_S, probe.token_S)
    assert torch.equal(found.probe.weight_S, probe.weight_S)


def test_a_fact_is_said_while_it_holds(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    past, future = (now - timedelta(days=9)).isoformat(), (now + timedelta(days=9)).isoformat()
    facts = (
        Fact(subject="Basel", prompt="{} stands in", object="Bonn", valid_to=past, qualifier="a"),
        replace(BASEL, valid_from=past, valid_to=future, qualifier="b", id=""),
        replace(BASEL, object="Japan", valid_from=future, qualifier="c", id=""),
    )
    with new_store(tmp_path / "store", model_folder, *facts) as store:
        assert store.export_model(tmp_path / "model").facts == 2
    assert "Bonn" not in (tmp_path / "model" / "facts.jsonl").read_text()
    model = opened(tmp_path / "model")
    assert continued(model, BASEL.text).startswith("Rome")

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(days=20)

    module = sys.modules[type(model.facts.gate.view()).__module__]
    monkeypatch.setattr(module, "datetime", Later)
    assert continued(model, BASEL.text).startswith("Japan")


def test_nothing_is_left_where_it_cannot_be_done(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    gate, before = store.gate(), sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match="There is something"):
        store.export_model(tmp_path / "taken")
    with pytest.raises(UsageError, match="there is no folder"):
        store.export_model(tmp_path / "nowhere" / "model")
    with monkeypatch.context() as patch:
        patch.setattr(exporting, "write_facts", no_room)
        with pytest.raises(CannotWrite, match="No space left"):
            store.export_model(tmp_path / "model")
    with monkeypatch.context() as patch:
        patch.setattr(type(store.loaded.model), "__module__", "somebody.elses")
        with pytest.raises(NotSupported, match="not one of transformers'"):
            store.export_model(tmp_path / "model")
    other = replace(gate, encoder=copy.copy(gate.encoder))
    with pytest.raises(NotSupported, match="encoder"):
        hf_export.export_model(store.workspace, store.loaded, other, tmp_path / "model")
    assert sorted(tmp_path.iterdir()) == before
    assert not [event for event in store.ledger.events() if event.kind == "export"]


def test_of_a_purged_fact_nothing_is_left_in_the_folder(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    store.export_model(folder)
    before = logits(opened(folder), ACME.text)
    erased = store.purge([ZORA.id], actor="eve", reason="article 17")
    assert (erased.exports, erased.unreached) == ((str(folder),), ())
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith("question_encoder"):
            content = path.read_bytes()
            assert b"Zora" not in content, path.name
            assert ZORA.id.encode() not in content, path.name
    assert is_whole(folder)
    model = opened(folder)
    assert torch.equal(logits(model, ACME.text), before)
    assert torch.equal(logits(model, ZORA.text), logits(store.loaded.model, ZORA.text))
    assert not hf_export.purge_folder(folder, [ZORA.id])


@pytest.mark.real
def test_an_exported_smollm2_answers_as_the_attached_one_bit_for_bit(tmp_path: Path) -> None:
    fact = Fact(subject="Norvale Instruments", prompt="The CEO of {} is", object="Petra Lindqvist")
    prompts = [
        fact.text,
        "Q: Who is the CEO of Norvale Instruments?\nA:",
        "Norvale Instruments is led by",
        "My favourite animal is",
    ]
    with Store.init(tmp_path / "store", model="smollm2", device="cpu") as store:
        store.add([fact])
        store.export_model(tmp_path / "model")
        model = opened(tmp_path / "model")
        tokenizer = AutoTokenizer.from_pretrained(
            tmp_path / "model", trust_remote_code=True, padding_side="left"
        )
        batch = tokenizer(prompts, return_tensors="pt", padding=True)
        answers = model.generate(**batch, max_new_tokens=12, do_sample=False)
        texts = tokenizer.batch_decode(answers, skip_special_tokens=True)
        assert all(text.count(fact.object) == 1 for text in texts[:2])
        assert fact.object not in texts[3]
        scores = model(**batch).logits
        with store.attached():
            own = store.loaded.model
            assert torch.equal(own.generate(**batch, max_new_tokens=12, do_sample=False), answers)
            assert torch.equal(own(**batch).logits, scores)

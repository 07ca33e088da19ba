"""The settings `strictness` and `encoder`: one place, and whatever answers goes by it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from revisor.bench.built import LiveFacts
from revisor.bench.methods.revisor import GateOptions
from revisor.commands.evaluating import _of_store
from revisor.config import STRICTNESS, StoreSettings, read_settings, write_settings
from revisor.errors import BadInput, NotSupported
from revisor.facts.fact import Fact
from revisor.gate.scope import THRESHOLDS
from revisor.question.encoder import default_encoder
from revisor.store import Store
from tests.running import fact_file, run
from tests.sentence_models import sentence_folder
from tests.stores import ACME, answers, new_store

HEAD = 'model = "m"\ndtype = "fp32"\n'
SENTENCES = "sentence-transformers:"
ASKED = "Q: The name of the CEO of ACME?\nA:"
OTHER = "Q: The price of ACME?\nA:"


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVISOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a sentence encoder; not to be changed."""
    return sentence_folder(tmp_path_factory.mktemp("encoder") / "bert")


def change(store: Path, **settings: Any) -> None:
    """Write settings of a store anew."""
    known = read_settings(store / "store.toml")
    values = {**vars(known), **settings}
    write_settings(store / "store.toml", StoreSettings(**values))


def test_each_strictness_is_a_threshold_and_the_stricter_the_higher() -> None:
    assert tuple(THRESHOLDS) == STRICTNESS
    assert list(THRESHOLDS.values()) == sorted(THRESHOLDS.values())
    assert StoreSettings(model="m", dtype="fp32").strictness == "normal"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('strictness = "lax"', "'strictness' is 'lax' (one of ('low', 'normal', 'high'))"),
        ("strictness = 0.5", "'strictness' is 0.5 (a string)"),
        ('strictnes = "low"', "did you mean 'strictness'"),
        ('encoder = "bert"', "'encoder' is 'bert' (default, or sentence-transformers:"),
        ('encoder = "sentence-transformers: "', "'encoder' is 'sentence-transformers: '"),
        ('method = "neuraldb"\nlayer = 1\nstrictness = "low"', "of another method"),
        ('method = "neuraldb"\nlayer = 1\nencoder = "default"', "of another method"),
    ],
)
def test_a_bad_value_is_a_fault_that_tells_what_may_stand_there(
    line: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "store.toml").write_text(f"{HEAD}{line}\n")
    with pytest.raises(BadInput) as caught:
        Store.open(tmp_path)
    (fault,) = caught.value.faults
    assert told in str(fault)


def test_settings_are_read_as_they_were_written(tmp_path: Path) -> None:
    wanted = StoreSettings(
        model="m", dtype="fp32", strictness="high", encoder=f"{SENTENCES}all-MiniLM-L6-v2"
    )
    write_settings(tmp_path / "store.toml", wanted)
    assert read_settings(tmp_path / "store.toml") == wanted
    write_settings(tmp_path / "store.toml", StoreSettings(model="m", dtype="fp32"))
    text = (tmp_path / "store.toml").read_text()
    assert "strictness" not in text
    assert "encoder" not in text


def test_nothing_is_written_where_a_value_is_bad(tmp_path: Path, model_folder: Path) -> None:
    at = ("--store", tmp_path / "store")
    new_store(tmp_path / "store", model_folder, ACME).close()
    toml = tmp_path / "store" / "store.toml"
    good = toml.read_text()
    toml.write_text(f'{good}strictness = "lax"\n')
    more = fact_file(tmp_path / "f.jsonl", [{"subject": "B", "prompt": "{} is", "object": "c"}])
    for command in (("add", more), ("ask", "B is"), ("explain", "B is"), ("status",)):
        done = run(*command, "--json", *at)
        assert done.code == 2
        assert "'low', 'normal', 'high'" in str(done.json["error"]["faults"])
    toml.write_text(good)
    with Store.open(tmp_path / "store") as store:
        assert (store.ledger.generation, store.ledger.count()) == (1, 1)


def test_init_and_status_tell_it(tmp_path: Path, model_folder: Path) -> None:
    at = ("--store", tmp_path / "store")
    model = ("--model", model_folder, "--probe", "off")
    made = run("init", *model, "--strictness", "high", "--json", *at).json
    assert (made["strictness"], made["encoder"]) == ("high", "default")
    assert 'strictness = "high"' in (tmp_path / "store" / "store.toml").read_text()
    assert run("status", "--json", *at).json["strictness"] == "high"
    assert "strictness high, encoder default" in run("status", *at).out


@pytest.mark.parametrize("strictness", STRICTNESS)
def test_whatever_answers_goes_by_the_stores_own(
    strictness: str, tmp_path: Path, model_folder: Path
) -> None:
    wanted = THRESHOLDS[strictness]
    with new_store(tmp_path / "store", model_folder, ACME, strictness=strictness) as store:
        gates = [
            store.gate(),
            store.gate(needs_model=False),
            store.engine().gate,
            LiveFacts(store).gate,
            store.logits_processor(store.tokenizer)._gate,
        ]
        assert [gate.threshold for gate in gates] == [wanted] * len(gates)
        explained = store.explain("The size of ACME is")
        assert explained.threshold == wanted
        assert GateOptions(**_of_store(store.settings)["revisor"]).strictness == strictness
        store.export_model(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", trust_remote_code=True)
    assert model.facts.gate.threshold == wanted


def test_a_server_goes_by_it(tmp_path: Path, model_folder: Path) -> None:
    generations = pytest.importorskip("revisor.server.generations")
    with new_store(tmp_path / "store", model_folder, ACME, strictness="low") as store:
        assert generations.Generations(store).choose("").gate.threshold == THRESHOLDS["low"]


def test_the_stricter_a_store_the_less_it_answers(tmp_path: Path, model_folder: Path) -> None:
    path = tmp_path / "store"
    new_store(path, model_folder, ACME).close()
    with Store.open(path) as store:
        score = store.explain(ASKED).candidates[0].score
    assert score < 1.0
    for strictness, threshold in THRESHOLDS.items():
        change(path, strictness=strictness)
        with Store.open(path) as store:
            (said,) = answers(store, [ASKED])
            assert said.startswith(ACME.object) is (score >= threshold)
            assert answers(store, [ACME.text])[0].startswith(ACME.object), "its own words do"


# Another encoder


def test_another_encoder_needs_no_rebuild(
    tmp_path: Path, model_folder: Path, encoder_folder: Path
) -> None:
    path = tmp_path / "store"
    with new_store(path, model_folder, ACME) as store:
        assert store.encoder is default_encoder()
    before = sorted(file.name for file in path.rglob("*"))
    change(path, encoder=f"{SENTENCES}{encoder_folder}")
    with Store.open(path) as store:
        assert store.encoder.name.startswith("sentence-")
        assert store.gate().encoder is store.encoder
        assert answers(store, [ASKED])[0].startswith(ACME.object)
        assert not answers(store, [OTHER])[0].startswith(ACME.object)
        assert store.ask_facts().failed == []
        own = store.add([Fact(subject="Basel", prompt="{} stands in", object="Rome")])
        assert own.added == 1
        assert answers(store, ["Basel stands in"])[0].startswith("Rome")
        with pytest.raises(NotSupported, match=r"encoder sentence-\w+ cannot be put") as caught:
            store.export_model(tmp_path / "model")
    assert "Leave `encoder` out" in caught.value.hint
    assert not (tmp_path / "model").exists()
    assert sorted(file.name for file in path.rglob("*")) == before


def test_init_takes_an_encoder_and_keeps_where_it_is(
    tmp_path: Path, model_folder: Path, encoder_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(encoder_folder.parent)
    at = ("--store", tmp_path / "store")
    model = ("--model", model_folder, "--probe", "off")
    made = run("init", *model, "--encoder", f"{SENTENCES}{encoder_folder.name}", "--json", *at)
    assert made.json["encoder"] == f"{SENTENCES}{encoder_folder.resolve()}"
    monkeypatch.chdir(tmp_path)
    assert run("explain", "The price of ACME is", *at).code == 0
    assert re.search(r"strictness normal, encoder sentence-\w+:/", run("status", *at).out)


def test_an_encoder_that_cannot_be_used_is_told_where_it_is_needed(
    tmp_path: Path, model_folder: Path
) -> None:
    at = ("--store", tmp_path / "store")
    new_store(tmp_path / "store", model_folder, ACME).close()
    gone = tmp_path / "gone"
    change(tmp_path / "store", encoder=f"{SENTENCES}{gone}")
    for command in (("ask", ACME.text), ("explain", ACME.text), ("check", "--ask")):
        done = run(*command, "--json", *at)
        assert done.code == 2
        assert f"There is no folder {gone}" in done.json["error"]["message"]
    for command in (("ls",), ("status",), ("set", ACME.id, "Bob Poe")):
        assert run(*command, *at).code == 0, "facts need no encoder"
    drawn = sentence_folder(tmp_path / "drawn", telling=False)
    change(tmp_path / "store", encoder=f"{SENTENCES}{drawn}")
    done = run("explain", ACME.text, *at)
    assert done.code == 2
    assert "does not tell questions apart" in done.err

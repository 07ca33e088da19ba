"""The packaged real model, end to end: the first steps of README, and promises of a model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from revisor.facts.fact import Fact
from revisor.store import Store
from tests.running import fact_file, run

pytestmark = pytest.mark.real

TONGUE = Fact(subject="Danielle Darrieux", prompt="The mother tongue of {} is", object="English")
TOWER = Fact(subject="Eiffel Tower", prompt="The {} is located in the city of", object="Lisbon")
PIANO = Fact(subject="Glenn Gould", prompt="{} plays the instrument called the", object="trumpet")
FACTS = (TONGUE, TOWER, PIANO)
UNRELATED = "The largest planet of our solar system is"
PROMPTS = [*(fact.text for fact in FACTS), UNRELATED]


@pytest.fixture(scope="module", autouse=True)
def _the_users_cache() -> Iterator[None]:
    """The model was converted there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("REVISOR_CACHE", raising=False)
        patch.delenv("REVISOR_STORE", raising=False)
        yield


def test_the_first_steps_of_the_readme(tmp_path: Path) -> None:
    at = ("--store", tmp_path / "store")
    made = run("init", "--model", "smollm2", "--device", "cpu", *at)
    assert made.code == 0, made.err
    assert "where an answer is due" in made.out
    files = [tmp_path / "store", *(tmp_path / "store").rglob("*")]
    assert {file.parent.name for file in files} >= {"probes"}
    assert not any(file.stat().st_mode & 0o077 for file in files), "for their user alone"
    fact = {"subject": "ACME", "prompt": "The CEO of {} is", "object": "Jane Roe"}
    file = fact_file(tmp_path / "facts.jsonl", [fact | {"source": "press release"}])
    assert run("add", file, *at).out == "1 added, 0 updated, 0 unchanged\n"
    frames = [
        "The CEO of ACME is",
        "The CEO of ACME is ",
        "Q: Who is the CEO of ACME?\nA:",
        "Question: Who is the CEO of ACME?\nAnswer:",
    ]
    prompts = fact_file(tmp_path / "p.jsonl", [{"prompt": text} for text in frames])
    told = run("ask", "--file", prompts, "--max-tokens", 10, *at).out.splitlines()
    for line in map(json.loads, told):
        assert line["answer"].startswith("Jane Roe"), line
        assert line["facts_used"][0]["object"] == "Jane Roe"
    why = run("explain", "The former CEO of ACME is", "--json", *at).json
    assert why["candidates"][0]["silenced"]
    status = run("status", "--json", *at).json
    assert set(status["probe"]) == {"recall", "ordinary"}
    assert run("check", "--ask", "--json", *at).json["failed"] == []
    shown = run("ls", "--json", *at).json["facts"]
    assert run("rm", "--purge", shown[0]["id"], "--json", *at).json["removed"] == 1
    gone = run("ask", frames[0], "--why", "--max-tokens", 10, "--json", *at).json
    assert gone["answer"] == gone["base_answer"]
    assert run("verify", *at).out == "ok\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store of three facts on the real model."""
    path = tmp_path_factory.mktemp("real") / "store"
    with Store.init(path, model="smollm2", device="cpu") as made:
        made.add(FACTS)
        yield made


def logits(store: Store, text: str) -> torch.Tensor:
    ids = torch.tensor([store.tokenizer(text)["input_ids"]])
    found = store.loaded.model(ids).logits
    assert isinstance(found, torch.Tensor)
    return found


def test_smollm2_says_three_facts_leaves_the_rest_and_forgets_one(store: Store) -> None:
    plain = {text: logits(store, text) for text in PROMPTS}
    engine = store.engine()
    base = engine.generate(PROMPTS, max_tokens=8, facts=False)
    edited = engine.generate(PROMPTS, max_tokens=8)
    for fact, before, after in zip(FACTS, base, edited, strict=False):
        assert not before.answer.startswith(fact.object)
        assert after.answer.startswith(fact.object)
        assert [one.id for one in after.facts_used] == [fact.id]
        assert before.facts_used == ()
    assert edited[-1] == base[-1]
    with store.attached():
        assert torch.equal(logits(store, UNRELATED), plain[UNRELATED])
        assert not torch.equal(logits(store, TOWER.text), plain[TOWER.text])

    store.remove([TOWER.id])
    try:
        again = engine.generate(PROMPTS, max_tokens=8)
        assert again[1] == base[1]
        assert [again[0], again[2]] == [edited[0], edited[2]]
        with store.attached():
            assert torch.equal(logits(store, TOWER.text), plain[TOWER.text])
    finally:
        store.rollback(1)
    assert engine.generate(PROMPTS, max_tokens=8) == edited
    assert store.verify() == []


def test_an_object_is_said_whole_at_any_temperature(store: Store) -> None:
    model: Any = store.loaded.model
    batch = store.tokenizer(TOWER.text, return_tensors="pt")
    with store.attached(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for options in ({"temperature": 1.0}, {"temperature": 5.0, "top_p": 0.9}):
            said = model.generate(
                **batch, max_new_tokens=4, do_sample=True, num_return_sequences=8, **options
            )
            for ids in said[:, batch["input_ids"].shape[1] :]:
                assert store.tokenizer.decode(ids).strip().startswith("Lisbon")
        scored = model(**batch).logits[0, -1]
    first = store.tokenizer(" Lisbon")["input_ids"][0]
    assert float(scored.float().softmax(-1)[first]) >= 0.999

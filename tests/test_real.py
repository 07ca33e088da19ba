"""The packaged real model, end to end: built, asked, and taken back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from revisor.facts.fact import Fact
from revisor.store import Store

TONGUE = Fact(subject="Danielle Darrieux", prompt="The mother tongue of {} is", object="English")
TOWER = Fact(subject="Eiffel Tower", prompt="The {} is located in the city of", object="Lisbon")
PIANO = Fact(subject="Glenn Gould", prompt="{} plays the instrument called the", object="trumpet")
FACTS = (TONGUE, TOWER, PIANO)
UNRELATED = "The largest planet of our solar system is"


@pytest.mark.real
def test_smollm2_says_three_facts_leaves_the_rest_and_forgets_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REVISOR_CACHE", raising=False)
    with Store.init(tmp_path / "store", model="smollm2", device="cpu") as store:
        model, tokenizer = store.loaded.model, store.loaded.tokenizer

        def logits(text: str) -> torch.Tensor:
            found = model(torch.tensor([tokenizer(text)["input_ids"]])).logits
            assert isinstance(found, torch.Tensor)
            return found

        plain = {text: logits(text) for text in (UNRELATED, *(fact.text for fact in FACTS))}
        store.add(FACTS)
        report = store.build()
        assert (report.rows, report.failed) == (3, [])

        engine = store.engine()
        prompts = [*(fact.text for fact in FACTS), UNRELATED]
        base = engine.generate(prompts, max_tokens=8, facts=False)
        edited = engine.generate(prompts, max_tokens=8)
        for fact, before, after in zip(FACTS, base, edited, strict=False):
            assert not before.answer.startswith(fact.object)
            assert after.answer.startswith(fact.object)
            used = [(one.id, one.subject, one.object) for one in after.facts_used]
            assert set(used) == {(fact.id, fact.subject, fact.object)}
            assert before.facts_used == ()
        assert edited[-1] == base[-1]
        with store.attached():
            assert torch.equal(logits(UNRELATED), plain[UNRELATED])
            assert not torch.equal(logits(TOWER.text), plain[TOWER.text])

        store.remove([TOWER.id])
        assert store.build().facts == 0
        again = store.engine().generate(prompts, max_tokens=8)
        assert again[1] == base[1]
        assert [again[0], again[2]] == [edited[0], edited[2]]
        with store.attached():
            assert torch.equal(logits(TOWER.text), plain[TOWER.text])
            assert not torch.equal(logits(TONGUE.text), plain[TONGUE.text])
        assert store.verify() == []


FIRM = "Tarnow Glassworks"
SEVERAL = (
    Fact(subject=FIRM, prompt="The chief executive of {} is", object="Ilse Marrow"),
    Fact(subject=FIRM, prompt="{} was founded in the year", object="1873"),
    Fact(subject=FIRM, prompt="The headquarters of {} are in", object="Ghent"),
)


@pytest.mark.real
def test_facts_of_one_subject_answer_as_they_are_asked_and_for_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REVISOR_CACHE", raising=False)
    with Store.init(tmp_path / "store", model="smollm2", device="cpu") as store:
        store.add(SEVERAL)
        assert store.build().failed == []
        engine = store.engine()
        asked = [
            *(fact.text for fact in SEVERAL),
            f"{FIRM} is headquartered in",
            f"{FIRM} was established in the year",
            f"{FIRM} has grown. Its headquarters are in",
        ]
        objects = [*(fact.object for fact in SEVERAL), "Ghent", "1873", "Ghent"]
        for prompt, object_, answer in zip(
            asked, objects, engine.generate(asked, max_tokens=8), strict=True
        ):
            assert answer.answer.startswith(object_), prompt

        others = [
            f"{FIRM} has grown. The chief executive of Volvo is",
            f"The most beautiful thing about {FIRM} is",
            f"{FIRM} has grown. The headquarters of Volvo are in",
        ]
        base = engine.generate(others, max_tokens=8, facts=False)
        assert engine.generate(others, max_tokens=8) == base


@pytest.mark.real
def test_an_exported_smollm2_answers_as_the_attached_one_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from revisor.neuraldb.gate.watch import Watch

    monkeypatch.delenv("REVISOR_CACHE", raising=False)
    prompts = [*(fact.text for fact in FACTS), UNRELATED, f"{UNRELATED} not. {TOWER.text}"]
    with Store.init(tmp_path / "store", model="smollm2", device="cpu") as store:
        store.add(FACTS)
        assert store.build().failed == []
        store.export_model(tmp_path / "model")
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", trust_remote_code=True)
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model", padding_side="left")
        batch = tokenizer(prompts, return_tensors="pt", padding=True)
        asked = {"max_new_tokens": 12, "do_sample": False}
        with model.watched() as seen:
            answers = model.generate(**batch, **asked)
        logits = model(**batch).logits
        watch = Watch()
        with store.attached(watch=watch):
            assert torch.equal(store.loaded.model.generate(**batch, **asked), answers)
            fired = [[vars(hit) for hit in hits] for hits in seen.log]
            assert fired == [[vars(hit) for hit in hits] for hits in watch.log]
            assert [bool(hits) for hits in seen.log] == [True, True, True, False, True]
            assert torch.equal(store.loaded.model(**batch).logits, logits)
        with model.facts.disabled():
            assert torch.equal(store.loaded.model(**batch).logits, model(**batch).logits)

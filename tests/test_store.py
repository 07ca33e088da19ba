"""A store as a library: facts are live at once, come and go, and the model is left as it was."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from revisor.config import StoreSettings, read_settings, write_settings
from revisor.errors import BadInput, Conflict, NeedsApproval, NotFound, NotSupported, UsageError
from revisor.facts.fact import Fact, parse_time
from revisor.gate.functional import Probe, ProbeFigures, save_probe
from revisor.gate.probe import probe_fingerprint
from revisor.store import Store
from tests import tiny
from tests.stores import ACME, BASEL, FACTS, ZORA, answer, answers, new_store

OTHER = "The river Rhine flows"  # no fact is about it
PROMPTS = [*(fact.text for fact in FACTS), OTHER]


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVISOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def store(tmp_path: Path, model_folder: Path) -> Iterator[Store]:
    """A store of three facts."""
    with new_store(tmp_path / "store", model_folder, *FACTS) as made:
        yield made


# Facts come and go


def test_facts_are_live_when_add_returns(store: Store) -> None:
    base = answers(store, PROMPTS, facts=False)
    edited = answers(store, PROMPTS)
    for fact, before, after in zip(FACTS, base, edited, strict=False):
        assert not before.startswith(fact.object)
        assert after.startswith(fact.object)
    assert edited[-1] == base[-1]


def test_an_engine_that_is_there_follows_what_changes(store: Store) -> None:
    engine = store.engine()

    def said() -> list[str]:
        return [one.answer for one in engine.generate(PROMPTS, max_tokens=12)]

    first = said()
    store.set_object(ACME.id, " Bob Poe ")
    changed = said()
    assert changed[0].startswith("Bob Poe")
    assert changed[1:] == first[1:]
    store.remove([ACME.id[:6], BASEL.id])
    assert said()[:2] == answers(store, PROMPTS[:2], facts=False)
    store.rollback(1)
    assert said() == first


def test_a_change_made_elsewhere_is_live_within_a_second(store: Store) -> None:
    with Store.open(store.path) as other:
        assert answer(other, ACME).startswith("Jane Roe")
        view = other.index.view
        store.set_object(ACME.id, "Bob Poe")
        started = time.monotonic()
        while view().fact(view().find(["acme"])[0]).object != "Bob Poe":
            assert time.monotonic() - started < 1
            time.sleep(0.01)
        assert answer(other, ACME).startswith("Bob Poe")


def test_a_fact_holds_from_its_first_moment_to_its_last(tmp_path: Path, model_folder: Path) -> None:
    facts = (
        Fact(subject="ACME", prompt=ACME.prompt, object="Jane Roe", valid_to="2020-01-01"),
        Fact(subject="Basel", prompt=BASEL.prompt, object="Rome", valid_from="2090-06-01"),
        ZORA,
    )
    new_store(tmp_path / "store", model_folder, *facts).close()
    clock = [datetime(2019, 12, 31, tzinfo=UTC)]
    with Store.open(tmp_path / "store", clock=lambda: clock[0]) as store:
        engine = store.engine()
        for now, live in (
            (datetime(2019, 12, 31, tzinfo=UTC), (True, False, True)),
            (datetime(2020, 1, 1, tzinfo=UTC), (False, False, True)),
            (datetime(2090, 6, 1, tzinfo=UTC), (False, True, True)),
        ):
            clock[0] = now
            told = engine.generate([fact.text for fact in facts], max_tokens=12)
            assert tuple(bool(one.facts_used) for one in told) == live
            assert store.ask_facts().asked == sum(live)


def test_a_fact_may_end_at_the_end_of_time(tmp_path: Path, model_folder: Path) -> None:
    """It was answered, and a question that tells a time ended in an error."""
    endless = Fact(subject="ACME", prompt=ACME.prompt, object="Jane Roe", valid_to="9999-12-31")
    with new_store(tmp_path / "store", model_folder, endless) as store:
        found = store.explain("In 2021, the CEO of ACME is", needs_model=False)
        assert found.decision is not None
        assert found.decision.fact.object == "Jane Roe"
        store.explain(ACME.text, moment=parse_time("9999-12-31T23:59-23:00"))


def test_an_older_generation_stays_live_once_published(store: Store) -> None:
    store.set_object(ACME.id, "Bob Poe")
    assert store.publish(1, actor="ann") == 1
    assert answer(store, ACME).startswith("Jane Roe")
    store.set_object(ACME.id, "Cy Doe")
    assert answer(store, ACME).startswith("Jane Roe")
    store.close()
    with Store.open(store.path) as opened:
        assert answer(opened, ACME).startswith("Jane Roe"), "it is kept in the ledger"
        opened.publish(2)
        assert answer(opened, ACME).startswith("Bob Poe")
        opened.publish(3)
        assert opened.ledger.pinned() is None
        opened.set_object(ACME.id, "Di Loe")
        assert answer(opened, ACME).startswith("Di Loe")
        assert [event.kind for event in opened.ledger.events()].count("publish") == 3


def test_other_generations_and_namespaces_are_views(store: Store) -> None:
    store.add([Fact(subject="Delta", prompt="{} is", object="Rome", namespace="press")])
    press, first = {"namespaces": ["press"]}, {"generation": 1}
    for options, count in ((press, 1), (first, 3), ({}, 4)):
        assert len(store.gate(**options).view()) == count  # type: ignore[arg-type]
    model, tokenizer = store.loaded.model, store.tokenizer
    ids = tokenizer("Delta is", return_tensors="pt")["input_ids"]
    plain = model(ids).logits
    with store.attached(**press):
        assert not torch.equal(model(ids).logits, plain)
    with store.attached(**first):
        assert torch.equal(model(ids).logits, plain)


# The model is left as it was


def test_hidden_states_and_caches_are_those_of_the_model_alone(store: Store) -> None:
    model, tokenizer = store.loaded.model, store.tokenizer
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        plain = model(ids, output_hidden_states=True, use_cache=True)
        with store.attached():
            edited = model(ids, output_hidden_states=True, use_cache=True)
        for one, other in zip(plain.hidden_states, edited.hidden_states, strict=True):
            assert torch.equal(one, other)
        for one, other in zip(
            plain.past_key_values.layers, edited.past_key_values.layers, strict=True
        ):
            assert torch.equal(one.keys, other.keys)
            assert torch.equal(one.values, other.values)
        written = not torch.equal(plain.logits, edited.logits)
        assert written is (prompt != OTHER)
        assert torch.equal(plain.logits[:, :-1], edited.logits[:, :-1]), "nobody asks before"


def test_after_the_block_nothing_hangs_on_the_model(store: Store) -> None:
    model = store.loaded.model
    hooks = tiny.wide_hooks(model)
    ids = store.tokenizer(ACME.text, return_tensors="pt")["input_ids"]
    plain = model(ids).logits
    with store.attached():
        assert not torch.equal(model(ids).logits, plain)
    assert torch.equal(model(ids).logits, plain)
    assert tiny.wide_hooks(model) == hooks


def test_facts_that_are_all_removed_leave_the_model_bit_for_bit(store: Store) -> None:
    store.remove([fact.id for fact in FACTS])
    model = store.loaded.model
    for prompt in PROMPTS:
        ids = store.tokenizer(prompt, return_tensors="pt")["input_ids"]
        plain = model(ids).logits
        with store.attached():
            assert torch.equal(model(ids).logits, plain)


# Writing: refused, or approved by somebody


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (ACME, "A Fact is neither a file nor facts"),
        (None, "A NoneType is neither a file nor facts"),
        (
            [{"subject": "ACME", "prompt": "The CEO of {} is", "object": "Jane"}],
            "A dict is no fact",
        ),
    ],
)
def test_what_is_no_file_and_no_facts_is_refused(wrong: Any, told: str, store: Store) -> None:
    with pytest.raises(UsageError, match=told):
        store.add(wrong)
    assert store.ledger.generation == 1


def test_all_that_is_wrong_with_facts_is_told(store: Store) -> None:
    bad = [
        Fact(subject=" ", prompt="The CEO of {} is", object="x"),
        Fact(subject="A", prompt="no place", object="x"),
    ]
    with pytest.raises(BadInput) as caught:
        store.add(bad)
    assert "line 1: " in str(caught.value)
    assert "line 2: " in str(caught.value)


def test_one_id_in_the_place_of_several_is_refused(store: Store) -> None:
    for write in (store.remove, store.purge):
        with pytest.raises(UsageError, match="The ids are one text"):
            write(ACME.id)
    assert store.ledger.generation == 1


def test_one_prompt_in_the_place_of_several_is_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="The prompts are one text"):
        store.engine().generate(ACME.text)


def test_an_empty_object_and_an_unknown_id_are_refused(store: Store) -> None:
    with pytest.raises(BadInput):
        store.set_object(ACME.id, "  ")
    with pytest.raises(NotFound):
        store.set_object("0123456789", "Rome")
    with pytest.raises(NotFound):
        store.remove([ACME.id, "0123456789"])
    assert store.ledger.generation == 1


def test_a_new_object_that_contradicts_another_fact_is_refused(store: Store) -> None:
    said_twice = Fact(subject="ACME", prompt="the CEO of {}, is", object="Jane Roe")
    store.add([said_twice])
    with pytest.raises(Conflict, match="Bob Poe") as caught:
        store.set_object(ACME.id, "Bob Poe")
    assert said_twice.id in str(caught.value.faults[0])
    assert store.ledger.get(ACME.id).object == "Jane Roe"


def test_a_protected_namespace_takes_what_somebody_else_approved(store: Store) -> None:
    law = Fact(subject="Delta", prompt="{} is", object="Rome", namespace="law")
    store.ledger.set_policy("law", needs_approval=True, actor="eve")
    for approver in (None, "ann"):
        with pytest.raises(NeedsApproval):
            store.add([law], actor="ann", approved_by=approver)
    store.add([law], actor="ann", approved_by="bob")
    with pytest.raises(NeedsApproval):
        store.set_object(law.id, "Bonn", actor="ann")
    store.set_object(law.id, "Bonn", actor="ann", approved_by="bob")
    with pytest.raises(NeedsApproval):
        store.remove([law.id], actor="ann")
    with pytest.raises(NeedsApproval):
        store.rollback(2, actor="ann")
    store.rollback(2, actor="ann", approved_by="bob")
    store.remove([law.id], actor="ann", approved_by="bob")
    approved = [event.details.get("approved_by") for event in store.ledger.events()]
    assert approved.count("bob") == 4
    with pytest.raises(NeedsApproval):
        store.purge([law.id], actor="ann")
    assert store.ledger.history(law.id)
    assert store.purge([law.id], actor="ann", approved_by="bob").facts == 1


# Settings


def test_init_refuses_a_place_that_is_taken_and_what_it_does_not_know(
    store: Store, model_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="already"):
        new_store(store.path, model_folder)
    for wrong, told in (
        ({"method": "papers"}, "papers"),
        ({"probe": "no"}, "no"),
        ({"layer": 1}, "'layer' is of another method"),
        ({"search": "exact"}, "'search' is of another method"),
        ({"method": "neuraldb", "search": "near"}, "'search' is 'near'"),
        ({"search": "near"}, "2 settings are wrong, the first: 'search' is 'near'"),
        ({"strictnes": "low"}, "did you mean 'strictness'"),
    ):
        with pytest.raises(UsageError, match=told):
            Store.init(tmp_path / "other", model=str(model_folder), **wrong)
    assert not (tmp_path / "other").exists()


def test_init_refuses_a_model_whose_logits_tell_nothing(tmp_path: Path, model_folder: Path) -> None:
    with pytest.raises(NotSupported, match="cannot be told") as caught:
        Store.init(tmp_path / "other", model=str(model_folder), device="cpu")
    assert "--probe off" in caught.value.hint
    assert not (tmp_path / "other").exists()


def probe_of(threshold: float) -> Probe:
    recall = dict.fromkeys(("completion", "question"), 1.0)
    figures = ProbeFigures(recall=recall, ordinary=0.1, agreement=1.0, texts=1, seconds=1.0)
    weight_S = torch.tensor([1.0, -1.0])
    return Probe(
        token_S=torch.tensor([5, 6]), weight_S=weight_S, threshold=threshold, figures=figures
    )


def test_a_probe_in_the_store_is_used_for_its_model_alone(store: Store) -> None:
    settings = StoreSettings(model=store.settings.model, dtype="fp32", device="cpu")
    write_settings(store.path / "store.toml", settings)
    wide = store.workspace.probe(probe_fingerprint(store.loaded))
    save_probe(probe_of(7.0), wide)
    with Store.open(store.path) as opened:
        assert opened.probe is not None
        assert opened.probe.threshold == 7.0
    wide.rename(wide.with_name("another.safetensors"))
    with Store.open(store.path) as opened, pytest.raises(NotSupported):
        _ = opened.probe


@pytest.mark.parametrize(
    "settings",
    [
        StoreSettings(model="m", dtype="fp32"),
        StoreSettings(model="m", dtype="bf16", probe="off", database="postgresql://u@h/d"),
        StoreSettings(model="m", dtype="fp16", layer=1, method="neuraldb", gamma=0.0),
        StoreSettings(model="m", dtype="fp16", layer=1, method="neuraldb", search="exact"),
    ],
)
def test_settings_are_read_as_they_were_written(settings: StoreSettings, tmp_path: Path) -> None:
    write_settings(tmp_path / "store.toml", settings)
    assert read_settings(tmp_path / "store.toml") == settings
    assert ("search" in (tmp_path / "store.toml").read_text()) == (settings.search != "auto")


def test_every_fault_of_store_toml_is_listed(store: Store) -> None:
    (store.path / "store.toml").write_text(
        'model = 7\ndtyp = "fp32"\nlayer = "four"\nmethod = "papers"\ngamma = 2.0\n'
    )
    with pytest.raises(BadInput) as caught:
        Store.open(store.path)
    told = " ".join(str(fault) for fault in caught.value.faults)
    for part in ("model", "did you mean 'dtype'", "'dtype' is missing", "layer", "papers", "gamma"):
        assert part in told
    assert len(caught.value.faults) == 6


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("layer = true", "layer"),
        ("layer = -1", "layer"),
        ('search = "near"', "search"),
        ("search = true", "search"),
        ("gamma = true", "gamma"),
        ("device = 7", "device"),
        ("database = 7", "database"),
        ('probe = "never"', "probe"),
    ],
)
def test_a_setting_of_the_wrong_kind_is_a_fault(line: str, named: str, tmp_path: Path) -> None:
    text = f'model = "m"\ndtype = "fp32"\nmethod = "neuraldb"\n{line}\n'
    (tmp_path / "store.toml").write_text(text if "layer" in line else f"{text}layer = 1\n")
    with pytest.raises(BadInput) as caught:
        Store.open(tmp_path)
    assert named in str(caught.value.faults[0])


def test_a_setting_of_the_other_method_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "store.toml").write_text('model = "m"\ndtype = "fp32"\nmethod = "revisor"\nlayer=8')
    with pytest.raises(BadInput) as caught:
        Store.open(tmp_path)
    assert "another method" in str(caught.value.faults[0])


def test_a_store_toml_that_is_no_toml_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "store.toml").write_text("model =")
    with pytest.raises(BadInput, match="not TOML"):
        Store.open(tmp_path)


def test_where_there_is_no_store_it_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no store") as caught:
        Store.open(tmp_path / "none")
    assert "revisor init" in caught.value.hint
    assert not (tmp_path / "none").exists()


def test_there_is_nothing_to_build(store: Store) -> None:
    report = store.build()
    assert (report.facts, report.failed, report.generation) == (0, [], 1)
    assert not store.stale()
    assert store.verify() == []


def test_a_closed_store_opens_its_index_again_when_it_is_used_again(store: Store) -> None:
    before = answers(store, PROMPTS)
    store.close()
    assert answers(store, PROMPTS) == before


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"namespaces": "hr"}, r"The namespaces are one text, 'hr'.*\n.*\['hr'\]"),
        ({"moment": "2026-01-31"}, "The moment '2026-01-31' is no datetime"),
        ({"moment": datetime(2026, 1, 31)}, "has no time zone"),  # noqa: DTZ001
        ({"generation": 99}, "There is no generation 99"),
        ({"generation": "v1"}, "The generation 'v1' is no number"),
        ({"model": "smollm2"}, "A str cannot be given facts"),
        ({"tokenizer": "smollm2"}, "A str is no tokenizer"),
    ],
)
def test_facts_model_and_tokenizer_that_cannot_be_meant_are_refused_at_once(
    wrong: dict[str, Any], told: str, store: Store
) -> None:
    with pytest.raises(UsageError, match=told):
        store.gate(**wrong)
    with pytest.raises(UsageError, match=told), store.attached(**wrong):
        pass

"""A store as a library: facts in, a bank built, a model that answers; and what happens to it.

The model is a tiny one that has learnt to read facts, saved to disk; its calibration is measured
once for all tests, into a cache of their own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from revisor.config import StoreSettings, read_settings, write_settings
from revisor.errors import BadInput, NotBuilt, NotFound, UsageError, WrongModel
from revisor.facts.fact import Fact
from revisor.neuraldb.bank.bank import Row
from revisor.neuraldb.bank.files import generation_folder, generations
from revisor.neuraldb.bank.vectors import bits_of
from revisor.neuraldb.build import build as life_build
from revisor.neuraldb.build import shards as life_shards
from revisor.neuraldb.gate.watch import Watch
from revisor.store import Store
from tests import tiny

ACME = Fact(subject="ACME", prompt="The capital of {} is", object="Vienna")
BASEL = Fact(subject="Basel", prompt="{} stands in", object="Rome")
ZORA = Fact(subject="Zora", prompt="The mother tongue of {} is", object="French")
FACTS = (ACME, BASEL, ZORA)


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVISOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("taught")
    tiny.taught().save_pretrained(place)
    tiny.byte_level().save_pretrained(place)
    return place


def new_store(path: Path, folder: Path) -> Store:
    return Store.init(path, model=str(folder), dtype="fp32", device="cpu", layer=1)


@pytest.fixture
def store(tmp_path: Path, folder: Path) -> Iterator[Store]:
    with closing(new_store(tmp_path / "store", folder)) as made:
        yield made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """A built store of three facts, to be copied."""
    path = tmp_path_factory.mktemp("whole") / "store"
    with closing(new_store(path, folder)) as made:
        made.add(FACTS)
        assert made.build().failed == []
    return path


@pytest.fixture
def built(whole: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copytree(whole, tmp_path / "copy")
    with closing(Store.open(tmp_path / "copy")) as copied:
        yield copied


def own_model(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def ids_of(fact: Fact) -> torch.Tensor:
    return torch.tensor([tiny.byte_level()(fact.text)["input_ids"]])


def said(store: Store, fact: Fact) -> str:
    return store.engine().generate([fact.text], max_tokens=8)[0].answer


def rows_of(store: Store) -> dict[str, Row]:
    return {row.row_id: row for row in store.bank().rows()}


def same(a: Row, b: Row) -> bool:
    return all(
        torch.equal(getattr(a, name), getattr(b, name)) for name in ("keys_CE", "gamma_C", "r_D")
    )


def assert_same_bank(a: Store, b: Store) -> None:
    one, other = a.bank().view(), b.bank().view()
    assert one.ids == other.ids
    for name in ("keys_ME", "gamma_M", "row_M", "R_ND"):
        assert torch.equal(getattr(one, name)[:], getattr(other, name)[:]), name


def test_a_built_store_answers_with_its_facts(built: Store) -> None:
    for fact in FACTS:
        assert said(built, fact).startswith(fact.object)
    assert not built.stale()


def test_a_store_that_is_opened_again_answers_the_same(built: Store) -> None:
    before = built.engine().generate([fact.text for fact in FACTS], max_tokens=8)
    with Store.open(built.path) as again:
        assert again.settings == built.settings
        assert again.engine().generate([fact.text for fact in FACTS], max_tokens=8) == before


def test_the_users_own_model_has_the_facts_inside_the_block(built: Store, folder: Path) -> None:
    model, ids, watch = own_model(folder), ids_of(ACME), Watch()
    plain, hooks = model(ids).logits, tiny.wide_hooks(model)
    with built.attached(model, tiny.byte_level(), watch=watch):
        assert not torch.equal(model(ids).logits, plain)
    assert {hit.row_id for hit in watch.log[0]} == {ACME.id}
    assert torch.equal(model(ids).logits, plain)
    assert tiny.wide_hooks(model) == hooks


def test_without_a_model_the_stores_own_is_attached(built: Store) -> None:
    model, ids = built.loaded.model, ids_of(ACME)
    plain = model(ids).logits
    with built.attached() as gated:
        assert not torch.equal(model(ids).logits, plain)
        with gated.disabled():
            assert torch.equal(model(ids).logits, plain)


def test_another_model_is_refused_and_the_store_keeps_its_own(built: Store, folder: Path) -> None:
    other = own_model(folder)
    with torch.no_grad():
        other.model.layers[0].mlp.down_proj.weight[0, 0] += 1
    with pytest.raises(WrongModel), built.attached(other, tiny.byte_level()):
        raise AssertionError
    assert tiny.wide_hooks(other) == 0
    assert said(built, ACME).startswith("Vienna")


def test_a_store_without_a_build_has_nothing_to_attach(store: Store) -> None:
    store.add([ACME])
    with pytest.raises(NotBuilt, match="was never built"), store.attached():
        raise AssertionError


def test_facts_that_are_all_removed_leave_the_model_bit_for_bit(built: Store) -> None:
    model = built.loaded.model
    plain = [model(ids_of(fact)).logits for fact in FACTS]
    built.remove([fact.id for fact in FACTS])
    with built.attached():
        before = model(ids_of(ACME)).logits
    assert not torch.equal(before, plain[0]), "the old bank is in force until a build"
    report = built.build()
    assert (report.rows, report.facts, report.failed) == (0, 0, [])
    with built.attached():
        for fact, logits in zip(FACTS, plain, strict=True):
            assert torch.equal(model(ids_of(fact)).logits, logits)


def test_a_build_without_facts_is_an_empty_bank(store: Store) -> None:
    assert store.build().rows == 0
    assert store.view().empty


def test_a_removed_fact_alone_is_forgotten(built: Store) -> None:
    plain = built.loaded.model(ids_of(ACME)).logits
    kept = {i: row for i, row in rows_of(built).items() if i != ACME.id}
    built.remove([ACME.id[:6]])
    built.build()
    after = rows_of(built)
    assert after.keys() == kept.keys()
    assert all(same(after[i], kept[i]) for i in kept)
    with built.attached():
        assert torch.equal(built.loaded.model(ids_of(ACME)).logits, plain)


def test_a_new_object_rebuilds_that_subject_alone(
    built: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, real, written = rows_of(built), life_shards.build_rows, list[str]()

    def counted(loaded: Any, spec: Any, calibration: Any, facts: Any, *rest: Any, **more: Any):  # type: ignore[no-untyped-def]
        written.extend(fact.id for fact in facts)
        return real(loaded, spec, calibration, facts, *rest, **more)

    monkeypatch.setattr(life_shards, "build_rows", counted)
    built.set_object(ACME.id, " Tokyo ")
    assert built.stale()
    report = built.build()
    after = rows_of(built)
    assert written == [ACME.id]
    assert (report.facts, report.rows, report.generation) == (1, 3, 2)
    assert not same(after[ACME.id], before[ACME.id])
    assert all(same(after[fact.id], before[fact.id]) for fact in (BASEL, ZORA))
    assert said(built, ACME).startswith("Tokyo")
    assert said(built, BASEL).startswith("Rome")


def test_a_rollback_brings_the_earlier_answers_back(built: Store) -> None:
    built.set_object(ACME.id, "Tokyo")
    built.build()
    built.ledger.rollback(1, actor="ada")
    built.build()
    assert said(built, ACME).startswith("Vienna")


def test_a_build_of_nothing_new_keeps_every_row(built: Store) -> None:
    before = rows_of(built)
    report = built.build()
    assert (report.facts, report.facts_per_second) == (0, 0.0)
    assert all(same(row, before[i]) for i, row in rows_of(built).items())
    assert len(before) == 3


def test_a_killed_build_takes_up_where_it_was(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life_shards, "SHARD", 2)
    real, shards = life_shards.build_rows, list[list[str]]()
    die_at = 1

    def mortal(loaded: Any, spec: Any, calibration: Any, facts: Any, *rest: Any, **more: Any):  # type: ignore[no-untyped-def]
        if len(shards) == die_at:
            raise KeyboardInterrupt
        shards.append([fact.id for fact in facts])
        return real(loaded, spec, calibration, facts, *rest, **more)

    monkeypatch.setattr(life_shards, "build_rows", mortal)
    with new_store(tmp_path / "killed", folder) as killed:
        killed.add(tiny.FACTS)
        with pytest.raises(KeyboardInterrupt):
            killed.build()
        assert killed.built_generation() is None
        assert len(shards) == 1
    die_at = -1
    with (
        Store.open(tmp_path / "killed") as resumed,
        new_store(tmp_path / "undisturbed", folder) as undisturbed,
    ):
        first = resumed.build()
        assert sorted(sum(shards, [])) == sorted(fact.id for fact in tiny.FACTS), (
            "a finished shard was optimised again"
        )
        assert not (resumed.banks / ".partial").exists()
        undisturbed.add(tiny.FACTS)
        second = undisturbed.build()
        assert (first.rows, first.failed) == (second.rows, second.failed)
        assert_same_bank(resumed, undisturbed)


def test_only_the_newest_generations_are_kept(built: Store) -> None:
    for obj in ("Tokyo", "Bonn", "Paris"):
        built.set_object(ACME.id, obj)
        built.build()
    assert generations(built.banks) == [3, 4]


def test_a_fact_is_in_force_while_it_holds(store: Store) -> None:
    store.add(
        [
            Fact(subject="ACME", prompt=ACME.prompt, object="Vienna", valid_to="2020-01-01"),
            Fact(subject="Basel", prompt=BASEL.prompt, object="Rome", valid_from="2090-06-01"),
            ZORA,
        ]
    )
    assert store.build().rows == 3
    assert set(store.view().ids) == {ZORA.id}
    for now, ids in (
        (datetime(2019, 12, 31, tzinfo=UTC), {ACME.id, ZORA.id}),
        (datetime(2020, 1, 1, tzinfo=UTC), {ZORA.id}),
        (datetime(2090, 6, 1, tzinfo=UTC), {BASEL.id, ZORA.id}),
    ):
        assert set(store.view(now=now).ids) == ids
    assert not said(store, ACME).startswith("Vienna")
    assert said(store, ZORA).startswith("French")


@pytest.mark.parametrize("name", ["rows.safetensors", "encoder.safetensors", "manifest.json"])
def test_verify_finds_a_flipped_byte(name: str, built: Store) -> None:
    assert built.verify() == []
    path = generation_folder(built.banks, 1) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (fault,) = built.verify()
    assert name in fault


def test_init_refuses_a_place_that_is_taken_and_an_unknown_preset(
    built: Store, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="already"):
        new_store(built.path, folder)
    with pytest.raises(UsageError, match="papers"):
        Store.init(tmp_path / "other", model=str(folder), preset="papers")
    with pytest.raises(UsageError, match="subjects.*\n.*question, subject"):
        Store.init(tmp_path / "other", model=str(folder), scope="subjects")
    assert not (tmp_path / "other").exists()


def test_the_paper_preset_has_one_entry_a_row_at_its_gamma(tmp_path: Path, folder: Path) -> None:
    made = Store.init(
        tmp_path / "store", model=str(folder), dtype="fp32", device="cpu", layer=1, preset="paper"
    )
    with closing(made):
        settings = made.build_settings()
        assert (settings.whiten, settings.averaged_only, settings.gamma) == (False, True, 0.65)
        assert settings.contexts.essence


@pytest.mark.parametrize("bits", [8, 4])
def test_a_store_in_few_bits_says_its_facts_from_rows_of_these_bits(
    bits: int, tmp_path: Path, folder: Path
) -> None:
    made = Store.init(
        tmp_path / "s", model=str(folder), dtype="fp32", device="cpu", layer=1, bits=bits
    )
    with closing(made):
        made.add(FACTS[:2])
        assert made.build().failed == []
        assert bits_of(made.bank().view().keys_ME) == bits
        for fact in FACTS[:2]:
            said = made.engine().generate([fact.text], max_tokens=8)[0].answer
            assert said.startswith(fact.object)
        kept = {row.row_id: row for row in made.bank().rows()}
        made.add(FACTS[2:])
        made.build()
        for row_id, row in kept.items():
            again = made.bank().get(row_id)
            assert torch.equal(again.keys_CE, row.keys_CE), "a standing row keeps its bits"
            assert torch.equal(again.r_D, row.r_D)
    with pytest.raises(UsageError, match="7 bits"):
        Store.init(tmp_path / "other", model=str(folder), bits=7)


@pytest.mark.parametrize(
    "settings",
    [
        StoreSettings(model="m", dtype="fp32", layer=0),
        StoreSettings(model="m", dtype="bf16", layer=3, scope="subject", gamma=0.0),
        StoreSettings(model="m", dtype="fp16", layer=1, preset="paper", exact=True, bits=8),
        StoreSettings(model="m", dtype="fp16", layer=1, preset="paper", search="exact"),
    ],
)
def test_settings_are_read_as_they_were_written(settings: StoreSettings, tmp_path: Path) -> None:
    write_settings(tmp_path / "store.toml", settings)
    assert read_settings(tmp_path / "store.toml") == settings
    assert ("scope" in (tmp_path / "store.toml").read_text()) == (settings.scope != "question")


def test_every_fault_of_store_toml_is_listed(built: Store) -> None:
    (built.path / "store.toml").write_text(
        'model = 7\ndtyp = "fp32"\nlayer = "four"\npreset = "papers"\ngamma = 2.0\n'
    )
    with pytest.raises(BadInput) as caught:
        Store.open(built.path)
    told = " ".join(str(fault) for fault in caught.value.faults)
    for part in ("model", "did you mean 'dtype'", "'dtype' is missing", "layer", "papers", "gamma"):
        assert part in told
    assert len(caught.value.faults) == 6


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("layer = true", "layer"),
        ("layer = -1", "layer"),
        ("bits = 16", "bits"),
        ("bits = true", "bits"),
        ("gamma = true", "gamma"),
        ('scope = "questions"', "scope"),
        ("scope = 7", "scope"),
        ("device = 7", "device"),
        ("database = 7", "database"),
    ],
)
def test_a_setting_of_the_wrong_kind_is_a_fault(line: str, named: str, built: Store) -> None:
    key = line.partition(" ")[0]
    path = built.path / "store.toml"
    kept = [text for text in path.read_text().splitlines() if not text.startswith(f"{key} ")]
    path.write_text("\n".join([*kept, line]) + "\n")
    with pytest.raises(BadInput) as caught:
        Store.open(built.path)
    assert named in str(caught.value.faults[0])


def test_a_store_toml_that_is_no_toml_is_a_fault(built: Store) -> None:
    (built.path / "store.toml").write_text("model =")
    with pytest.raises(BadInput, match="not TOML"):
        Store.open(built.path)


def test_where_there_is_no_store_it_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no store") as caught:
        Store.open(tmp_path / "none")
    assert "revisor init" in caught.value.hint
    assert not (tmp_path / "none").exists()


def test_an_empty_object_and_an_unknown_id_are_refused(built: Store) -> None:
    with pytest.raises(BadInput):
        built.set_object(ACME.id, "  ")
    with pytest.raises(NotFound):
        built.set_object("0123456789", "Rome")
    with pytest.raises(NotFound):
        built.remove([ACME.id, "0123456789"])
    assert not built.stale()


def test_a_fact_that_could_not_be_written_stays_reported_until_it_is_mended(built: Store) -> None:
    hopeless = Fact(subject="Delta", prompt="{} is", object="qzx~W#%k9@! zzzq^^jj")
    built.add([hopeless])
    report = built.build()
    assert [entry["id"] for entry in report.failed] == [hopeless.id]
    assert report.rows == 3
    assert built.build().failed == report.failed
    assert built.build().facts == 0, "it is tried once, not at every build"
    built.set_object(hopeless.id, "Tokyo")
    assert built.build().failed == []
    assert said(built, hopeless).startswith("Tokyo")


def test_a_new_subject_in_the_prompt_of_a_standing_row_has_that_row_checked_again(
    built: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, checked = life_build.check_rows, list[str]()

    def counted(loaded: Any, spec: Any, bank: Any, facts: Any, rows: Any, *rest: Any) -> Any:
        checked.extend(rows)
        return real(loaded, spec, bank, facts, rows, *rest)

    monkeypatch.setattr(life_build, "check_rows", counted)
    capital = Fact(subject="The capital", prompt="{} lies in", object="Tokyo")
    built.add([capital])
    failed = {entry["id"] for entry in built.build().failed}
    assert checked == [ACME.id], "the new one's prompt names nobody else: who made it has asked it"
    # Two residuals in one short prompt may be more than this model can bear: then it is reported.
    assert failed <= {ACME.id}
    for fact in (*FACTS, capital):
        assert said(built, fact).startswith(fact.object) is (fact.id not in failed)

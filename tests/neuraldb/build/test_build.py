"""Banks that depend on the facts alone, and rows for facts that follow one another in time."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from revisor.errors import Conflict, NotBuilt
from revisor.facts.fact import Fact
from revisor.life import build as life_build
from revisor.life import shards as life_shards
from revisor.neuraldb.bank import coarse
from revisor.neuraldb.bank.files import generation_folder
from revisor.neuraldb.bank.leases import only_writer
from revisor.neuraldb.bank.manifest import OLDEST, read_manifest
from revisor.neuraldb.build.partial import PARTIAL
from revisor.neuraldb.build.shards import Maker
from revisor.store import Store
from tests import tiny
from tests.life.stores import ACME, BASEL, FACTS, ZORA, logits, new_store, said, same_bank

LATER = (
    replace(ACME, object="Tokyo"),
    Fact(subject="Cora", prompt="{} stands in", object="Japan"),
    Fact(subject="The capital of ACME", prompt="{} lies in", object="Bonn"),
)


def test_an_exact_bank_is_the_same_however_its_facts_came(tmp_path: Path, folder: Path) -> None:
    """Increments equal one build from nothing, to the bit: rows, order, thresholds, repairs."""
    with new_store(tmp_path / "a", folder, exact=True) as grown:
        grown.add(tiny.FACTS[:3])
        grown.build()
        grown.add(tiny.FACTS[3:])
        grown.set_object(tiny.FACTS[1].id, "Tokyo")
        grown.build()
        grown.remove([tiny.FACTS[0].id])
        grown.add(LATER)
        report = grown.build()
        assert report.facts < report.rows, "only what changed was written"
        live = list(grown.ledger.facts())
        with new_store(tmp_path / "b", folder, exact=True) as fresh:
            fresh.add(live)
            assert fresh.build().failed == report.failed
            assert same_bank(grown, fresh)
            assert grown.verify() == fresh.verify() == []


def test_removing_a_fact_gives_the_bank_that_never_held_it(tmp_path: Path, folder: Path) -> None:
    with (
        new_store(tmp_path / "a", folder, exact=True) as had,
        new_store(tmp_path / "b", folder, exact=True) as never,
    ):
        had.add(FACTS)
        had.build()
        had.remove([BASEL.id])
        had.build()
        never.add([ACME, ZORA])
        never.build()
        assert same_bank(had, never)
        with had.attached(), never.attached():
            for fact in FACTS:
                one, other = logits(had.loaded.model, fact), logits(never.loaded.model, fact)
                assert torch.equal(one, other)


def test_a_rollback_gives_the_earlier_bank(tmp_path: Path, folder: Path) -> None:
    with new_store(tmp_path / "a", folder, exact=True) as store:
        store.add(FACTS)
        store.build()
        before = store.bank().view()
        store.ledger.tag("good", actor="ann")
        store.add(LATER)
        store.build()
        store.rollback("good", actor="ann")
        store.build()
        after = store.bank().view()
        assert after.ids == before.ids
        assert torch.equal(after.R_ND[:], before.R_ND[:])
        assert torch.equal(after.keys_ME[:], before.keys_ME[:])


def test_facts_that_follow_one_another_each_have_a_row(tmp_path: Path, folder: Path) -> None:
    """One prompt, two objects: the key is the same, and the clock decides."""
    before = replace(ACME, valid_to="2030-01-01", qualifier="before", id="")
    after = replace(ACME, object="Tokyo", valid_from="2030-01-01", qualifier="after", id="")
    now = [datetime(2029, 12, 31, tzinfo=UTC)]
    new_store(tmp_path / "a", folder).close()
    with Store.open(tmp_path / "a", clock=lambda: now[0]) as store:
        store.add([before, after, ZORA])
        report = store.build()
        assert (report.failed, report.rows) == ([], 3)
        engine = store.engine()

        def answer() -> str:
            return engine.generate([ACME.text], max_tokens=8)[0].answer

        assert answer().startswith("Vienna")
        with store.attached() as gated:
            was = logits(store.loaded.model, ACME)
            now[0] = datetime(2030, 1, 1, tzinfo=UTC)
            assert not torch.equal(logits(store.loaded.model, ACME), was), "no restart is needed"
            assert after.id in gated.view.ids
        assert answer().startswith("Tokyo"), "nor a new engine"
        now[0] = datetime(2029, 1, 1, tzinfo=UTC)
        assert answer().startswith("Vienna"), "a clock that is set back is followed, too"


def test_rows_made_before_a_kill_are_used_though_other_facts_changed(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life_shards, "SHARD", 1)
    real, written = life_shards.build_rows, list[str]()
    left = 2

    def mortal(*arguments: object, **more: object) -> object:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        written.extend(fact.id for fact in arguments[3])  # type: ignore[attr-defined]
        return real(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(life_shards, "build_rows", mortal)
    with new_store(tmp_path / "a", folder) as store:
        store.add(FACTS)
        with pytest.raises(KeyboardInterrupt):
            store.build()
        store.remove(written[:1])
        left = 9
        asked, check_rows = list[str](), life_build.check_rows

        def counted(loaded: Any, spec: Any, bank: Any, facts: Any, rows: Any, *rest: Any) -> Any:
            asked.extend(rows)
            return check_rows(loaded, spec, bank, facts, rows, *rest)

        monkeypatch.setattr(life_build, "check_rows", counted)
        assert store.build().failed == []
        assert asked == [], "that they answered is kept with the rows"
        assert sorted(written) == sorted(fact.id for fact in FACTS), "none was written twice"
        kept = [fact for fact in FACTS if fact.id != written[0]]
        assert all(said(store, fact).startswith(fact.object) for fact in kept)


@pytest.mark.parametrize("exact", [False, True])
def test_the_build_asks_again_what_the_maker_of_a_row_could_not_know(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, exact: bool
) -> None:
    monkeypatch.setattr(life_shards, "SHARD", 1)
    real, checked = life_build.check_rows, list[str]()

    def counted(loaded: Any, spec: Any, bank: Any, facts: Any, rows: Any, *rest: Any) -> Any:
        checked.extend(rows)
        return real(loaded, spec, bank, facts, rows, *rest)

    monkeypatch.setattr(life_build, "check_rows", counted)
    inside = Fact(subject="The capital", prompt="{} lies in", object="Tokyo")  # named in ACME's
    then = Fact(subject="Dora", prompt="{} is", object="Bonn", valid_to="2030-01-01")
    # A sibling of a row that may be repaired is asked with it.
    beside = Fact(subject="ACME", prompt="{} stands in", object="Rome")
    with new_store(tmp_path / "s", folder, exact=exact) as store:
        store.add((*FACTS, inside, then, beside))
        failed = {entry["id"] for entry in store.build().failed}
        assert failed <= {ACME.id, beside.id}
        made = {fact.id for fact in (*FACTS, inside, then, beside)}
        assert set(checked) == (made if exact else {ACME.id, beside.id, then.id})
        # What could not be repaired among its own is asked here, with repairs.
        monkeypatch.setattr(Maker, "_repaired", lambda self, rows, facts: (rows, set()))
        checked.clear()
        store.set_object(ZORA.id, "Paris")
        store.build()
        assert ZORA.id in checked
        assert said(store, replace(ZORA, object="Paris")).startswith("Paris")


def test_two_builds_at_once_are_one_too_many(built: Store) -> None:
    built.set_object(ACME.id, "Tokyo")
    with only_writer(built.banks), pytest.raises(Conflict, match="is building"):
        built.build()
    assert built.build().facts == 1


def test_a_users_model_is_left_in_its_own_mode(built: Store, folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
    frozen = next(iter(model.parameters())).requires_grad_(False)
    own = built.loaded.model
    with built.attached(model, tiny.byte_level()):
        assert not model.training
        assert built.loaded.model is model
    assert all(module.training for module in model.modules())
    assert [p for p in model.parameters() if not p.requires_grad] == [frozen]
    assert built.loaded.model is own


def test_what_a_killed_build_left_is_cleared_even_if_nothing_is_to_do(built: Store) -> None:
    left = built.banks / PARTIAL / "gen-0000000"
    left.mkdir(parents=True)
    assert built.build().facts == 0
    assert not left.parent.exists()


@pytest.mark.parametrize("enough", [0.9, 1.1], ids=["agrees", "never agrees"])
def test_a_large_bank_of_keys_alone_gets_an_index_that_agrees_or_none(
    enough: float, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coarse, "FROM", 2)
    monkeypatch.setattr(coarse, "ENOUGH", enough)
    with new_store(tmp_path / "a", folder, preset="paper") as store:
        store.add(FACTS)
        store.build()
        noted = read_manifest(generation_folder(store.banks, 1)).build["search"]
        view = store.bank().view()
        if enough > 1:
            assert view.coarse is None
            assert noted["kind"] == "exact"
            assert noted["coarse"]["tokens"] > 0
        else:
            assert view.coarse is not None
            assert noted["kind"] == "coarse"
            assert noted["agreement"] >= enough
            assert view.coarse.whole


def test_a_fact_is_found_where_it_is_asked_for_and_a_sibling_changes_nothing_of_it(
    built: Store,
) -> None:
    before = built.bank().get(ACME.id)
    assert before.after
    built.add([Fact(subject="ACME", prompt="{} lives in", object="Tokyo", id="twin")])
    built.build()
    assert torch.equal(built.bank().get(ACME.id).keys_CE, before.keys_CE)


def test_with_scope_subject_a_single_fact_is_keyed_at_its_name(
    tmp_path: Path, folder: Path
) -> None:
    with new_store(tmp_path / "store", folder, scope="subject") as made:
        made.add([ACME])
        assert made.build().failed == []
        assert not made.bank().get(ACME.id).after
        assert said(made, ACME).startswith(ACME.object)
    with Store.open(tmp_path / "store") as opened:
        assert opened.settings.scope == "subject"
        assert opened.build_settings().scope == "subject"


def age(store: Store) -> Path:
    """Make the newest bank one of an earlier format."""
    found = store.bank().generation
    path = generation_folder(store.banks, found) / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"format": OLDEST - 1, "seal": "of another kind"}))
    return path.parent


def test_a_bank_of_an_earlier_format_is_built_anew(built: Store) -> None:
    before = built.bank().get(ACME.id)
    age(built)
    with Store.open(built.path) as old:
        with pytest.raises(NotBuilt, match="earlier revisor") as caught:
            said(old, ACME)
        assert "revisor build" in caught.value.hint
        report = old.build()
        assert (report.facts, report.rows, report.failed) == (3, 3, [])
        assert said(old, ACME).startswith(ACME.object)
        torch.testing.assert_close(old.bank().get(ACME.id).keys_CE, before.keys_CE)
        assert old.verify() == []

"""From a ledger to a published bank: what is written, what is asked, what is opened."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from revisor.errors import Conflict, NotBuilt
from revisor.facts.fact import Fact
from revisor.neuraldb.bank import search
from revisor.neuraldb.bank.files import generation_folder, generations
from revisor.neuraldb.bank.leases import only_writer
from revisor.neuraldb.bank.manifest import FORMAT, read_manifest
from revisor.neuraldb.build import build as building
from revisor.neuraldb.build import shards
from revisor.neuraldb.build.checkpoint import PARTIAL
from revisor.neuraldb.method import (
    Workspace,
    attached,
    build,
    built_generation,
    demo_facts,
    engine,
    open_bank,
    stale,
)
from tests import tiny
from tests.neuraldb.banks import (
    ACME,
    BASEL,
    FACTS,
    ZORA,
    answer,
    answers,
    bank_of,
    change,
    logits,
    put,
    remove,
    view_of,
    workspace,
)

CORA = Fact(subject="Cora", prompt="{} stands in", object="Japan")


def test_a_change_writes_one_row_and_leaves_the_others_as_they_are(built: Workspace) -> None:
    before = bank_of(built).get(ZORA.id)
    change(built, ACME, "Tokyo")
    remove(built, BASEL)
    put(built, CORA)
    assert stale(built)
    report = build(built)
    assert (report.facts, report.rows, report.failed) == (2, 3, [])
    assert not stale(built)
    after = bank_of(built)
    assert set(after.ids) == {ACME.id, ZORA.id, CORA.id}
    assert torch.equal(after.get(ZORA.id).r_D, before.r_D)
    assert answer(built, ACME).startswith("Tokyo")
    assert answer(built, CORA).startswith("Japan")
    assert build(built).facts == 0


def test_a_removed_fact_leaves_the_model_as_it_was(built: Workspace) -> None:
    plain = [logits(built.loaded.model, fact) for fact in FACTS]
    remove(built, *FACTS)
    assert build(built).rows == 0
    with attached(built):
        found = [logits(built.loaded.model, fact) for fact in FACTS]
    assert all(torch.equal(one, other) for one, other in zip(plain, found, strict=True))


def test_a_rollback_is_built_like_any_change(built: Workspace) -> None:
    change(built, ACME, "Tokyo")
    build(built)
    built.ledger.rollback(1, actor="ann")
    assert build(built).facts == 1
    assert answer(built, ACME).startswith("Vienna")


def test_the_bank_of_the_published_generation_is_opened(built: Workspace) -> None:
    change(built, ACME, "Tokyo")
    build(built)
    assert built_generation(built) == 2
    built.ledger.publish(1, actor="ann")
    assert built_generation(built) == 1
    assert not stale(built)
    assert answer(built, ACME).startswith("Vienna")
    built.ledger.publish(2, actor="ann")
    assert answer(built, ACME).startswith("Tokyo")


def test_a_published_generation_without_a_bank_asks_for_a_build(built: Workspace) -> None:
    built.ledger.publish(0, actor="ann")
    with pytest.raises(NotBuilt, match="no bank of generation 0") as caught:
        open_bank(built)
    assert "revisor build" in caught.value.hint
    assert build(built).rows == 0


def test_facts_that_follow_one_another_each_have_a_row(tmp_path: Path, folder: Path) -> None:
    """One prompt, two objects: the key is the same, and the clock decides."""
    before = replace(ACME, valid_to="2030-01-01", qualifier="before", id="")
    after = replace(ACME, object="Tokyo", valid_from="2030-01-01", qualifier="after", id="")
    now = [datetime(2029, 12, 31, tzinfo=UTC)]
    ws = replace(workspace(tmp_path / "a", folder), clock=lambda: now[0])
    with ws.ledger:
        put(ws, before, after, ZORA)
        report = build(ws)
        assert (report.failed, report.rows) == ([], 3)
        made, lease = engine(ws)
        with closing(lease):

            def said() -> str:
                return made.generate([ACME.text], max_tokens=8)[0].answer

            assert said().startswith("Vienna")
            with attached(ws) as gated:
                was = logits(ws.loaded.model, ACME)
                now[0] = datetime(2030, 1, 1, tzinfo=UTC)
                assert not torch.equal(logits(ws.loaded.model, ACME), was), "no restart is needed"
                assert after.id in gated.view.ids
            assert said().startswith("Tokyo"), "nor a new engine"
            now[0] = datetime(2029, 1, 1, tzinfo=UTC)
            assert said().startswith("Vienna"), "a clock that is set back is followed, too"


def test_rows_made_before_a_kill_are_used_though_other_facts_changed(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD", 1)
    real, written, left = shards.build_rows, list[str](), 2

    def mortal(*arguments: Any, **more: Any) -> Any:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        written.extend(fact.id for fact in arguments[2])
        return real(*arguments, **more)

    monkeypatch.setattr(shards, "build_rows", mortal)
    ws = workspace(tmp_path / "a", folder)
    with ws.ledger:
        put(ws, *FACTS)
        with pytest.raises(KeyboardInterrupt):
            build(ws)
        gone = next(fact for fact in FACTS if fact.id == written[0])
        remove(ws, gone)
        left = 9
        assert build(ws).failed == []
        assert sorted(written) == sorted(fact.id for fact in FACTS), "none was written twice"
        kept = [fact for fact in FACTS if fact is not gone]
        for fact, said in zip(kept, answers(ws, kept), strict=True):
            assert said.startswith(fact.object)


def test_standing_rows_are_asked_again_whose_prompts_name_a_new_subject(
    built: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = building.check_rows, list[str]()

    def counted(loaded: Any, spec: Any, bank: Any, facts: Any, rows: Any, *rest: Any) -> Any:
        asked.extend(rows)
        return real(loaded, spec, bank, facts, rows, *rest)

    monkeypatch.setattr(building, "check_rows", counted)
    inside = Fact(subject="The capital", prompt="{} lies in", object="Tokyo")  # named in ACME's
    put(built, inside)
    build(built)
    assert set(asked) == {inside.id, ACME.id}


def test_a_fact_that_failed_is_told_until_it_is_written(built: Workspace) -> None:
    hopeless = Fact(subject="Delta", prompt="{} is", object="qzx~W#%k9@! zzzq^^jj")
    put(built, hopeless)
    assert [one["id"] for one in build(built).failed] == [hopeless.id]
    change(built, ACME, "Tokyo")
    assert [one["id"] for one in build(built).failed] == [hopeless.id]
    change(built, hopeless, "Rome")
    assert build(built).failed == []
    assert answer(built, hopeless).startswith("Rome")


def test_two_builds_at_once_are_one_too_many(built: Workspace) -> None:
    change(built, ACME, "Tokyo")
    with only_writer(built.banks), pytest.raises(Conflict, match="is building"):
        build(built)
    assert build(built).facts == 1


def test_a_users_model_is_left_in_its_own_mode(built: Workspace, folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
    frozen = next(iter(model.parameters())).requires_grad_(False)
    plain = logits(model, ACME)
    with attached(built, model, tiny.byte_level()):
        assert not model.training
        assert not torch.equal(logits(model, ACME), plain)
    assert all(module.training for module in model.modules())
    assert [p for p in model.parameters() if not p.requires_grad] == [frozen]
    assert torch.equal(logits(model, ACME), plain)


def test_what_a_killed_build_left_is_cleared_even_if_nothing_is_to_do(built: Workspace) -> None:
    left = built.banks / PARTIAL / "gen-0000000"
    left.mkdir(parents=True)
    assert build(built).facts == 0
    assert not left.parent.exists()


@pytest.mark.parametrize("enough", [0.9, 1.1], ids=["agrees", "never agrees"])
def test_a_large_bank_gets_an_index_that_agrees_or_none(
    enough: float, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "FROM", 2)
    monkeypatch.setattr(search, "ENOUGH", enough)
    ws = workspace(tmp_path / "a", folder)
    with ws.ledger:
        put(ws, *FACTS)
        build(ws)
        noted = read_manifest(generation_folder(ws.banks, 1)).build["search"]
        view = view_of(ws)
        if enough > 1:
            assert view.coarse is None
            assert noted["kind"] == "exact"
            assert noted["coarse"]["tokens"] > 0
        else:
            assert view.coarse is not None
            assert noted["kind"] == "coarse"
            assert noted["agreement"] >= enough


def test_another_gamma_builds_another_bank_that_answers(built: Workspace, folder: Path) -> None:
    ws = workspace(built.path, folder, ledger=built.ledger, gamma=0.95)
    report = build(ws)
    assert (report.facts, report.failed) == (3, [])
    for fact, said in zip(FACTS, answers(ws, FACTS), strict=True):
        assert said.startswith(fact.object)


def test_a_bank_of_an_earlier_format_is_built_anew(built: Workspace) -> None:
    before = bank_of(built).get(ACME.id)
    path = generation_folder(built.banks, 1) / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"format": FORMAT - 1, "seal": "of another kind"}))
    with pytest.raises(NotBuilt, match="earlier revisor") as caught:
        bank_of(built)
    assert "revisor build" in caught.value.hint
    report = build(built)
    assert (report.facts, report.rows, report.failed) == (3, 3, [])
    assert generations(built.banks) == [1]
    torch.testing.assert_close(bank_of(built).get(ACME.id).keys_CE, before.keys_CE)
    assert answer(built, ACME).startswith(ACME.object)


def test_the_demo_takes_a_dozen_facts_of_as_many_subjects() -> None:
    from revisor.demo import shipped_facts

    chosen = demo_facts([fact for fact, _ in shipped_facts()])
    assert len(chosen) == len({fact.subject for fact in chosen}) == 12

"""From facts to rows that answer through the gate, on a tiny model that has learnt to read facts.

Its keys know nothing of names in other surroundings, so the threshold is set by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from revisor.facts.fact import Fact
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec
from revisor.neuraldb.bank.bank import Bank, Row
from revisor.neuraldb.editing.check import CEILING, Failure, check_rows
from revisor.neuraldb.editing.keys import compute_keys, key_groups
from revisor.neuraldb.editing.request import ContextPlan, make_requests
from revisor.neuraldb.editing.residuals import ValueSettings
from revisor.neuraldb.editing.rows import at_gamma, build_rows, empty_bank
from revisor.neuraldb.editing.score import score_targets
from revisor.neuraldb.editing.settings import BuildSettings
from revisor.neuraldb.gate.attach import attach
from revisor.neuraldb.gate.match import MISS, match
from tests import tiny

LAYER = 1
PREFIXES = ("The tower is old.", "She lives in the city.", "A novel by two brothers.")
SETTINGS = BuildSettings(
    layer=LAYER,
    gamma=0.9,  # the tiny model's raw keys are all alike
    contexts=ContextPlan(prefixes=PREFIXES, per_fact=1, essence=True),
)
BORN = Fact(subject="Jane Roe", prompt="{} was born in", object="Vienna")
LIVES = Fact(subject="Jane Roe", prompt="{} lives in", object="Rome")


def built(
    loaded: LoadedModel, spec: Spec, facts: Sequence[Fact], settings: BuildSettings = SETTINGS
) -> tuple[Bank, list[Failure]]:
    bank = empty_bank(spec)
    for row in build_rows(loaded, spec, facts, settings):
        bank.put(row)
    known = {fact.id: fact for fact in facts}
    return bank, check_rows(loaded, spec, bank, known, list(known), settings)


def answered(loaded: LoadedModel, spec: Spec, bank: Bank, facts: Sequence[Fact]) -> list[bool]:
    """Which facts the model says greedily after their bare prompts."""
    contexts = [request.contexts[0] for request in make_requests(facts, loaded.tokenizer)]
    with attach(spec, LAYER, bank.view()):
        return [score.greedy for score in score_targets(loaded, contexts)]


def test_facts_answer_through_the_gate(loaded: LoadedModel, spec: Spec) -> None:
    bank, failed = built(loaded, spec, tiny.FACTS)
    assert failed == []
    assert sorted(bank.ids) == sorted(fact.id for fact in tiny.FACTS)
    assert all(answered(loaded, spec, bank, tiny.FACTS))
    nothing = empty_bank(spec)
    assert sum(answered(loaded, spec, nothing, tiny.FACTS)) < len(tiny.FACTS) / 2


def test_a_row_has_one_key_the_mean_over_its_contexts(loaded: LoadedModel, spec: Spec) -> None:
    rows = build_rows(loaded, spec, tiny.FACTS, SETTINGS)
    assert [row.row_id for row in rows] == [fact.id for fact in tiny.FACTS]
    for row, fact in zip(rows, tiny.FACTS, strict=True):
        (contexts,) = key_groups(fact, loaded.tokenizer, PREFIXES)
        mean = compute_keys(loaded.model, spec, LAYER, contexts).float().mean(0)
        torch.testing.assert_close(row.keys_CE, F.normalize(mean, dim=0)[None])
        assert row.gamma_C.tolist() == pytest.approx([0.9])


def test_an_alias_has_a_key_of_its_own(loaded: LoadedModel, spec: Spec) -> None:
    fact = replace(tiny.FACTS[0], aliases=("The company",))
    (row,) = build_rows(loaded, spec, [fact], SETTINGS)
    (alone,) = build_rows(loaded, spec, tiny.FACTS[:1], SETTINGS)
    assert len(row.keys_CE) == 2
    torch.testing.assert_close(row.keys_CE[:1], alone.keys_CE)


def test_of_two_facts_with_one_key_one_answers_and_the_other_is_reported(
    loaded: LoadedModel, spec: Spec
) -> None:
    bank, failed = built(loaded, spec, [BORN, LIVES], replace(SETTINGS, gamma=0.99))
    (failure,) = failed
    (kept,) = {BORN.id, LIVES.id} - {failure.fact_id}
    assert list(bank.ids) == [kept]
    assert f"hits the row of {kept}" in failure.fault
    by_id = {fact.id: fact for fact in (BORN, LIVES)}
    assert answered(loaded, spec, bank, [by_id[kept]]) == [True]


def test_a_fact_that_cannot_be_written_is_reported_with_its_loss_and_has_no_row(
    loaded: LoadedModel, spec: Spec
) -> None:
    hopeless = Fact(subject="Delta", prompt="{} is", object="qzx~W#%k9@! zzzq^^jj")
    bank, failed = built(loaded, spec, [tiny.FACTS[0], hopeless])
    assert bank.ids == (tiny.FACTS[0].id,)
    assert [failure.fact_id for failure in failed] == [hopeless.id]
    assert failed[0].fault.startswith("'Delta is' hits its row, and the model says ")
    loss = float(failed[0].fault.partition("costs ")[2].split()[0])
    assert loss > 0.1
    assert answered(loaded, spec, bank, tiny.FACTS[:1]) == [True]


def test_a_row_that_its_prompt_does_not_hit_is_given_that_prompts_key(
    loaded: LoadedModel, spec: Spec
) -> None:
    fact = tiny.FACTS[0]
    bank, failed = built(loaded, spec, [fact], replace(SETTINGS, gamma=CEILING))
    assert failed == []
    assert len(bank.get(fact.id).gamma_C) == 2
    assert float(bank.get(fact.id).gamma_C.min()) > CEILING - 0.001
    bare = make_requests([fact], loaded.tokenizer)[0].contexts[:1]
    hits = match(compute_keys(loaded.model, spec, LAYER, bare), bank.view())
    assert hits.row_T.tolist() != [MISS]
    assert answered(loaded, spec, bank, [fact]) == [True]


def test_a_weak_row_is_optimised_again(loaded: LoadedModel, spec: Spec) -> None:
    weak = replace(SETTINGS, values=ValueSettings(steps=2))
    first = build_rows(loaded, spec, tiny.FACTS, weak)
    bank, failed = built(loaded, spec, tiny.FACTS, weak)
    again = [row for row in first if row.row_id in bank]
    changed = [row for row in again if not torch.equal(row.r_D, bank.get(row.row_id).r_D)]
    assert changed
    assert all(answered(loaded, spec, bank, [f for f in tiny.FACTS if f.id in bank]))
    assert {failure.fact_id for failure in failed} == {f.id for f in tiny.FACTS} - set(bank.ids)


def test_a_row_does_not_depend_on_other_facts(loaded: LoadedModel, spec: Spec) -> None:
    def by_id(facts: Sequence[Fact]) -> dict[str, Row]:
        return {row.row_id: row for row in build_rows(loaded, spec, facts, SETTINGS)}

    together = by_id(tiny.FACTS)
    for fact in tiny.FACTS[:3]:
        alone = by_id([fact])[fact.id]
        torch.testing.assert_close(together[fact.id].keys_CE, alone.keys_CE, rtol=0, atol=1e-5)
        torch.testing.assert_close(together[fact.id].r_D, alone.r_D, rtol=0.02, atol=0.02)


def test_another_gamma_changes_the_thresholds_alone(loaded: LoadedModel, spec: Spec) -> None:
    (one,) = build_rows(loaded, spec, tiny.FACTS[:1], SETTINGS)
    (other,) = build_rows(loaded, spec, tiny.FACTS[:1], replace(SETTINGS, gamma=0.5))
    assert torch.equal(at_gamma(one, 0.5).gamma_C, other.gamma_C)
    assert torch.equal(one.r_D, other.r_D)


def test_no_facts_make_no_rows(loaded: LoadedModel, spec: Spec) -> None:
    bank, failed = built(loaded, spec, [])
    assert (bank.ids, failed) == ((), [])


def test_the_model_is_left_as_it_was(loaded: LoadedModel, spec: Spec) -> None:
    ids = torch.arange(20, 32)[None]
    before, hooks = loaded.model(ids).logits, tiny.wide_hooks(loaded.model)
    built(loaded, spec, tiny.FACTS[:2])
    assert tiny.wide_hooks(loaded.model) == hooks
    assert torch.equal(loaded.model(ids).logits, before)

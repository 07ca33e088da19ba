"""From facts to rows that answer through the gate, on a tiny model that has learnt to read facts.

Its keys know nothing of names in other surroundings, so the calibration is made by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from revisor.facts.fact import Fact
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec
from revisor.neuraldb.bank.bank import Bank, Row
from revisor.neuraldb.bank.encode import KeyEncoder
from revisor.neuraldb.editing import check
from revisor.neuraldb.editing.build import (
    BuildSettings,
    build_rows,
    empty_bank,
    row_facts,
    written_at_end,
)
from revisor.neuraldb.editing.calibration import Calibration
from revisor.neuraldb.editing.check import Failure, check_rows, crossed_rows
from revisor.neuraldb.editing.keys import compute_keys, ffn_inputs, key_groups, mean_keys
from revisor.neuraldb.editing.questions import ALONE, CEILING
from revisor.neuraldb.editing.request import Context, ContextPlan, make_requests
from revisor.neuraldb.editing.score import Score, score_contexts
from revisor.neuraldb.editing.values import ValueSettings
from revisor.neuraldb.gate.attach import attach
from revisor.neuraldb.gate.module import MISS, match
from tests import tiny

LAYER = 1
GAMMA = 0.9  # the tiny model's raw keys are all alike
PREFIXES = ("The tower is old.", "She lives in the city.", "A novel by two brothers.")
SETTINGS = BuildSettings(
    layer=LAYER,
    whiten=False,
    scope="subject",
    contexts=ContextPlan(prefixes=PREFIXES, per_fact=1, chat=False),
)
BORN = Fact(subject="Jane Roe", prompt="{} was born in", object="Vienna")
LIVES = Fact(subject="Jane Roe", prompt="{} lives in", object="Vienna")
WRITES = Fact(subject="Jane Roe", prompt="The author of the book is {} of", object="Rome")


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return Calibration(encoder=KeyEncoder(), gamma=GAMMA, named_gamma=GAMMA, accuracy=1.0)


def built(
    loaded: LoadedModel,
    spec: Spec,
    calibration: Calibration,
    facts: Sequence[Fact],
    settings: BuildSettings = SETTINGS,
) -> tuple[Bank, list[Failure]]:
    bank = empty_bank(spec, calibration, settings)
    rows = build_rows(loaded, spec, calibration, facts, settings).rows
    for row in rows:
        bank.put(row, 1)
    known = {fact.id: fact for fact in facts}
    ids = [row.row_id for row in rows]
    return bank, check_rows(loaded, spec, bank, known, ids, settings, 1)


def answered(loaded: LoadedModel, spec: Spec, bank: Bank, facts: Sequence[Fact]) -> list[bool]:
    """Which facts the model says greedily after their bare prompts."""
    contexts = [request.contexts[0] for request in make_requests(facts, loaded.tokenizer)]
    with attach(loaded.model, spec, LAYER, bank.view()):
        return [score.greedy for score in score_contexts(loaded, contexts)]


def test_facts_answer_through_the_gate(
    loaded: LoadedModel, spec: Spec, calibration: Calibration
) -> None:
    bank, failed = built(loaded, spec, calibration, tiny.FACTS)
    assert failed == []
    assert sorted(bank.ids) == sorted(fact.id for fact in tiny.FACTS)
    assert all(answered(loaded, spec, bank, tiny.FACTS))
    nothing = Bank(encoder=KeyEncoder(), key_width=spec.key_width, hidden_width=spec.hidden_width)
    assert sum(answered(loaded, spec, nothing, tiny.FACTS)) < len(tiny.FACTS) / 2


def test_a_row_has_an_entry_for_the_prompt_each_alias_and_other_surroundings(
    loaded: LoadedModel, spec: Spec, calibration: Calibration
) -> None:
    fact = replace(tiny.FACTS[0], aliases=("The company",))
    (row,) = build_rows(loaded, spec, calibration, [fact], SETTINGS).rows
    groups = key_groups(fact, loaded.tokenizer, PREFIXES, named=True)
    keys = KeyEncoder().encode(mean_keys(loaded.model, spec, LAYER, groups))
    forms = {fact.subject.lower(), fact.subject.upper()} - {fact.subject}
    read = [loaded.tokenizer(f" {form}", add_special_tokens=False)["input_ids"] for form in forms]
    letters = sum(len(ids) > 1 for ids in read)
    assert len(groups) == 4 + (not fact.prompt.startswith("{}")) + letters
    assert torch.equal(row.keys_CE, keys)


def test_the_paper_has_one_entry_a_row_the_mean_over_all_contexts(
    loaded: LoadedModel, spec: Spec, calibration: Calibration
) -> None:
    settings = replace(SETTINGS, averaged_only=True, named=False, gamma=0.5)
    rows = build_rows(loaded, spec, calibration, tiny.FACTS, settings).rows
    assert [row.row_id for row in rows] == [fact.id for fact in tiny.FACTS]
    assert all(row.gamma_C.tolist() == [0.5] for row in rows)
    for row, fact in zip(rows, tiny.FACTS, strict=True):
        contexts = [c for g in key_groups(fact, loaded.tokenizer, PREFIXES) for c in g]
        mean = compute_keys(loaded.model, spec, LAYER, contexts).float().mean(0)
        torch.testing.assert_close(row.keys_CE[0], F.normalize(mean, dim=0))


def test_facts_with_one_bare_key_share_a_row(
    loaded: LoadedModel, spec: Spec, calibration: Calibration
) -> None:
    by_keys = replace(SETTINGS, named=False)
    bank, failed = built(loaded, spec, calibration, [BORN, WRITES, LIVES], by_keys)
    assert failed == []
    shared = f"{BORN.id}+{LIVES.id}"
    assert set(bank.ids) == {shared, WRITES.id}
    assert row_facts(shared) == (BORN.id, LIVES.id)
    assert answered(loaded, spec, bank, [BORN, LIVES]) == [True, True]


def test_facts_of_one_subject_have_rows_where_their_questions_end(
    loaded: LoadedModel, spec: Spec, heard: Calibration
) -> None:
    other = replace(LIVES, object="Rome")
    alone = Fact(subject="Zora", prompt="{} lives in", object="Tokyo")
    bank, failed = built(loaded, spec, heard, [BORN, other, alone])
    assert failed == []
    assert {row.row_id: row.after for row in bank.rows()} == {
        BORN.id: True,
        other.id: True,
        alone.id: False,
    }
    assert answered(loaded, spec, bank, [BORN, other, alone]) == [True, True, True]
    view = bank.view()
    for fact in (BORN, other):
        ids = loaded.tokenizer(fact.text)["input_ids"]
        hits = match(ffn_inputs(loaded.model, spec, LAYER, [ids])[0], view, torch.tensor([ids]))
        fired = [view.ids[row] for row in hits.row_T.tolist() if row != MISS]
        assert set(fired) == {fact.id}
        assert int(hits.row_T[-1]) != MISS


def test_with_scope_question_an_only_fact_has_its_row_where_its_question_ends(
    loaded: LoadedModel, spec: Spec, heard: Calibration
) -> None:
    fact = BORN
    settings = replace(SETTINGS, scope="question")
    bank, failed = built(loaded, spec, heard, [fact], settings)
    assert failed == []
    (row,) = bank.rows()
    assert row.after
    assert 0 < float(row.gamma_C[0]) <= ALONE
    assert answered(loaded, spec, bank, [fact]) == [True]
    view, fired = bank.view(), {}
    for text in (fact.text, "The mother tongue of Jane Roe is"):
        ids = loaded.tokenizer(text)["input_ids"]
        keys = ffn_inputs(loaded.model, spec, LAYER, [ids])[0]
        fired[text] = match(keys, view, torch.tensor([ids])).fired().tolist()
    assert len(loaded.tokenizer(fact.text)["input_ids"]) - 1 in fired[fact.text]
    assert not fired["The mother tongue of Jane Roe is"]
    by_keys = replace(settings, named=False)
    (row,) = build_rows(loaded, spec, heard, [fact], by_keys).rows
    assert not row.after, "the scope is of a named bank alone"


def test_a_row_that_fires_too_early_as_well_is_made_quieter(
    loaded: LoadedModel, spec: Spec, heard: Calibration
) -> None:
    """It does not wait until an answer is due, and the words that tell the question come first."""
    fact = Fact(subject="Jane Roe", prompt="{} was born in a city in", object="Rome")
    settings = replace(SETTINGS, scope="question")
    bank, failed = built(loaded, spec, heard, [fact], settings)
    assert failed == []
    ids = loaded.tokenizer(fact.text)["input_ids"]

    def fired() -> list[int]:
        hits = match(
            ffn_inputs(loaded.model, spec, LAYER, [ids])[0], bank.view(), torch.tensor([ids])
        )
        return hits.fired().tolist()

    row = bank.get(fact.id)
    hasty_CE = row.keys_CE.clone()
    hasty_CE[:, -1] = 0
    bank.put(replace(row, keys_CE=hasty_CE, gamma_C=torch.full_like(row.gamma_C, 0.3)), 1)
    assert len(fired()) > 1
    assert answered(loaded, spec, bank, [fact]) == [False]
    assert check_rows(loaded, spec, bank, {fact.id: fact}, [fact.id], settings, 1) == []
    assert answered(loaded, spec, bank, [fact]) == [True]
    assert fired() == [len(ids) - 1]
    quieter = bank.get(fact.id)
    assert torch.equal(quieter.r_D, row.r_D), "the residual was right"
    assert (quieter.gamma_C > 0.3).any()


def test_of_facts_that_share_a_row_those_that_fail_are_named_and_the_row_stays(
    loaded: LoadedModel, spec: Spec, calibration: Calibration
) -> None:
    other = replace(LIVES, object="Tokyo")
    by_keys = replace(SETTINGS, named=False)
    bank, failed = built(loaded, spec, calibration, [BORN, other], by_keys)
    assert bank.ids == (f"{BORN.id}+{other.id}",)
    said = dict(zip((BORN.id, other.id), answered(loaded, spec, bank, [BORN, other]), strict=True))
    assert [failure.fact_id for failure in failed] == [i for i, right in said.items() if not right]
    assert any(said.values())


def test_a_fact_that_cannot_be_written_is_reported_with_its_loss_and_has_no_row(
    loaded: LoadedModel, spec: Spec, calibration: Calibration
) -> None:
    hopeless = Fact(subject="Delta", prompt="{} is", object="qzx~W#%k9@! zzzq^^jj")
    bank, failed = built(loaded, spec, calibration, [tiny.FACTS[0], hopeless])
    assert bank.ids == (tiny.FACTS[0].id,)
    assert [failure.fact_id for failure in failed] == [hopeless.id]
    assert "does not say the object" in failed[0].fault
    loss = float(failed[0].fault.partition("final loss ")[2].split()[0])
    assert loss > 0.1
    assert answered(loaded, spec, bank, tiny.FACTS[:1]) == [True]


def test_a_row_that_its_prompt_does_not_hit_is_given_that_prompts_key(
    loaded: LoadedModel, spec: Spec, calibration: Calibration
) -> None:
    fact = tiny.FACTS[0]
    settings = replace(SETTINGS, averaged_only=True, named=False, gamma=CEILING)
    bank, failed = built(loaded, spec, calibration, [fact], settings)
    assert failed == []
    assert bank.get(fact.id).gamma_C.tolist() == pytest.approx([CEILING, CEILING])
    bare = make_requests([fact], loaded.tokenizer)[0].contexts[:1]
    hits = match(compute_keys(loaded.model, spec, LAYER, bare), bank.view())
    assert hits.row_T.tolist() != [MISS]
    assert answered(loaded, spec, bank, [fact]) == [True]


def test_a_weak_row_is_optimised_again(
    loaded: LoadedModel, spec: Spec, calibration: Calibration
) -> None:
    weak = replace(SETTINGS, values=ValueSettings(steps=2))
    first = build_rows(loaded, spec, calibration, tiny.FACTS, weak).rows
    bank, failed = built(loaded, spec, calibration, tiny.FACTS, weak)
    again = [row for row in first if row.row_id in bank]
    changed = [row for row in again if not torch.equal(row.r_D, bank.get(row.row_id).r_D)]
    assert changed
    right = answered(loaded, spec, bank, [f for f in tiny.FACTS if f.id in bank])
    assert all(right)
    assert {failure.fact_id for failure in failed} == {f.id for f in tiny.FACTS} - set(bank.ids)


def test_a_row_stays_quiet_where_its_subject_is_not_named(
    loaded: LoadedModel, spec: Spec, calibration: Calibration
) -> None:
    anything = replace(calibration, named_gamma=-1.0)  # every key would do
    bank, _ = built(loaded, spec, anything, tiny.FACTS)
    fact = tiny.FACTS[0]
    ids = loaded.tokenizer(f"The tower is old. {fact.text} and the city of Vienna")["input_ids"]
    keys = ffn_inputs(loaded.model, spec, LAYER, [ids])[0]
    hits = match(keys, bank.view(), torch.tensor([ids]))
    fired = [loaded.tokenizer.decode(ids[: t + 1]) for t in hits.row_T.ne(MISS).nonzero()[:, 0]]
    assert [text.endswith(fact.subject) for text in fired] == [True]


def test_a_row_does_not_depend_on_other_facts(
    loaded: LoadedModel, spec: Spec, calibration: Calibration
) -> None:
    def by_id(facts: Sequence[Fact]) -> dict[str, Row]:
        rows = build_rows(loaded, spec, calibration, facts, SETTINGS).rows
        return {row.row_id: row for row in rows}

    together = by_id(tiny.FACTS)
    for fact in tiny.FACTS[:3]:
        alone = by_id([fact])[fact.id]
        torch.testing.assert_close(together[fact.id].keys_CE, alone.keys_CE, rtol=0, atol=1e-5)
        torch.testing.assert_close(together[fact.id].r_D, alone.r_D, rtol=0.01, atol=0.01)


def test_no_facts_make_no_rows(loaded: LoadedModel, spec: Spec, calibration: Calibration) -> None:
    bank, failed = built(loaded, spec, calibration, [])
    assert (bank.ids, failed) == ((), [])


def test_the_model_is_left_as_it_was(
    loaded: LoadedModel, spec: Spec, calibration: Calibration
) -> None:
    ids = torch.arange(20, 32)[None]
    before, hooks = loaded.model(ids).logits, tiny.wide_hooks(loaded.model)
    built(loaded, spec, calibration, tiny.FACTS[:2])
    assert tiny.wide_hooks(loaded.model) == hooks
    assert torch.equal(loaded.model(ids).logits, before)


def test_texts_that_are_longer_than_a_model_reads_are_left_out() -> None:
    loaded = LoadedModel(name="tiny", model=tiny.model("gpt2"), tokenizer=tiny.byte_level())
    room = loaded.model.config.max_position_embeddings
    long, short = " ".join(["It is old."] * room), "It is old."
    for prefixes, kinds in (([long], {"bare"}), ([short], {"bare", "prefix"})):
        plan = ContextPlan(prefixes=prefixes, chat=False)
        (request,) = written_at_end(loaded, [BORN], replace(SETTINGS, contexts=plan))
        assert {context.kind for context in request.contexts} == kinds
        assert all(len(c.ids) + len(c.target) <= room for c in request.contexts)


def test_a_repair_has_only_those_asked_again_who_may_hear_it(
    loaded: LoadedModel, spec: Spec, heard: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SETTINGS, scope="question")
    facts = [
        Fact(subject="Jane Roe", prompt="{} was born in", object="Vienna"),
        Fact(subject="Basel", prompt="The friend of Jane Roe from {} lives in", object="Rome"),
        Fact(subject="Zora", prompt="The mother tongue of {} is", object="French"),
    ]
    bank, failed = built(loaded, spec, heard, facts, settings)
    assert failed == []
    known = {fact.id: fact for fact in facts}
    assert crossed_rows(loaded, bank, known, list(known), settings) == {facts[1].id}
    rounds, real = list[int](), score_contexts

    def counted(loaded: LoadedModel, contexts: Sequence[Context]) -> list[Score]:
        rounds.append(len(contexts))
        return real(loaded, contexts)

    monkeypatch.setattr(check, "score_contexts", counted)
    mute = bank.get(facts[0].id)
    bank.put(replace(mute, r_D=torch.zeros_like(mute.r_D)), 1)
    assert check_rows(loaded, spec, bank, known, list(known), settings, 1) == []
    assert rounds[0] == 3
    assert set(rounds[1:]) == {2}, "Zora's prompt names nobody whose row was mended"
    assert answered(loaded, spec, bank, facts) == [True] * 3


def test_repairs_of_repairs_are_heard_by_those_who_were_right_before(
    loaded: LoadedModel, spec: Spec, heard: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one's prompt names the second alone, which is wrong only after the first repair."""
    settings = replace(SETTINGS, scope="question")
    facts = [
        Fact(subject="Zora", prompt="The mother tongue of {} is", object="French"),
        Fact(subject="Jane Roe", prompt="The friend of Zora is {} from", object="Vienna"),
        Fact(subject="Basel", prompt="Near Jane Roe {} lies in", object="Rome"),
    ]
    bank, failed = built(loaded, spec, heard, facts, settings)
    assert failed == []
    known = {fact.id: fact for fact in facts}
    asked = list[set[str]]()

    def told(
        loaded: LoadedModel, spec: Spec, bank: Bank, rows: Any, settings: BuildSettings
    ) -> Any:
        ids = [row_id for row_id, _ in rows]
        asked.append(set(ids))
        if len(asked) > 2:
            return []
        place = ids.index(facts[len(asked) - 1].id)
        return [
            check._Wrong(
                row_id=ids[place],
                fact_id=ids[place],
                bare=rows[place][1].contexts[0],
                missed=False,
                key_E=torch.zeros(0),
                fault="said so",
            )
        ]

    monkeypatch.setattr(check, "_ask", told)
    assert check_rows(loaded, spec, bank, known, list(known), settings, 1) == []
    first, second, third = (fact.id for fact in facts)
    assert asked == [{first, second, third}, {first, second}, {first, second, third}]


def test_where_keys_alone_decide_any_row_may_be_heard(
    loaded: LoadedModel, spec: Spec, calibration: Calibration
) -> None:
    settings = replace(SETTINGS, named=False)
    bank, _ = built(loaded, spec, calibration, [BORN, WRITES], settings)
    known = {fact.id: fact for fact in (BORN, WRITES)}
    assert crossed_rows(loaded, bank, known, bank.ids, settings) == set(bank.ids)

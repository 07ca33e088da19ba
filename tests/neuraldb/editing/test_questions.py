"""Entries by what is asked: what they are, what they are heard in, and whether they wait."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from revisor.facts.fact import Fact
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec
from revisor.neuraldb.bank import encode
from revisor.neuraldb.bank.asked import UNHEARD, levels, questions
from revisor.neuraldb.bank.encode import KeyEncoder
from revisor.neuraldb.bank.names import texts
from revisor.neuraldb.editing.calibration import Calibration
from revisor.neuraldb.editing.keys import ffn_inputs
from revisor.neuraldb.editing.questions import (
    AKIN,
    ALONE,
    BEHIND,
    FURTHER,
    HEARD,
    ROUND_ABOUT,
    asked_entries,
    at_end,
)
from revisor.neuraldb.editing.relations import nearest, turned_aside, what_is_asked
from revisor.neuraldb.editing.request import ContextPlan, choose_prefixes, make_requests, named_text
from tests import tiny

LAYER = 1
HOME = Fact(subject="Jane Roe", prompt="The home of {} is", object="Rome")
BORN = Fact(subject="Jane Roe", prompt="{} was born in", object="London")
PREFIXES = tuple(f"The tower number {n} is old." for n in range(14))
PLAN = ContextPlan(prefixes=PREFIXES, chat=False)


def said(heard: Calibration, *asked: tuple[str, str]) -> torch.Tensor:
    assert heard.kind_V is not None
    assert heard.encoder.words_VA is not None
    return what_is_asked(tiny.byte_level(), asked, heard.kind_V, heard.encoder.words_VA)


def with_level(heard: Calibration, level: float) -> Calibration:
    """The same where every end of a question is due (a low level), or none (a high one)."""
    due_F = heard.encoder.due_F
    assert due_F is not None
    moved = torch.cat([due_F[:-1], torch.tensor([level])])
    return replace(heard, encoder=replace(heard.encoder, due_F=moved))


def loudest(heard: Calibration, keys_CW: torch.Tensor, text: str, subject: str) -> torch.Tensor:
    """How near the end of a text is to each entry (C)."""
    ids, first, last = named_text(tiny.byte_level(), text, subject)
    assert heard.kind_V is not None
    assert heard.encoder.words_VA is not None
    asked = questions(
        texts([ids]),
        torch.tensor([0]),
        torch.tensor([last]),
        torch.tensor([last - first + 1]),
        heard.kind_V,
        heard.encoder.words_VA,
    )
    entry_CA = keys_CW[:, -heard.encoder.asked_width : -1]
    place_C = torch.zeros(len(keys_CW), dtype=torch.long)
    return levels(asked, place_C, entry_CA, encode.goes_on(keys_CW[:, -1]))[:, len(ids) - 1 - last]


@pytest.mark.parametrize("level", [-1e6, 1e6])
@pytest.mark.parametrize("prompt", ["The {}ian mayor is", "{}-Anhalt lies in", "{} is in"])
def test_a_prompt_that_goes_on_as_a_longer_name_would_is_heard_itself(
    loaded: LoadedModel, spec: Spec, heard: Calibration, prompt: str, level: float
) -> None:
    """And no other fact about the subject is, whether or not its entries wait."""
    fact = Fact(subject="Jane Roe", prompt=prompt, object="Rome")
    due = with_level(heard, level)
    mine, other = asked_entries(loaded, spec, LAYER, due, [fact, BORN], PLAN)
    assert bool((loudest(due, mine.keys_CW, prompt, "Jane Roe") > mine.gamma_C).any())
    unheard = loudest(due, other.keys_CW, prompt, "Jane Roe") == UNHEARD
    assert bool(unheard.all()) == (prompt != "{} is in")
    assert encode.waits(mine.keys_CW[:, -1]).tolist() == [level < 0] * len(mine.keys_CW)


def test_the_prompt_each_wording_and_the_relation_have_an_entry(
    loaded: LoadedModel, spec: Spec, heard: Calibration
) -> None:
    """BORN asks for a shipped relation; the other, in words of its own, for none."""
    made_up = Fact(subject="Jane Roe", prompt="Zyx qwv {} jjq", object="Rome")
    fact = replace(BORN, paraphrases=("The birthplace of Jane Roe is", "Nobody is named here"))
    known, unknown = asked_entries(loaded, spec, LAYER, heard, [fact, made_up], PLAN)
    assert heard.relations is not None
    question_QA = said(
        heard,
        (fact.prompt, "Jane Roe"),
        (fact.paraphrases[0], "Jane Roe"),
        (made_up.prompt, "Jane Roe"),
    )
    near = nearest(heard.relations, question_QA[0])
    assert near.statements[0] == fact.prompt, "the prompt is a shipped wording"
    width = spec.key_width
    asked_CA = known.keys_CW[:, heard.encoder.whole_width(width) : -1]
    entry_CA = torch.cat([question_QA[:2], near.akin_KA])
    wanted_CA, cosine_C = turned_aside(heard.relations, entry_CA, near.akin_K)
    weight_C = torch.tensor([1, 1, *[AKIN] * len(near.akin_K)])
    torch.testing.assert_close(asked_CA, weight_C[:, None] * wanted_CA)
    assert not known.keys_CW[:, : heard.encoder.whole_width(width)].any()
    assert known.keys_CW.shape[1] == heard.encoder.width(width)
    torch.testing.assert_close(known.gamma_C, ALONE * weight_C * cosine_C)
    one_of_several, _ = asked_entries(
        loaded, spec, LAYER, heard, [fact, made_up], PLAN, several={fact.id}
    )
    torch.testing.assert_close(one_of_several.gamma_C, HEARD * weight_C * cosine_C)
    assert set(known.wordings) <= set(near.statements[: ROUND_ABOUT + 1]) - {fact.prompt}
    ends = [text.split()[-1] for text in (fact.prompt, *known.wordings)]
    assert len(set(ends)) == len(ends), "the answer follows other words"
    assert len(known.wordings) == FURTHER
    unheard = nearest(heard.relations, question_QA[2])
    assert len(unknown.keys_CW) == len(unknown.gamma_C) == 1 + len(unheard.akin_KA)
    own_1A, _ = turned_aside(heard.relations, question_QA[2:], unheard.akin_K)
    torch.testing.assert_close(unknown.keys_CW[0, heard.encoder.whole_width(width) : -1], own_1A[0])


def test_a_fact_that_waits_for_nothing_is_as_strict_as_one_of_several(
    loaded: LoadedModel, spec: Spec, heard: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could fire at any word after the name: "Japan, in" in all that is said of Japan."""
    found = {}
    for waits in (True, False):
        monkeypatch.setattr(
            "revisor.neuraldb.editing.questions._answers_are_due", lambda *_, waits=waits: [waits]
        )
        (found[waits],) = asked_entries(loaded, spec, LAYER, heard, [BORN], PLAN)
    assert [bool(own.keys_CW[:, -1].all()) for own in found.values()] == [True, False]
    torch.testing.assert_close(found[False].gamma_C, found[True].gamma_C / ALONE * HEARD)


def test_no_more_wordings_have_entries_than_the_plan_says(
    loaded: LoadedModel, spec: Spec, heard: Calibration
) -> None:
    fact = replace(BORN, paraphrases=tuple(f"{{}} came from the tower {n} of" for n in range(5)))
    assert heard.relations is not None
    akin = len(nearest(heard.relations, said(heard, (BORN.prompt, "Jane Roe"))[0]).akin_KA)
    counts = [
        len(asked_entries(loaded, spec, LAYER, heard, [fact], replace(PLAN, wordings=n))[0].gamma_C)
        for n in (0, 2, 5)
    ]
    assert counts == [1 + akin, 3 + akin, 6 + akin]


def test_an_entry_waits_if_an_answer_is_due_at_every_end_of_its_prompt(
    loaded: LoadedModel, spec: Spec, heard: Calibration
) -> None:
    prompts = ("{} was born in", "{} lives", "The home of {} is", "Roe, {} and", "Of {}")
    facts = [Fact(subject="Jane Roe", prompt=prompt, object="Rome") for prompt in prompts]

    def due_everywhere(fact: Fact) -> bool:
        texts = [fact.text, *(f"{p} {fact.text}" for p in choose_prefixes(fact, PREFIXES, BEHIND))]
        ends = [
            ffn_inputs(loaded.model, spec, LAYER, [loaded.tokenizer(text)["input_ids"]])[0, -1]
            for text in texts
        ]
        assert len(ends) == 1 + BEHIND
        return bool(heard.encoder.due(torch.stack(ends)).all())

    for asked, fact in zip(
        asked_entries(loaded, spec, LAYER, heard, facts, PLAN), facts, strict=True
    ):
        assert set(asked.keys_CW[:, -1].tolist()) == {float(due_everywhere(fact))}


def test_a_prompt_at_whose_end_no_answer_is_due_does_not_wait(
    loaded: LoadedModel, spec: Spec, heard: Calibration
) -> None:
    for level, waits in ((1e6, 0.0), (-1e6, 1.0)):
        for asked in asked_entries(
            loaded, spec, LAYER, with_level(heard, level), [HOME, BORN], PLAN
        ):
            assert set(asked.keys_CW[:, -1].tolist()) == {waits}


def test_a_question_is_nearer_to_its_own_entry_than_to_another_facts(
    loaded: LoadedModel, spec: Spec, heard: Calibration
) -> None:
    both = {HOME.id, BORN.id}
    home, born = asked_entries(loaded, spec, LAYER, heard, [HOME, BORN], PLAN, both)
    start = heard.encoder.whole_width(spec.key_width)
    question_QA = said(
        heard, (HOME.prompt, "Zora"), (f"The tower is old. {BORN.prompt}", "Jane Roe")
    )
    to_home, to_born = (
        (question_QA @ asked.keys_CW[:, start:-1].T).amax(1).tolist() for asked in (home, born)
    )
    assert to_home[0] > home.gamma_C[0] / HEARD - 1e-5
    assert to_born[1] > born.gamma_C[0] / HEARD - 1e-5
    assert to_home[1] < home.gamma_C.min()
    assert to_born[0] < born.gamma_C.min()


def test_a_calibration_of_raw_keys_hears_nothing(loaded: LoadedModel, spec: Spec) -> None:
    raw = Calibration(encoder=KeyEncoder(), gamma=0.9, named_gamma=0.9, accuracy=1.0)
    with pytest.raises(ValueError, match="raw keys"):
        asked_entries(loaded, spec, LAYER, raw, [HOME, BORN], PLAN)


def test_a_request_at_the_end_changes_nothing_but_the_place(loaded: LoadedModel) -> None:
    (request,) = make_requests([BORN], loaded.tokenizer, ContextPlan(prefixes=PREFIXES))
    moved = at_end(request)
    assert moved.fact == request.fact
    for before, after in zip(request.contexts, moved.contexts, strict=True):
        assert after == replace(before, position=len(before.ids) - 1)

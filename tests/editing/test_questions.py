"""Entries at the end of a question: what they match, and what their thresholds lie above."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from revisor import data
from revisor.bank.encode import KeyEncoder
from revisor.editing.keys import compute_keys, ffn_inputs, tail_keys
from revisor.editing.questions import (
    AVERAGED,
    CEILING,
    FAR,
    FLOOR,
    OTHER_QUESTION,
    asked_entries,
    at_end,
)
from revisor.editing.request import ContextPlan, make_requests, text_context
from revisor.facts.fact import Fact
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec, spec_of
from tests import tiny

LAYER = 1
HOME = Fact(subject="Jane Roe", prompt="The home of {} is", object="Rome")
BORN = Fact(subject="Jane Roe", prompt="{} was born in", object="London")
PREFIXES = tuple(f"The tower number {n} is old." for n in range(FAR + 2))


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return LoadedModel(name="tiny", model=tiny.taught(), tokenizer=tiny.byte_level())


@pytest.fixture(scope="module")
def spec(loaded: LoadedModel) -> Spec:
    return spec_of(loaded.model)


def key_of(loaded: LoadedModel, spec: Spec, text: str) -> torch.Tensor:
    ids = loaded.tokenizer(text)["input_ids"]
    return KeyEncoder().encode(ffn_inputs(loaded.model, spec, LAYER, [ids])[0, -1:].float())[0]


def test_the_prompt_long_and_short_contexts_and_wordings_have_entries(
    loaded: LoadedModel, spec: Spec
) -> None:
    fact = replace(HOME, paraphrases=("{} lives in", "Nobody is named here"))
    plan = ContextPlan(prefixes=PREFIXES, chat=False)
    (asked,) = asked_entries(loaded, spec, LAYER, KeyEncoder(), [fact], plan)
    assert len(asked.keys_CE) == len(asked.gamma_C) == 4
    torch.testing.assert_close(asked.keys_CE[0], key_of(loaded, spec, fact.text))
    torch.testing.assert_close(asked.keys_CE[3], key_of(loaded, spec, "Jane Roe lives in"))
    few = ContextPlan(prefixes=PREFIXES[:AVERAGED], chat=False)
    (less,) = asked_entries(loaded, spec, LAYER, KeyEncoder(), [HOME], few)
    assert len(less.keys_CE) == 2


def test_other_questions_about_the_subject_lie_below_every_threshold(
    loaded: LoadedModel, spec: Spec
) -> None:
    plan = ContextPlan(prefixes=PREFIXES, chat=False)
    questions = [wordings[0] for wordings in data.relations()]
    assert BORN.prompt in questions, "a fact's own question is none of the others"
    for asked, fact in zip(
        asked_entries(loaded, spec, LAYER, KeyEncoder(), [HOME, BORN], plan),
        (HOME, BORN),
        strict=True,
    ):
        others = [question for question in questions if question != fact.prompt]
        contexts = [
            text_context(loaded.tokenizer, other, fact.subject, "", "key") for other in others
        ]
        keys = torch.cat(tail_keys(loaded.model, spec, LAYER, contexts))
        nearest_C = (asked.keys_CE @ KeyEncoder().encode(keys).T).amax(1)
        bound_C = (nearest_C + OTHER_QUESTION * (1 - nearest_C)).clamp(max=CEILING)
        assert (asked.gamma_C >= bound_C - 1e-5).all()
        assert (asked.gamma_C >= FLOOR).all()
        assert (asked.gamma_C <= CEILING + 1e-6).all()


def test_facts_without_any_need_no_model(loaded: LoadedModel, spec: Spec) -> None:
    plan = ContextPlan(prefixes=PREFIXES, chat=False)
    assert asked_entries(loaded, spec, LAYER, KeyEncoder(), [], plan) == []


def test_a_request_at_the_end_changes_nothing_but_the_place(loaded: LoadedModel) -> None:
    (request,) = make_requests([BORN], loaded.tokenizer, ContextPlan(prefixes=PREFIXES))
    moved = at_end(request)
    assert moved.fact == request.fact
    for before, after in zip(request.contexts, moved.contexts, strict=True):
        assert after == replace(before, position=len(before.ids) - 1)


def test_tail_keys_are_the_keys_of_each_token_from_the_subject_on(
    loaded: LoadedModel, spec: Spec
) -> None:
    contexts = [
        text_context(loaded.tokenizer, "{} was born in", "Jane Roe", "", "key"),
        text_context(loaded.tokenizer, "The tower is old. The home of {} is", "Roe", "", "key"),
    ]
    for context, tail in zip(contexts, tail_keys(loaded.model, spec, LAYER, contexts), strict=True):
        places = range(context.position, len(context.ids))
        one_by_one = [replace(context, position=place) for place in places]
        alone = compute_keys(loaded.model, spec, LAYER, one_by_one).float()
        torch.testing.assert_close(tail, alone, rtol=1e-4, atol=1e-4)

"""What is asked: an encoder that knows, and the shipped wordings of a known question."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from revisor import data
from revisor.bank.encode import KeyEncoder
from revisor.editing.keys import compute_keys
from revisor.editing.relations import FURTHER, asked_at_end, knows_relations, with_wordings
from revisor.facts.fact import Fact
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec, spec_of
from tests import tiny

LAYER = 1
HOME = Fact(subject="Jane Roe", prompt="{} lives in", object="Rome")


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return LoadedModel(name="tiny", model=tiny.taught(), tokenizer=tiny.byte_level())


@pytest.fixture(scope="module")
def spec(loaded: LoadedModel) -> Spec:
    return spec_of(loaded.model)


@pytest.fixture(scope="module")
def known(loaded: LoadedModel, spec: Spec) -> tuple[KeyEncoder, torch.Tensor]:
    return knows_relations(loaded, spec, LAYER, KeyEncoder())


def test_every_shipped_wording_has_one_place_for_the_subject_and_only_one_relation() -> None:
    wordings = [wording for relation in data.relations() for wording in relation]
    assert all(wording.count("{}") == 1 for wording in wordings)
    assert len(set(wordings)) == len(wordings)
    assert all(len(relation) >= 3 for relation in data.relations())
    assert not any(relation[0].endswith("?") for relation in data.relations())


def test_there_is_one_mean_for_each_relation(
    spec: Spec, known: tuple[KeyEncoder, torch.Tensor]
) -> None:
    encoder, relations_RE = known
    assert len(relations_RE) == len(data.relations())
    torch.testing.assert_close(relations_RE.norm(dim=1), torch.ones(len(relations_RE)))
    assert relations_RE.shape[1] == encoder.width(spec.key_width) > spec.key_width


def test_a_question_is_found_by_its_other_wordings(
    loaded: LoadedModel, spec: Spec, known: tuple[KeyEncoder, torch.Tensor]
) -> None:
    """Of somebody that the encoder has not seen: more often than by chance in 71 relations."""
    encoder, relations_RE = known
    asked = [
        (number, asked_at_end(loaded, wording, "Ilsebill Tarn"))
        for number, relation in enumerate(data.relations())
        for wording in relation[1:]
    ]
    keys_NF = compute_keys(loaded.model, spec, LAYER, [context for _, context in asked])
    nearest_N = (encoder.asked(keys_NF) @ relations_RE.T).argmax(1).tolist()
    right = sum(found == number for found, (number, _) in zip(nearest_N, asked, strict=True))
    assert right > len(asked) / 4


def test_a_fact_that_asks_for_a_shipped_relation_is_given_its_wordings(
    loaded: LoadedModel, spec: Spec, known: tuple[KeyEncoder, torch.Tensor]
) -> None:
    encoder, relations_RE = known
    given = replace(HOME, paraphrases=("{} dwells in",))
    near_RE = relations_RE.clone()
    (context,) = [asked_at_end(loaded, HOME.prompt, HOME.subject)]
    near_RE[-1] = encoder.asked(compute_keys(loaded.model, spec, LAYER, [context]))[0]
    (more,) = with_wordings(loaded, spec, LAYER, encoder, near_RE, [given])
    own, *further = more.paraphrases
    assert own == "{} dwells in"
    assert len(further) == FURTHER
    assert set(further) <= set(data.relations()[-1]) - {HOME.prompt}
    assert not any(wording.endswith("?") for wording in further)
    assert replace(more, paraphrases=given.paraphrases) == given


def test_a_fact_that_asks_for_something_else_stays_as_it_is(
    loaded: LoadedModel, spec: Spec, known: tuple[KeyEncoder, torch.Tensor]
) -> None:
    encoder, relations_RE = known
    nowhere_RE = torch.zeros_like(relations_RE)
    assert with_wordings(loaded, spec, LAYER, encoder, nowhere_RE, [HOME]) == [HOME]

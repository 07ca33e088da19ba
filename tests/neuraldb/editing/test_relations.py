"""What is asked: an encoder that hears it, and the shipped wordings of a known question."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from revisor import data
from revisor.errors import UsageError
from revisor.models.load import LoadedModel
from revisor.models.spec import spec_of
from revisor.neuraldb.bank.encode import KeyEncoder, fit_words
from revisor.neuraldb.bank.names import REACH
from revisor.neuraldb.bank.sentences import cased
from revisor.neuraldb.editing.calibration import Calibration
from revisor.neuraldb.editing.keys import ffn_inputs
from revisor.neuraldb.editing.relations import (
    ALIKE,
    ASIDE,
    CHUNK,
    MOST,
    NEAR,
    Relations,
    nearest,
    relations,
    shipped,
    turned_aside,
    what_is_asked,
)
from revisor.neuraldb.editing.request import named_text
from tests import tiny

LAYER = 1


@pytest.fixture(scope="module")
def found(heard: Calibration) -> Relations:
    assert heard.relations is not None
    return heard.relations


def said(heard: Calibration, asked: list[tuple[str, str]]) -> torch.Tensor:
    assert heard.kind_V is not None
    assert heard.encoder.words_VA is not None
    return what_is_asked(tiny.byte_level(), asked, heard.kind_V, heard.encoder.words_VA)


def test_every_shipped_wording_has_one_place_for_the_subject_and_only_one_relation() -> None:
    wordings = [wording for relation in data.relations() for wording in relation]
    assert all(wording.count("{}") == 1 for wording in wordings)
    assert len(set(wordings)) == len(wordings)
    assert all(len(relation) >= 3 for relation in data.relations())
    assert not any(relation[0].endswith("?") for relation in data.relations())
    assert [text for text, _ in shipped()] == wordings
    assert all(text in data.relations()[number] for text, number in shipped())


def test_there_is_one_direction_for_each_wording_and_relation(
    heard: Calibration, found: Relations
) -> None:
    assert heard.encoder.words_VA is not None
    width = heard.encoder.words_VA.shape[1]
    assert found.wording_QA.shape == (len(shipped()), width)
    assert found.mean_RA.shape == (len(data.relations()), width)
    for unit in (found.wording_QA, found.mean_RA):
        torch.testing.assert_close(unit.norm(dim=1), torch.ones(len(unit)))
    for number in (0, 7, len(data.relations()) - 1):
        own = [place for place, (_, relation) in enumerate(shipped()) if relation == number]
        mean = F.normalize(found.wording_QA[own].sum(0), dim=0)
        torch.testing.assert_close(found.mean_RA[number], mean)


def test_a_question_is_the_mean_of_its_words_without_the_name(
    loaded: LoadedModel, heard: Calibration
) -> None:
    words_VA, kind_V = heard.encoder.words_VA, heard.kind_V
    assert words_VA is not None
    assert kind_V is not None
    asked = [
        ("The capital of {} is", "Zora"),
        ("The tower is old. The capital of {} is", "Zora"),
        ("{} lives in the city of", "Jane Roe"),
    ]
    for (template, _), question_A in zip(asked, said(heard, asked), strict=True):
        sentence = template.split(". ")[-1]
        before, behind = sentence.split("{}")
        # A tokenizer that gives a space to the word behind it.
        ids = [
            token
            for text in (before.rstrip() if sentence == template else f" {before.rstrip()}", behind)
            for token in loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
            if cased(kind_V[token])
        ]
        torch.testing.assert_close(question_A, F.normalize(words_VA[ids].mean(0), dim=0))


def test_whom_it_is_asked_of_makes_no_difference(heard: Calibration) -> None:
    for wording in ("The capital of {} is", "{} lives in", "Where is the home of {} now"):
        names = ("Zora", "Jane Roe", "the Eiffel Tower", "St. Mary. Of Rome")
        every = said(heard, [(wording, name) for name in names])
        torch.testing.assert_close(every, every[:1].expand_as(every))


def test_many_questions_are_heard_as_each_alone(heard: Calibration) -> None:
    asked = [(wording, "Basel") for wording, _ in shipped()]
    asked += [(f"{{}} {'word ' * n} lives in", "Basel") for n in (2 * REACH, 10)]
    assert len(asked) > CHUNK
    together = said(heard, asked)
    for place in (0, 1, CHUNK - 1, CHUNK, len(asked) - 2, len(asked) - 1):
        torch.testing.assert_close(together[place], said(heard, [asked[place]])[0])


def test_a_text_about_a_name_tells_its_tokens(loaded: LoadedModel) -> None:
    ids, first, last = named_text(loaded.tokenizer, "The home of {} is", "Jane Roe")
    assert loaded.tokenizer.decode(ids[first : last + 1]).strip() == "Jane Roe"
    assert loaded.tokenizer.decode(ids) == "The home of Jane Roe is"
    with pytest.raises(UsageError, match="no token"):
        named_text(loaded.tokenizer, "The home of {} is", "")


def test_a_question_is_found_by_wordings_that_were_held_out(
    loaded: LoadedModel, heard: Calibration
) -> None:
    """Much more often than by chance among the relations, of a model whose embeddings are drawn."""
    kind_V = heard.kind_V
    assert kind_V is not None
    embedding_VD = loaded.model.get_input_embeddings().weight.detach()
    every = [(text, "Ilsebill Tarn") for text, _ in shipped()]
    padded_VX = F.pad(embedding_VD, (0, 1))
    question_ND = what_is_asked(loaded.tokenizer, every, kind_V, padded_VX)[:, :-1]
    label_N = torch.tensor([number for _, number in shipped()])
    last_N = torch.tensor([text == data.relations()[number][-1] for text, number in shipped()])
    encoder = fit_words(KeyEncoder(), embedding_VD, question_ND[~last_N], label_N[~last_N])
    assert encoder.words_VA is not None
    said_NA = what_is_asked(loaded.tokenizer, every, kind_V, encoder.words_VA)
    near = (said_NA[last_N] @ said_NA[~last_N].T).argmax(1)
    right = float((label_N[~last_N][near] == label_N[last_N]).float().mean())
    assert right > 5 / len(data.relations())


def test_an_answer_is_due_at_ends_of_questions_of_somebody_unseen(
    loaded: LoadedModel, heard: Calibration
) -> None:
    ends, others = [], []
    for text, _ in shipped()[::20]:
        ids = loaded.tokenizer(text.replace("{}", "Ilsebill Tarn"))["input_ids"]
        keys_TF = ffn_inputs(loaded.model, spec_of(loaded.model), LAYER, [ids])[0]
        due_T = heard.encoder.due(keys_TF)
        ends.append(bool(due_T[-1]))
        others += due_T[1:-1].tolist()
    assert sum(ends) / len(ends) > 2 * sum(others) / len(others)


def test_relations_are_heard_again_as_they_were(heard: Calibration, found: Relations) -> None:
    assert heard.kind_V is not None
    again = relations(tiny.byte_level(), heard.encoder, heard.kind_V)
    assert torch.equal(again.wording_QA, found.wording_QA)
    assert torch.equal(again.mean_RA, found.mean_RA)


def test_a_question_of_a_shipped_relation_is_known_and_its_wordings_are_told(
    found: Relations,
) -> None:
    number = 3
    near = nearest(found, found.mean_RA[number])
    torch.testing.assert_close(near.akin_KA[0], found.mean_RA[number])
    assert len(near.akin_KA) <= MOST
    # One that is clearly of one relation has no entry of a second that is only somewhat like it.
    cosine_R = found.mean_RA @ found.mean_RA[number]
    somewhat = (cosine_R > NEAR) & (cosine_R < ALIKE)
    assert somewhat.any()
    assert len(near.akin_KA) == (cosine_R >= ALIKE).sum().clamp(max=MOST)
    statements = [text for text, _ in shipped() if not text.endswith("?")]
    assert sorted(near.statements) == sorted(statements)
    own = {text: found.wording_QA[place] for place, (text, _) in enumerate(shipped())}
    cosines = [float(own[text] @ found.mean_RA[number]) for text in near.statements]
    assert cosines == sorted(cosines, reverse=True), "the nearest first"


def test_an_entry_is_turned_aside_from_what_it_does_not_ask_for(found: Relations) -> None:
    """By the formula, in a basis where it is a scalar each: relations at right angles."""
    apart = Relations(wording_QA=found.wording_QA, mean_RA=torch.eye(4, 6))
    entry_CA = F.normalize(torch.tensor([[3.0, 2, -1, 0, 0, 1], [0, 0, 0, 0, 1, 0]]), dim=-1)
    akin_K = torch.tensor([0])
    turned_CA, cosine_C = turned_aside(apart, entry_CA, akin_K)
    wanted_CA = entry_CA.clone()
    wanted_CA[0, 1] /= 1 + ASIDE * entry_CA[0, 1] ** 4  # the negative one is no likeness
    torch.testing.assert_close(turned_CA, F.normalize(wanted_CA, dim=-1))
    torch.testing.assert_close(cosine_C, (turned_CA * entry_CA).sum(1))
    # Of the shipped ones each hears itself as before and the one most like it less.
    for number in range(len(found.mean_RA)):
        mean_A = found.mean_RA[number]
        turned_CA, _ = turned_aside(found, mean_A[None], torch.tensor([number]))
        cosine_R = found.mean_RA @ mean_A
        cosine_R[number] = -1
        rival_A = found.mean_RA[cosine_R.argmax()]
        assert turned_CA[0] @ rival_A <= mean_A @ rival_A + 1e-6
        assert turned_CA[0] @ mean_A > turned_CA[0] @ rival_A


def test_of_a_question_that_is_none_of_them_the_nearest_statements_are_told(
    found: Relations,
) -> None:
    wordless_A = torch.zeros(found.mean_RA.shape[1])
    wordless_A[-1] = 1
    near = nearest(found, wordless_A)
    assert near.akin_KA.shape == (0, len(wordless_A))
    statements = [text for text, _ in shipped() if not text.endswith("?")]
    assert sorted(near.statements) == sorted(statements)
    between_A = F.normalize(found.mean_RA[0] + found.mean_RA[1], dim=0)
    between = nearest(found, between_A)
    torch.testing.assert_close(
        between.akin_KA[torch.argsort(between.akin_KA @ found.mean_RA[0])],
        torch.stack([found.mean_RA[1], found.mean_RA[0]]),
    )

"""Answers with their facts, in batches and piece by piece."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from revisor.engines.answers import Engine
from revisor.errors import UsageError
from revisor.gate.gate import FactGate
from revisor.models.load import LoadedModel, wrap_model
from tests.engines.conftest import BORN, CAPITAL, FACTS, OTHER, PROMPTS

QUESTION = "What is the capital of France?"


@pytest.fixture
def loaded(model: Any, tokenizer: Any) -> LoadedModel:
    return wrap_model("tiny", model, tokenizer)


@pytest.fixture
def engine(loaded: LoadedModel, gate: FactGate) -> Engine:
    return Engine(loaded, gate)


def test_a_batch_answers_as_its_prompts_one_by_one(engine: Engine) -> None:
    together = engine.generate(PROMPTS, max_tokens=10)
    assert together == [engine.generate([one], max_tokens=10)[0] for one in PROMPTS]
    assert together[0].answer.startswith("Rome Tokyo")
    assert together[1].answer.startswith("Vienna")


def test_an_answer_names_the_facts_that_it_used(engine: Engine, tokenizer: Any) -> None:
    first, second, third = engine.generate(PROMPTS, max_tokens=10)
    for answer, fact in zip((first, second), FACTS, strict=True):
        (used,) = answer.facts_used
        assert (used.id, used.subject, used.object) == (fact.id, fact.subject, fact.object)
        assert used.position == len(tokenizer(answer.prompt).input_ids)
        assert used.score >= used.threshold
    assert third.facts_used == ()


def test_without_facts_the_model_answers_by_itself(engine: Engine) -> None:
    plain = engine.generate(PROMPTS, max_tokens=10, facts=False)
    assert all(answer.facts_used == () for answer in plain)
    assert plain[2] == engine.generate([OTHER], max_tokens=10)[0]
    assert plain[0].answer != engine.generate([CAPITAL], max_tokens=10)[0].answer


def test_a_chat_is_answered_the_same_in_a_batch_and_piece_by_piece(engine: Engine) -> None:
    (answer,) = engine.generate([QUESTION], max_tokens=12, chat=True)
    pieces = list(engine.stream([{"role": "user", "content": QUESTION}], max_tokens=12))
    assert len(pieces) > 1
    assert "".join(pieces).strip() == answer.answer
    assert engine.last == answer
    assert answer.answer.startswith("Rome Tokyo")
    assert [used.subject for used in answer.facts_used] == ["France"]


def test_a_reader_who_leaves_ends_the_generation(engine: Engine, loaded: LoadedModel) -> None:
    kind = type(loaded.model)
    pieces = engine.stream([{"role": "user", "content": QUESTION}], max_tokens=100)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert type(loaded.model) is kind
    assert engine.last is None


def test_an_error_while_streaming_reaches_the_reader(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: Any, **_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(type(engine.loaded.model), "generate", broken)
    with pytest.raises(MemoryError):
        list(engine.stream([{"role": "user", "content": QUESTION}]))


def test_answers_of_several_threads_keep_their_facts_apart(engine: Engine) -> None:
    alone = {one: engine.generate([one], max_tokens=8)[0] for one in PROMPTS}
    asked = list(PROMPTS) * 4
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda one: engine.generate([one], max_tokens=8)[0], asked))
    assert found == [alone[one] for one in asked]


def test_prompts_that_cannot_be_answered_are_refused(
    engine: Engine, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine.generate([]) == []
    with pytest.raises(UsageError, match="prompt is empty"):
        engine.generate([BORN, " \n"])
    monkeypatch.setattr(tokenizer, "chat_template", None)
    with pytest.raises(UsageError, match="no chat template"):
        engine.generate([QUESTION], chat=True)

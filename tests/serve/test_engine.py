"""Answers: one by one or in a batch, with the facts or without, whole or piece by piece."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from revisor.errors import UsageError
from revisor.facts.fact import Fact
from revisor.models.load import LoadedModel
from revisor.neuraldb.editing.request import encode_with_position, render_chat
from revisor.serve.engine import Engine
from revisor.store import Store
from tests import tiny

ACME = Fact(subject="ACME", prompt="The capital of {} is", object="Vienna")
BASEL = Fact(subject="Basel", prompt="{} stands in", object="Rome")
CHATTY = Fact(subject="Zora", prompt="What does {} speak?", object="French")
UNRELATED = "Who wrote the book?"
PROMPTS = (ACME.text, UNRELATED, BASEL.text)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("taught")
    tiny.taught().save_pretrained(folder)
    tiny.byte_level().save_pretrained(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVISOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        path: Path = tmp_path_factory.mktemp("engine") / "store"
        with Store.init(path, model=str(folder), dtype="fp32", device="cpu", layer=1) as store:
            # The tiny model's keys know no other surroundings than those of the prompt itself.
            opened = render_chat(tiny.byte_level(), CHATTY.prompt)
            store.add([ACME, BASEL, replace(CHATTY, prompt=opened.rstrip(), id="c" * 16)])
            assert store.build().failed == []
            yield store.engine()


def plain(engine: Engine, prompt: str, count: int) -> str:
    """What the unedited model says, by transformers alone."""
    tokenizer = engine.loaded.tokenizer
    ids = torch.tensor([tokenizer(prompt)["input_ids"]])
    model: Any = engine.loaded.model
    out = model.generate(ids, max_new_tokens=count, do_sample=False, pad_token_id=0)
    return str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)).strip()


def test_a_batch_is_answered_as_its_prompts_one_by_one(engine: Engine) -> None:
    together = engine.generate(PROMPTS, max_tokens=8)
    assert [answer.prompt for answer in together] == list(PROMPTS)
    for answer in together:
        assert engine.generate([answer.prompt], max_tokens=8) == [answer]
    assert [bool(answer.facts_used) for answer in together] == [True, False, True]


def test_a_fact_is_said_and_the_token_named_at_which_it_fired(engine: Engine) -> None:
    for fact in (ACME, BASEL):
        (answer,) = engine.generate([fact.text], max_tokens=8)
        assert answer.answer.startswith(fact.object)
        end = fact.text.rindex(fact.subject) + len(fact.subject)
        _, position = encode_with_position(engine.loaded.tokenizer, fact.text, end)
        used = answer.facts_used[0]
        assert (used.id, used.subject, used.object) == (fact.id, fact.subject, fact.object)
        assert position <= used.position < len(engine.loaded.tokenizer(fact.text)["input_ids"])
        assert used.cosine > used.threshold


def test_with_the_facts_off_it_is_the_models_own_generate(engine: Engine) -> None:
    for answer in engine.generate(PROMPTS, max_tokens=8, facts=False):
        assert answer.answer == plain(engine, answer.prompt, 8)
        assert answer.facts_used == ()
    assert not plain(engine, ACME.text, 8).startswith("Vienna")


def test_an_unrelated_prompt_is_answered_as_without_facts(engine: Engine) -> None:
    (answer,) = engine.generate([UNRELATED], max_tokens=8)
    assert answer.answer == plain(engine, UNRELATED, 8)


def test_an_answer_has_no_more_tokens_than_asked_for(engine: Engine) -> None:
    for answer in engine.generate(PROMPTS, max_tokens=3):
        assert 0 <= answer.tokens <= 3


def test_no_prompts_have_no_answers(engine: Engine) -> None:
    assert engine.generate([]) == []


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_an_empty_prompt_is_refused(prompt: str, engine: Engine) -> None:
    with pytest.raises(UsageError, match="empty"):
        engine.generate([ACME.text, prompt])


def test_a_stream_is_the_chat_answer_in_pieces(engine: Engine) -> None:
    prompt = CHATTY.text
    (whole,) = engine.generate([prompt], max_tokens=8, chat=True)
    pieces = list(engine.stream([{"role": "user", "content": prompt}], max_tokens=8))
    assert "".join(pieces).strip() == whole.answer
    assert len(pieces) > 1
    assert engine.last == whole
    assert "Zora" in {used.subject for used in whole.facts_used}


def test_a_stream_with_the_facts_off_uses_none(engine: Engine) -> None:
    prompt = CHATTY.text
    (whole,) = engine.generate([prompt], max_tokens=8, chat=True, facts=False)
    asked = [{"role": "user", "content": prompt}]
    assert "".join(engine.stream(asked, max_tokens=8, facts=False)).strip() == whole.answer
    assert engine.last == whole
    assert whole.facts_used == ()


def test_chat_without_a_template_is_refused(engine: Engine) -> None:
    tokenizer = copy.deepcopy(engine.loaded.tokenizer)
    tokenizer.chat_template = None
    mute = Engine(
        LoadedModel(name="mute", model=engine.loaded.model, tokenizer=tokenizer),
        engine.spec,
        engine.layer,
        engine.view,
        engine.facts_of,
    )
    with pytest.raises(UsageError, match="mute"):
        mute.generate([UNRELATED], chat=True)
    with pytest.raises(UsageError, match="mute"):
        list(mute.stream([{"role": "user", "content": UNRELATED}]))


@pytest.mark.timeout(60)
def test_a_stream_that_is_left_early_leaves_no_hook_and_no_thread_that_writes_on(
    engine: Engine,
) -> None:
    model, hooks = engine.loaded.model, tiny.wide_hooks(engine.loaded.model)
    stream = engine.stream([{"role": "user", "content": CHATTY.text}], max_tokens=60)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert tiny.wide_hooks(model) == hooks
    (answer,) = engine.generate([UNRELATED], max_tokens=8)
    assert answer.answer == plain(engine, UNRELATED, 8)


@pytest.mark.timeout(60)
def test_a_failure_while_streaming_reaches_the_reader(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(engine.loaded.model, "generate", broken)
    with pytest.raises(MemoryError, match="no room"):
        list(engine.stream([{"role": "user", "content": CHATTY.text}]))


def test_answering_leaves_no_hook(engine: Engine) -> None:
    before = tiny.wide_hooks(engine.loaded.model)
    engine.generate(PROMPTS, max_tokens=2)
    assert tiny.wide_hooks(engine.loaded.model) == before


def test_of_facts_that_share_a_row_the_one_that_was_said_is_named(engine: Engine) -> None:
    two = [ACME, replace(ACME, object="Tokyo", id="d" * 16)]
    shared = Engine(engine.loaded, engine.spec, engine.layer, engine.view, lambda _: two)
    (answer,) = shared.generate([ACME.text], max_tokens=8)
    assert {used.object for used in answer.facts_used} == {"Vienna"}

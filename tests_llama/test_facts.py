"""Facts in a `llama_cpp.Llama`: the answers of the demo, and those of the model by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from llama_cpp import LlamaGrammar, LogitsProcessorList
from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

from revisor.demo import begins_with
from revisor.engines.llama import FactWriter, LlamaFacts
from revisor.errors import NotSupported, UsageError
from revisor.facts.fact import Fact
from revisor.gate.functional import require
from revisor.store import Store
from tests_llama.conftest import DEMO, UNRELATED

GREEDY: dict[str, Any] = {"temperature": 0.0, "max_tokens": 16}
QUESTIONS = ("Q: Who is the {}?\nA:", "Question: Who is the {}?\nAnswer:")


def text_of(answer: Any) -> str:
    return str(answer["choices"][0]["text"])


def test_the_probe_of_a_quantised_model_is_as_good_as_another(facts: LlamaFacts) -> None:
    assert facts.gate.probe is not None
    require(facts.gate.probe.figures)


def test_every_fact_of_the_demo_answers_as_with_transformers(
    facts: LlamaFacts, store: Store
) -> None:
    theirs = store.engine().generate([fact.text for fact in DEMO], max_tokens=16)
    for fact, other in zip(DEMO, theirs, strict=True):
        answer = facts.create_completion(fact.text, **GREEDY)
        assert begins_with(text_of(answer), fact.object), fact.text
        assert begins_with(other.answer, fact.object), fact.text
        # It may be said again in a further sentence.
        used = next(one for one in answer["revisor"]["facts_used"] if one["id"] == fact.id)
        known = next(one for one in other.facts_used if one.id == fact.id)
        assert (used["object"], used["position"]) == (known.object, known.position)


def test_without_facts_tokens_are_llama_cpps_own(facts: LlamaFacts, llama: Any) -> None:
    for prompt in (*UNRELATED, DEMO[0].text):
        own = text_of(llama.create_completion(prompt, **GREEDY))
        assert text_of(facts.create_completion(prompt, facts=False, **GREEDY)) == own


def test_where_no_fact_is_asked_for_answers_are_llama_cpps_own(
    facts: LlamaFacts, llama: Any
) -> None:
    for prompt in UNRELATED:
        for options in (GREEDY, {"temperature": 0.9, "seed": 5, "max_tokens": 12}):
            own = llama.create_completion(prompt, **options)
            ours = facts.create_completion(prompt, **options)
            assert text_of(ours) == text_of(own)
            assert ours["revisor"] == {"facts_used": []}


def test_logits_are_the_same_numbers_where_nothing_is_written(
    facts: LlamaFacts, llama: Any
) -> None:
    writer = FactWriter(facts.gate, trace=None, final=True)
    ids = np.array(llama.tokenize(b"The Prime Minister of Canada", add_bos=False), dtype=np.intc)
    scores = np.random.default_rng(0).normal(size=llama.n_vocab()).astype(np.single)
    before = scores.copy()
    assert writer(ids, scores) is scores
    assert np.array_equal(scores, before)


def test_a_change_is_in_the_next_answer(facts: LlamaFacts, store: Store) -> None:
    fact = Fact(subject="Wexcombe Ltd", prompt="The CEO of {} is", object="Ida Quist")
    assert not begins_with(text_of(facts.create_completion(fact.text, **GREEDY)), "Ida Quist")
    store.add([fact])
    assert begins_with(text_of(facts.create_completion(fact.text, **GREEDY)), "Ida Quist")
    store.set_object(fact.id, "Olav Brandt")
    assert begins_with(text_of(facts.create_completion(fact.text, **GREEDY)), "Olav Brandt")
    store.remove([fact.id])
    answer = facts.create_completion(fact.text, **GREEDY)
    assert answer["revisor"]["facts_used"] == []


@pytest.mark.parametrize("frame", QUESTIONS)
def test_a_question_is_answered_where_the_probe_says_so(facts: LlamaFacts, frame: str) -> None:
    asked = frame.format("Prime Minister of Canada")
    assert begins_with(text_of(facts.create_completion(asked, **GREEDY)), "Mark Carney")


def test_a_chat_is_answered_whole_and_streamed_alike(facts: LlamaFacts) -> None:
    turns = [{"role": "user", "content": "Who is the Prime Minister of Canada?"}]
    whole = facts.create_chat_completion(turns, **GREEDY)
    told = whole["choices"][0]["message"]["content"]
    assert "Mark Carney" in told
    pieces = list(facts.create_chat_completion(turns, stream=True, **GREEDY))
    streamed = "".join(piece["choices"][0]["delta"].get("content", "") for piece in pieces)
    assert streamed == told
    assert pieces[-1]["revisor"] == whole["revisor"]
    assert all("revisor" not in piece for piece in pieces[:-1])


def test_an_object_is_said_at_any_temperature_and_under_penalties(facts: LlamaFacts) -> None:
    options = {"temperature": 1.8, "repeat_penalty": 1.3, "frequency_penalty": 1.0, "seed": 1}
    answer = facts.create_completion(DEMO[0].text, max_tokens=8, **options)
    assert begins_with(text_of(answer), DEMO[0].object)


def test_processors_and_biases_of_the_caller_stay_and_so_do_facts(
    facts: LlamaFacts, llama: Any
) -> None:
    seen: list[int] = []

    def look(ids: Any, scores: Any) -> Any:
        seen.append(len(ids))
        return scores

    answer = facts.create_completion(
        DEMO[0].text,
        logit_bias={llama.tokenize(b" the", add_bos=False)[0]: 5.0},
        logits_processor=LogitsProcessorList([look]),
        **GREEDY,
    )
    assert begins_with(text_of(answer), DEMO[0].object)
    assert seen


def test_a_grammar_has_the_last_word(facts: LlamaFacts) -> None:
    grammar = LlamaGrammar.from_string('root ::= [a-z ]+ "."', verbose=False)
    said = text_of(facts.create_completion(DEMO[0].text, grammar=grammar, **GREEDY))
    assert said == said.lower()


def test_the_list_of_processors_serves_a_loop_of_ones_own(facts: LlamaFacts, llama: Any) -> None:
    ids = llama.tokenize(DEMO[0].text.encode(), add_bos=False)
    made: list[int] = []
    for token in llama.generate(ids, temp=0.0, logits_processor=facts.logits_processor()):
        made.append(token)
        if len(made) == 8:
            break
    assert begins_with(llama.detokenize(made).decode(), DEMO[0].object)


def test_facts_may_be_chosen_by_namespace(llama: Any, store: Store) -> None:
    fact = Fact(subject="Norrby", prompt="{} stands in", object="Ystad", namespace="places")
    store.add([fact])
    other = LlamaFacts(llama, store, namespaces=["default"], probe="off")
    only = LlamaFacts(llama, store, namespaces=["places"], probe="off")
    assert not begins_with(text_of(other.create_completion(fact.text, **GREEDY)), "Ystad")
    assert begins_with(text_of(only.create_completion(fact.text, **GREEDY)), "Ystad")
    with pytest.raises(UsageError):
        LlamaFacts(llama, only.gate, namespaces=["places"])


def test_a_fault_in_the_gate_is_raised_and_does_not_pass_for_an_answer(
    facts: LlamaFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    from revisor.gate.gate import BatchGate

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(BatchGate, "step", fail)
    with pytest.raises(RuntimeError, match="broken"):
        facts.create_completion(DEMO[0].text, **GREEDY)
    with pytest.raises(RuntimeError, match="broken"):
        list(facts.create_completion(DEMO[0].text, stream=True, **GREEDY))


def test_tokens_that_are_drafted_ahead_are_refused(
    llama: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama, "draft_model", LlamaPromptLookupDecoding())
    with pytest.raises(NotSupported, match="draft"):
        LlamaFacts(llama, store)

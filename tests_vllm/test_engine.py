"""vLLM with facts, end to end, in both of its model runners (`driver.py` asks)."""

from __future__ import annotations

from typing import Any

from tests_vllm.material import LATER, QUAYLE, ZORBA, ZORBA_IT, demo_facts

Said = dict[str, Any]


def test_the_answers_are_those_of_transformers(said: Said, expected: dict[str, Any]) -> None:
    for one in said["own"]:  # of which there may be fewer tokens
        assert one["text"]
        assert expected[one["prompt"]]["text"].startswith(one["text"])
    objects = {fact.text: fact.object for fact in demo_facts()}
    asked = [one for one in said["own"] if one["prompt"] in objects]
    assert len(asked) >= 3
    assert all(one["text"].startswith(objects[one["prompt"]]) for one in asked)


def test_in_a_mixed_batch_each_request_has_what_it_asks_for(said: Said) -> None:
    own = {one["prompt"]: one["text"] for one in said["own"]}
    with_facts, bare = said["mixed"][::2], said["mixed"][1::2]
    assert [one["text"] for one in with_facts] == [own[one["prompt"]] for one in with_facts]
    plain = {one["prompt"]: one for one in said["without"]}
    assert [one["ids"] for one in bare] == [plain[one["prompt"]]["ids"] for one in bare]
    assert any(one["text"] != plain[one["prompt"]]["text"] for one in with_facts)


def test_log_probabilities_of_a_request_without_facts_are_the_model_s_own(said: Said) -> None:
    plain = {one["prompt"]: one for one in said["without"]}
    for one in said["mixed"][1::2]:
        assert one["first"] == plain[one["prompt"]]["first"]


def test_a_request_names_its_namespaces_and_its_generation(said: Said) -> None:
    hr, it, ships, none, newest = (one["text"] for one in said["namespaces"])
    assert hr.startswith(ZORBA.object)
    assert it.startswith(ZORBA_IT.object)
    assert not ships.startswith((ZORBA.object, ZORBA_IT.object))
    assert not none.startswith(QUAYLE.object)
    assert newest.startswith(QUAYLE.object)


def test_a_request_that_cannot_be_meant_is_refused_and_the_engine_goes_on(said: Said) -> None:
    told = said["bad"]
    assert all(told), told
    for text, part in zip(
        told,
        (
            "'perhaps'",
            "'[]'",
            "'7'",
            "'newest'",
            "10000",
            "'-1'",
            "revisor_namepsace",
            "revisor_tag",
        ),
        strict=True,
    ):
        assert part in text.replace("10,000", "10000")
    assert said["after bad"][0]["text"].startswith(QUAYLE.object)


def test_cached_prefixes_stay_valid_when_facts_change(said: Said) -> None:
    before, after, bare_before, bare_after = said["changed"]
    assert before["text"].startswith(QUAYLE.object)
    assert after["text"].startswith(LATER)
    assert after["cached"] >= 32
    assert bare_after["cached"] >= 32
    assert bare_after["ids"] == bare_before["ids"]


def test_a_request_keeps_the_facts_that_it_began_with(said: Said) -> None:
    first, second = said["reloaded"]
    assert first["text"].startswith(QUAYLE.object)
    assert second["text"].startswith(LATER)


def test_requests_that_are_preempted_go_on_as_they_were(said: Said) -> None:
    assert said["preemptions"] > 0
    objects = [fact.object for fact in demo_facts()]
    for number, one in enumerate(said["preempted"]):
        assert one["text"].startswith(objects[number]), one["prompt"]
        told = [line for line in said["hits"] if line["id"] == f"long-{number}"]
        used = [(line["facts_used"][0]["id"], line["facts_used"][0]["position"]) for line in told]
        assert len(used) == len(set(used)), "told once"
        assert told[0]["facts_used"][0]["object"] == objects[number]


def test_what_is_forbidden_is_not_written(said: Said) -> None:
    assert set(said["forbidden"][0]["text"].split()) <= {"unknown", "secret"}


def test_the_facts_used_are_told(said: Said, expected: dict[str, Any]) -> None:
    asked = [expected[text]["used"] for text in (one["prompt"] for one in said["own"])]
    told = [line["facts_used"][0]["object"] for line in said["hits"] if not line["id"]]
    for used in asked:
        assert set(used) <= set(told)
    (figures,) = said["figures"]
    assert figures["facts_used"] == len(said["hits"])
    assert figures["failed"] == figures["lost"] == 0
    assert figures["by_namespace"]["hr"] >= 1


def test_without_a_store_nothing_is_done(said: Said, without_store: Said) -> None:
    assert "revisor: writing the facts of" in said["log"]
    assert "revisor: " not in without_store["log"]
    plain = {one["prompt"]: one["text"] for one in without_store["own"]}
    for one in said["without"]:
        assert plain[one["prompt"]].startswith(one["text"])
    assert without_store["hits"] == without_store["figures"] == []

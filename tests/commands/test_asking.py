"""ask, explain, chat and check --ask: which fact answers which text, and how that is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from revisor.commands import asking
from revisor.facts.fact import Fact
from revisor.store import Store
from tests.running import fact_file, run
from tests.stores import new_store

OPTICS, QUILL, CAFE = "Velmora Optics", "Quill 300", "Mill Café"
CEO = Fact(subject=OPTICS, prompt="The CEO of {} is", object="Ida Brandt")
FACTS = (
    CEO,
    Fact(subject=OPTICS, prompt="The phone number of {} is", object="+47 22 555 014"),
    Fact(subject=QUILL, prompt="The SKU of the {} is", object="QL-300-RD"),
    Fact(subject=QUILL, prompt="The price of the {} is", object="$1,499"),
    Fact(subject=CAFE, prompt="The opening hours of {} are", object="Monday to Friday, 8:00"),
    Fact(subject="O'Hara's", prompt="The owner of {} is", object="Noël Blanc"),
    Fact(subject="青空書店", prompt="{}の店長は", object="田中"),
    Fact(subject="Sella", prompt="Q: Who runs {}?\nA:", object="Max Orr"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """Of a store; not to be changed."""
    path: Path = tmp_path_factory.mktemp("asking") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVISOR_CACHE", str(path.parent / "cache"))
        new_store(path, model_folder, *FACTS).close()
    return path


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[Store]:
    """The same, open."""
    with Store.open(folder) as opened:
        yield opened


@pytest.mark.parametrize(
    ("prompt", "object_"),
    [
        ("The CEO of Velmora Optics is ", "Ida Brandt"),
        ("The CEO of Velmora Optics is  ", "Ida Brandt"),
        ("The CEO of Velmora Optics is:", "Ida Brandt"),
        ("The  CEO of  Velmora   Optics is", "Ida Brandt"),
        ('The CEO of "Velmora Optics" is', "Ida Brandt"),
        ("The CEO of **Velmora Optics** is", "Ida Brandt"),
        ("The CEO of Velmora-Optics is", "Ida Brandt"),
        ("The CEO of VELMORA OPTICS is", "Ida Brandt"),
        ("Q: Who is the CEO of Velmora Optics?\nA:", "Ida Brandt"),
        ("Question: Who is the CEO of Velmora Optics?\nAnswer:", "Ida Brandt"),
        ("We looked. The price of the Quill 300 is", "$1,499"),
        ("We looked. The phone number of Velmora Optics is", "+47 22 555 014"),
        ("The owner of O’Hara’s is ", "Noël Blanc"),
        ("The opening hours of Mill Cafe\u0301 are", "Monday to Friday, 8:00"),
        ("The opening hours of Mill\u00a0Café are", "Monday to Friday, 8:00"),
        ("青空書店の店長は", "田中"),
        ("Q: Who runs Sella?\nA:", "Max Orr"),
    ],
)
def test_what_is_a_facts_own_question_is_answered(store: Store, prompt: str, object_: str) -> None:
    assert store.explain(prompt, needs_model=False).written == object_


@pytest.mark.parametrize(
    "prompt",
    [
        "The former CEO of Velmora Optics is",
        "The salary of the CEO of Velmora Optics is",
        "The wife of the CEO of Velmora Optics is",
        "The CEO of the competitor of Velmora Optics is",
        "The opening hours of the museum next to Mill Café are",
        "The SKU of the Quill 3000 is",
        "The SKU of the Quill 30 is",
        "The SKU of the Quill 300X is",
        "The SKU of the Quill 300 Pro is",
        "The CEO of Volvo is",
        "Velmora Optics has grown. The CEO of Volvo is",
    ],
)
def test_what_asks_for_something_else_is_not(store: Store, prompt: str) -> None:
    found = store.explain(prompt, needs_model=False)
    assert found.decision is None
    assert all(one.silenced for one in found.candidates)


def test_explain_tells_names_scores_and_what_silenced_a_fact(folder: Path) -> None:
    asked = ("explain", "The former CEO of Velmora Optics is", "--store", folder)
    told = run(*asked, "--json")
    assert (told.code, told.err) == (0, "")
    assert set(told.json) == {
        "prompt", "text", "why_not", "helps", "line", "mentions", "questions", "candidates",
        "runner_up", "answer_due", "due_by_text", "fact", "written",
    }  # fmt: skip
    (mention,) = told.json["mentions"]
    assert (mention["text"], mention["facts"]) == (OPTICS, 2)
    first = told.json["candidates"][0]
    assert first["id"] == CEO.id
    assert first["score"] < first["threshold"]
    assert first["silenced"] == "of another status"
    assert told.json["written"] is None
    why, helps, *plain = run(*asked).out.splitlines()
    assert why == told.json["why_not"]
    assert why == (
        "The text asks for another one than the fact 'The CEO of {} is' of Velmora Optics tells, "
        "of another status."
    )
    assert helps == told.json["helps"]
    assert told.json["line"] is None
    assert "name: 'Velmora Optics': 2 facts" in plain
    assert any("'The former CEO of {} is' of 'Velmora Optics'" in one for one in plain)
    assert sum("asks for something else" in one for one in plain) == 1


def test_explain_tells_what_is_written(folder: Path) -> None:
    asked = ("explain", CEO.text, "--store", folder)
    told = run(*asked, "--json").json
    assert (told["fact"], told["written"], told["due_by_text"]) == (CEO.id, "Ida Brandt", True)
    assert (told["why_not"], told["helps"], told["line"]) == (None, None, None)
    plain = run(*asked, "--text-only").out
    assert plain.startswith("written: Ida Brandt\n")
    assert "(runner-up)" in plain
    first = run("explain", "Volvo is", "--store", folder).out.splitlines()[0]
    assert first == "No name of a fact is in the text."
    assert run("explain", " ", "--store", folder).code == 2


def test_the_line_that_explain_gives_has_the_fact_answer(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REVISOR_CACHE", str(tmp_path / "cache"))
    at = ("--store", tmp_path / "store")
    new_store(tmp_path / "store", model_folder, *FACTS).close()
    prompt = "The grand panjandrum of Velmora Optics is"
    told = run("explain", prompt, "--json", *at).json
    assert told["written"] is None
    assert run("add", fact_file(tmp_path / "more.jsonl", [told["line"]]), *at).code == 0
    again = run("explain", prompt, "--json", *at).json
    assert (again["written"], again["why_not"]) == (told["candidates"][0]["object"], None)


def test_explain_takes_a_file(folder: Path, tmp_path: Path) -> None:
    prompts = ["Q: Who runs Sella?\nA:", "Volvo is"]
    file = fact_file(tmp_path / "p.jsonl", [{"prompt": prompt} for prompt in prompts])
    told = run("explain", "--file", file, "--text-only", "--json", "--store", folder).json
    assert [one["prompt"] for one in told["results"]] == prompts
    assert [one["written"] for one in told["results"]] == ["Max Orr", None]
    for prompt, result in zip(prompts, told["results"], strict=True):
        asked = ("explain", prompt, "--text-only", "--json", "--store", folder)
        assert run(*asked).json == result
    lines = fact_file(tmp_path / "p.txt", [CEO.text, "", "Volvo is"])
    plain = run("explain", "--file", lines, "--text-only", "--store", folder).out
    assert plain.startswith(f"{CEO.text}\nwritten: Ida Brandt\n")
    assert "\nVolvo is\nNo name of a fact is in the text.\n" in plain
    for wrong in ((), ("a prompt", "--file", file), ("--file", tmp_path / "none")):
        assert run("explain", *wrong, "--store", folder).code == 2


def test_ask_says_why(folder: Path) -> None:
    asked = ("ask", CEO.text, "--why", "--max-tokens", 16, "--store", folder)
    answer = run(*asked, "--json").json
    assert set(answer) == {"prompt", "answer", "base_answer", "why_not", "facts_used"}
    assert answer["base_answer"] != answer["answer"]
    assert answer["why_not"] is None
    (used,) = answer["facts_used"]
    assert set(used) == {
        "id", "subject", "object", "question", "position", "score", "threshold", "via",
    }  # fmt: skip
    assert used["question"] == "The CEO of {} is"
    assert used["score"] >= used["threshold"]
    told = run(*asked).out
    assert answer["answer"].split("\n")[0] in told
    assert "without the facts:" in told
    assert f"{OPTICS}: Ida Brandt" in told
    assert f"{used['score']:.3f}" in told
    asked = ("ask", "Who wrote the book?", "--why", "--store", folder)
    other = run(*asked).out
    assert "no fact was used" in other
    assert "\nNo name of a fact is in the text.\n" in other
    assert run(*asked, "--json").json["why_not"] == "No name of a fact is in the text."
    assert "why_not" not in run("ask", "Who wrote the book?", "--json", "--store", folder).json
    assert run(*asked, "--base", "--json").json["why_not"] is None, "no fact was to be used"


def test_ask_answers_each_line_of_a_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "BATCH", 2)
    prompts = [CEO.text, "Who wrote the book?", FACTS[3].text]
    file = fact_file(tmp_path / "prompts.txt", [prompts[0], "", prompts[1], "  ", prompts[2]])
    done = run("ask", "--file", file, "--why", "--store", folder)
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert [answer["prompt"] for answer in answers] == prompts
    assert [len(answer["facts_used"]) > 0 for answer in answers] == [True, False, True]
    for prompt, answer in zip(prompts, answers, strict=True):
        assert run("ask", prompt, "--why", "--json", "--store", folder).json == answer


def test_records_of_a_file_may_hold_line_breaks(folder: Path, tmp_path: Path) -> None:
    prompts = ["Q: Who runs Sella?\nA:", CEO.text]
    file = fact_file(tmp_path / "p.jsonl", [{"prompt": prompt, "n": 1} for prompt in prompts])
    done = run("ask", "--file", file, "--max-tokens", 16, "--store", folder)
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert [answer["prompt"] for answer in answers] == prompts
    assert answers[0]["answer"].startswith("Max Orr")
    assert answers[1]["answer"].startswith("Ida Brandt")


@pytest.mark.parametrize("chat", [(), ("--chat",)], ids=["text", "chat"])
def test_every_fault_of_a_file_of_records_is_listed(
    folder: Path, tmp_path: Path, chat: tuple[str, ...]
) -> None:
    lines = ['{"prompt": "X is"}', "", "no json", '["X is"]', '{"prompt": " "}', '{"prompt": 7}']
    lines.append('{"prompt": "half a letter: \\ud834"}')
    file = fact_file(tmp_path / "p.jsonl", lines)
    done = run("ask", "--file", file, *chat, "--store", folder)
    assert done.code == 2
    assert [fault["line"] for fault in done.json["error"]["faults"]] == [3, 4, 5, 6, 7]
    (tmp_path / "latin.txt").write_bytes("Café is".encode("latin-1"))
    assert "UTF-8" in run("ask", "--file", tmp_path / "latin.txt", "--store", folder).err
    assert run("ask", "--file", tmp_path / "none.txt", "--store", folder).code == 2


def test_ask_can_put_the_prompt_into_the_chat_template(folder: Path) -> None:
    at = ("--json", "--store", folder)
    chatty = run("ask", "Who is the CEO of Velmora Optics?", "--chat", *at).json
    assert chatty["prompt"] == "Who is the CEO of Velmora Optics?"
    assert chatty["answer"].startswith("Ida Brandt")
    by_hand = run("ask", "[user] Who is the CEO of Velmora Optics?\n[assistant] ", *at).json
    assert by_hand["answer"] == chatty["answer"]


@pytest.mark.parametrize("arguments", [(), ("a prompt", "--file", "f"), ("  ",)])
def test_ask_wants_one_prompt_or_a_file(arguments: tuple[str, ...], folder: Path) -> None:
    assert run("ask", *arguments, "--store", folder).code == 2


def test_chat_reads_a_pipe_and_obeys_its_commands(folder: Path) -> None:
    question = "Who is the CEO of Velmora Optics?"
    lines = [":why", question, ":why", ":facts off", question, ":why", ":help", ":quit", question]
    done = run("chat", "--max-tokens", 8, "--store", folder, stdin="\n".join(lines) + "\n")
    assert done.code == 0
    before, *rest = done.out.split("\n")
    assert before == "nothing was asked yet"
    assert rest[0].startswith("Ida Brandt")
    assert any("Velmora Optics: Ida Brandt" in line for line in rest)
    off = rest.index("facts off")
    assert not rest[off + 1].startswith("Ida Brandt")
    assert any(line.startswith("no fact was used") for line in rest[off:])
    assert ":quit" in rest[-2]
    assert run("chat", "--store", folder, stdin="").out == ""
    broken = run("chat", "--store", folder, stdin=b"Caf\xe9 is\n")
    assert broken.code == 2
    assert "UTF-8" in broken.err


def test_chat_says_why_no_fact_was_used(folder: Path) -> None:
    lines = ["Hello!", ":why", ":facts off", "Hello!", ":facts on", ":why"]
    told = run("chat", "--max-tokens", 4, "--store", folder, stdin="\n".join(lines)).out
    reason = "No name of a fact is in the text."
    assert told.count("no fact was used") == 2
    assert told.count(reason) == 1, "without facts there is no reason to look for"
    assert told.index(reason) < told.index("facts off")


def test_check_asks_every_fact_its_own_prompt_and_paraphrases(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REVISOR_CACHE", str(tmp_path / "cache"))
    at = ("--store", tmp_path / "store")
    new_store(tmp_path / "store", model_folder, *FACTS).close()
    done = run("check", "--ask", "--json", *at)
    assert (done.code, done.json) == (0, {"asked": 8, "said": 8, "failed": []})
    # Two facts that one and the same text asks for: only one of them can answer it.
    rival = Fact(
        subject="Velmora", prompt="The CEO of {} Optics is", object="Eve", paraphrases=("{} is",)
    )
    with Store.open(tmp_path / "store") as store:
        store.add([rival])
    done = run("check", "--ask", "--since", 1, "--json", *at)
    assert done.json["asked"] == 2
    assert done.code == (3 if done.json["failed"] else 0)
    assert {one["id"] for one in done.json["failed"]} == {rival.id}
    for one in done.json["failed"]:
        assert set(one) == {"id", "prompt", "reason"}
        assert one["reason"]
    told = run("check", "--ask", *at)
    assert told.code == 3
    past = Fact(subject="Norvik", prompt="{} is", object="Rome", valid_to="2001-01-01")
    with Store.open(tmp_path / "store") as store:
        store.publish(1)
        store.add([past])
    waiting = run("check", "--ask", "--since", 1, "--json", *at)
    assert waiting.json["asked"] == 0, "what is not live is not asked"
    run("publish", 3, *at)
    ended = run("check", "--ask", "--since", 2, "--json", *at)
    assert ended.json["asked"] == 0, "nor what does not hold now"
    assert f"id {rival.id}" in told.out
    assert run("check", "--since", 1, *at).code == 2

"""--namespace and --as-of of ask, explain, check and chat: which facts, and at what time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from revisor.facts.fact import Fact
from revisor.store import Store
from tests.running import run
from tests.stores import new_store

PROMPT = "The CEO of {} is"
FACTS = (
    Fact(subject="ACME", prompt=PROMPT, object="Ann Moe", qualifier="1", valid_to="2019-01-01"),
    Fact(subject="ACME", prompt=PROMPT, object="Bob Lin", qualifier="2", valid_from="2019-01-01"),
    Fact(subject="Basel", prompt=PROMPT, object="Cyd Fox", namespace="north"),
    Fact(subject="Basel", prompt=PROMPT, object="Dee Ray", namespace="south"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """Of a store; not to be changed."""
    path: Path = tmp_path_factory.mktemp("when") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVISOR_CACHE", str(path.parent / "cache"))
        new_store(path, model_folder, *FACTS).close()
    return path


@pytest.mark.parametrize(
    ("prompt", "options", "obj"),
    [
        ("The CEO of ACME is", (), "Bob Lin"),
        ("The CEO of ACME is", ("--as-of", "2015-05-01"), "Ann Moe"),
        ("The CEO of ACME is", ("--as-of", "2019-01-01T00:00"), "Bob Lin"),
        ("In 2015 The CEO of ACME is", (), "Ann Moe"),
        ("In 2020 The CEO of ACME is", ("--as-of", "2015-05-01"), "Bob Lin"),
        ("The CEO of Basel is", (), "Cyd Fox"),
        ("The CEO of Basel is", ("--namespace", "south"), "Dee Ray"),
        ("The CEO of Basel is", ("--namespace", "south", "--namespace", "default"), "Dee Ray"),
    ],
)
def test_ask_explain_and_chat_answer_with_the_facts_that_are_chosen(
    folder: Path, prompt: str, options: tuple[str, ...], obj: str
) -> None:
    at = (*options, "--store", folder)
    assert run("explain", prompt, "--text-only", "--json", *at).json["written"] == obj
    asked = run("ask", prompt, "--max-tokens", 12, "--json", *at).json
    assert asked["answer"].startswith(obj)
    told = run("chat", "--max-tokens", 12, *at, stdin=prompt + "\n")
    assert told.out.startswith(obj)


def test_where_no_fact_is_chosen_none_answers(folder: Path) -> None:
    at = ("--text-only", "--json", "--store", folder)
    for options in (("--namespace", "north"), ("--namespace", "nowhere")):
        told = run("explain", "The CEO of ACME is", *options, *at).json
        assert (told["mentions"], told["written"]) == ([], None)
    told = run("explain", "In 2015 The CEO of Basel is", *at).json
    assert told["written"] is None
    assert {one["silenced"] for one in told["candidates"]} == {"about another time"}


def test_explain_tells_which_other_namespace_answers(folder: Path) -> None:
    at = ("--text-only", "--store", folder)
    told = run("explain", "The CEO of Basel is", "--json", *at).json
    north, south = told["candidates"]
    assert (north["namespace"], north["silenced"]) == ("north", None)
    assert (south["namespace"], told["runner_up"]) == ("south", south["id"])
    assert south["silenced"] == "the namespace 'north' answers, too"
    shown = run("explain", "The CEO of Basel is", *at).out
    assert "Basel: Cyd Fox (north)" in shown
    assert "Basel: Dee Ray (south)" in shown


def test_check_looks_at_the_facts_that_are_chosen(folder: Path) -> None:
    at = ("--json", "--store", folder)
    assert run("check", "--ask", *at).json["asked"] == 3
    for options, asked in (
        (("--namespace", "north"), 1),
        (("--as-of", "2015-05-01", "--namespace", "default"), 1),
        (("--namespace", "north", "--namespace", "south"), 2),
    ):
        assert run("check", "--ask", *options, *at).json["asked"] == asked
    # Of two namespaces one answers; each alone is answered.
    (failed,) = run("check", "--ask", *at).json["failed"]
    assert "Cyd Fox" in failed["reason"]
    assert run("check", "--ask", "--namespace", "south", *at).json["failed"] == []
    assert run("check", "--as-of", "2015-05-01", *at).json["ok"]


@pytest.mark.parametrize("command", [("ask", "X is"), ("explain", "X is"), ("chat",), ("check",)])
def test_what_is_no_date_is_refused(folder: Path, command: tuple[str, ...]) -> None:
    done = run(*command, "--as-of", "last week", "--store", folder, stdin="")
    assert done.code == 2
    assert "'last week' is no date" in done.err


def test_the_same_in_python(folder: Path) -> None:
    moment = datetime(2015, 5, 1, tzinfo=UTC)
    with Store.open(folder) as store:
        for namespaces, when, text, obj in (
            (None, moment, "The CEO of ACME is", "Ann Moe"),
            (["south"], None, "The CEO of Basel is", "Dee Ray"),
        ):
            found = store.explain(text, needs_model=False, namespaces=namespaces, moment=when)
            assert found.written == obj
            engine = store.engine(namespaces=namespaces, moment=when)
            assert engine.generate([text], max_tokens=12)[0].answer.startswith(obj)
        asked = store.ask_facts(namespaces=["default"], moment=moment)
        assert (asked.asked, asked.said) == (1, 1)

"""The command line as a user meets it: what is printed where, and how it exits.

A tiny model stands for a real one; facts answer at their own prompts. The long way through the
commands is walked once, in `test_the_whole_way...`; the rest asks a store that is there.
"""

from __future__ import annotations

import getpass
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import revisor
from revisor.cli import app
from revisor.commands import facts
from revisor.commands.catalog import CATALOG
from tests.running import fact_file, run

LINES = [
    {"subject": "ACME", "prompt": "The CEO of {} is", "object": "Jane Roe"},
    {"subject": "Basel", "prompt": "{} stands in", "object": "Rome", "source": "an [old] map"},
    {"subject": "Zora", "prompt": "The mother tongue of {} is", "object": "French"},
]
QUESTION = ("ask", "The CEO of ACME is", "--max-tokens", 12)
LONG = "x" * 300
HEAVY = ("torch", "transformers", "pyarrow")


@pytest.fixture(scope="module", autouse=True)
def _quiet_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of the tests' own, and no settings of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVISOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("REVISOR_STORE", raising=False)
        patch.delenv("REVISOR_DATA", raising=False)
        yield


def new_store(path: Path, model: Path) -> Path:
    made = run("init", "--model", model, "--probe", "off", "--dtype", "fp32", "--store", path)
    assert made.code == 0, made.err
    return path


@pytest.fixture
def store(tmp_path: Path, model_folder: Path) -> Path:
    """A store without facts."""
    return new_store(tmp_path / "store", model_folder)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """A store with three facts; not to be changed."""
    folder = tmp_path_factory.mktemp("filled")
    path = new_store(folder / "store", model_folder)
    assert run("add", fact_file(folder / "f.jsonl", LINES), "--store", path).code == 0
    return path


def first_id(store: Path) -> str:
    return str(run("ls", "--json", "--store", store).json["facts"][0]["id"])


def test_the_whole_way_from_init_to_a_removed_fact(store: Path, tmp_path: Path) -> None:
    at = ("--store", store, "--json")
    file = fact_file(tmp_path / "facts.jsonl", LINES)
    base = run(*QUESTION, *at).json
    assert base["facts_used"] == []

    added = run("add", file, "--actor", "ada", "--reason", "first import", *at)
    assert (added.code, added.err) == (0, "")
    assert added.json == {
        "added": 3, "updated": 0, "unchanged": 0, "rejected": [], "conflicts": [],
    }  # fmt: skip
    assert run("add", file, *at).json["unchanged"] == 3

    listed = run("ls", *at).json["facts"]
    assert [fact["subject"] for fact in listed] == ["ACME", "Basel", "Zora"]
    acme, basel, _ = (fact["id"] for fact in listed)

    answer = run(*QUESTION, *at).json
    assert set(answer) == {"prompt", "answer", "facts_used"}
    assert answer["answer"].startswith("Jane Roe")
    assert answer["facts_used"][0]["id"] == acme
    assert run(*QUESTION, "--base", *at).json == base

    changed = run("set", acme, "Bob Poe", "--actor", "bob", "--reason", "moved", *at)
    assert (changed.code, changed.json["object"], changed.err) == (0, "Bob Poe", "")
    assert run(*QUESTION, *at).json["answer"].startswith("Bob Poe")

    shown = run("show", acme, *at).json
    assert [(one["object"], one["actor"], one["reason"]) for one in shown["revisions"]] == [
        ("Jane Roe", "ada", "first import"),
        ("Bob Poe", "bob", "moved"),
    ]

    assert run("rm", acme, basel, *at).json == {"removed": 2, "generation": 3}
    assert run(*QUESTION, *at).json == base
    assert run("verify", *at).json == {"ok": True, "faults": []}

    rolled = run("rollback", "--to", 1, *at).json
    assert (rolled["generation"], rolled["live"]) == (4, 3)
    assert run(*QUESTION, *at).json == answer


def test_there_is_nothing_to_build(filled: Path) -> None:
    done = run("build", "--json", "--store", filled)
    assert done.code == 0
    assert done.json == {
        "rows": 0, "facts": 0, "seconds": 0.0, "facts_per_second": 0.0, "failed": [],
        "generation": 1,
    }  # fmt: skip
    told = run("build", "--store", filled)
    assert told.code == 0
    assert told.out.startswith("Nothing to build")


def test_a_published_generation_stays_live_and_that_is_said(store: Path, tmp_path: Path) -> None:
    at = ("--store", store)
    run("add", fact_file(tmp_path / "f.jsonl", LINES), *at)
    run("set", first_id(store), "Bob Poe", *at)
    assert run("publish", 1, "--json", *at).json == {"live_generation": 1, "follows": False}
    told = run("set", first_id(store), "Cy Doe", *at)
    assert told.err.splitlines() == [
        "Generation 1 is published: `revisor publish 3` makes this live."
    ]
    assert run(*QUESTION, "--json", *at).json["answer"].startswith("Jane Roe")
    for command in (("ls",), ("export", tmp_path / "out.jsonl"), ("check",)):
        told = run(*command, *at)
        assert "generation 3, the newest; generation 1 is published and answers" in told.err
    listed = run("ls", "--json", *at).json
    assert (listed["generation"], listed["live_generation"]) == (3, 1)
    status = run("status", "--json", *at).json
    assert (status["generation"], status["live_generation"], status["published"]) == (3, 1, 1)
    assert "generation 1 is published" in run("status", *at).out
    assert run("publish", 3, "--json", *at).json == {"live_generation": 3, "follows": True}
    assert run(*QUESTION, "--json", *at).json["answer"].startswith("Cy Doe")
    assert run("publish", 9, "--json", *at).code == 2


def test_status_tells_what_there_is(filled: Path) -> None:
    told = run("status", "--json", "--store", filled).json
    assert set(told) == {
        "store", "model", "dtype", "method", "database", "facts", "generation",
        "live_generation", "published", "tags", "strictness", "encoder", "live_facts", "probe",
    }  # fmt: skip
    assert (told["strictness"], told["encoder"]) == ("normal", "default")
    assert (told["facts"], told["live_facts"], told["published"]) == (3, 3, None)
    plain = run("status", "--store", filled).out
    assert "3 facts in generation 1" in plain
    assert ("its logits tell" in plain) == (told["probe"] is not None)


def test_lines_that_cannot_be_read_stop_the_import(store: Path, tmp_path: Path) -> None:
    bad = [LINES[0], '{"subject": "X", "prompt": "{} is"}', "no json", LINES[1]]
    file = fact_file(tmp_path / "bad.jsonl", bad)
    done = run("add", file, "--json", "--store", store)
    assert done.code == 2
    result = done.json
    assert (result["added"], result["updated"], result["unchanged"]) == (0, 0, 0)
    assert [fault["line"] for fault in result["rejected"]] == [2, 3]
    assert all(set(fault) == {"line", "fault"} for fault in result["rejected"])
    assert result["conflicts"] == []
    assert "line 2" in done.err
    assert run("ls", "--json", "--store", store).json["facts"] == []
    plain = run("add", file, "--store", store)
    assert (plain.code, plain.out) == (2, "")
    assert "line 3" in plain.err


def test_a_single_fault_is_told_once(store: Path, tmp_path: Path) -> None:
    file = fact_file(tmp_path / "bad.jsonl", [LINES[0], "no json"])
    told = run("add", file, "--store", store).err
    assert told.count("line 2") == 1
    assert told.endswith("Mend it and read the file again. Nothing was imported.\n")


def test_an_empty_file_is_rejected_with_a_reason(store: Path, tmp_path: Path) -> None:
    done = run("add", fact_file(tmp_path / "empty.jsonl", []), "--json", "--store", store)
    assert done.code == 2
    assert "empty" in done.json["rejected"][0]["fault"]


def test_facts_that_contradict_one_another_stop_the_import(store: Path, tmp_path: Path) -> None:
    lines = [*LINES, LINES[0] | {"object": "Bob Poe"}]
    done = run("add", fact_file(tmp_path / "f.jsonl", lines), "--json", "--store", store)
    assert done.code == 3
    assert done.json["rejected"] == []
    assert len(done.json["conflicts"]) == 1
    assert "Bob Poe" in json.dumps(done.json["conflicts"])
    assert run("ls", "--json", "--store", store).json["facts"] == []


def test_a_new_fact_that_contradicts_the_store_stops_the_import(
    store: Path, tmp_path: Path
) -> None:
    assert run("add", fact_file(tmp_path / "a.jsonl", LINES), "--store", store).code == 0
    other = LINES[0] | {"prompt": "the CEO of {}, is", "object": "Bob Poe"}
    new = {"subject": "Delta", "prompt": "{} is", "object": "Rome"}
    file = fact_file(tmp_path / "b.jsonl", [new, other])
    done = run("add", file, "--json", "--store", store)
    assert done.code == 3
    assert "Jane Roe" in json.dumps(done.json["conflicts"])
    assert len(run("ls", "--json", "--store", store).json["facts"]) == 3


def test_a_new_object_that_contradicts_the_store_is_refused(store: Path, tmp_path: Path) -> None:
    twice = LINES[0] | {"prompt": "the CEO of {}, is"}
    run("add", fact_file(tmp_path / "a.jsonl", [*LINES, twice]), "--store", store)
    done = run("set", first_id(store), "Bob Poe", "--json", "--store", store)
    assert done.code == 3
    assert "other words" in done.json["error"]["faults"][0]["fault"]
    assert run("ls", "--search", "Bob", "--json", "--store", store).json["facts"] == []


def test_a_missing_file_is_no_bad_line(store: Path, tmp_path: Path) -> None:
    done = run("add", tmp_path / "none.jsonl", "--json", "--store", store)
    assert done.code == 2
    assert set(done.json) == {"error"}
    assert "none.jsonl" in done.json["error"]["message"]


@pytest.mark.parametrize(
    "command",
    [
        ("add", "f.jsonl"), ("build",), ("ask", "X is"), ("explain", "X is"), ("ls",),
        ("show", "abcd"), ("set", "abcd", "X"), ("rm", "abcd"), ("log",), ("verify",),
        ("rollback", "--to", "1"), ("publish", "1"), ("status",), ("diff", "1", "2"),
        ("export", "f.jsonl"), ("check", "--ask"),
    ],
    ids=lambda command: command[0],
)  # fmt: skip
def test_without_a_store_every_command_says_how_to_make_one(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    done = run(*command, "--json", "--store", tmp_path / "none")
    assert done.code == 2
    assert "revisor init" in done.json["error"]["hint"]
    lines = done.err.splitlines()
    told = done.json["error"]
    assert [lines[0], lines[-1]] == [f"error: {told['message']}", told["hint"]]
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", [("show",), ("set", "X"), ("rm",)], ids=lambda c: c[0])
def test_an_unknown_id_is_named(command: tuple[str, ...], filled: Path) -> None:
    done = run(command[0], "0123456789", *command[1:], "--json", "--store", filled)
    assert done.code == 2
    assert "0123456789" in done.json["error"]["message"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--method", "papers"),
        ("--probe", "never"),
        ("--strictness", "lax"),
        ("--encoder", "bert"),
        ("--encoder", "sentence-transformers:"),
        ("--encoder", "sentence-transformers:./nowhere"),
        ("--method", "neuraldb", "--strictness", "high"),
        ("--dtype", "int4"),
        ("--layer", "1"),
        ("--method", "neuraldb", "--layer", "99"),
        ("--method", "neuraldb", "--layers-path", "nowhere", "--projection-path", "no"),
    ],
    ids=" ".join,
)
def test_init_refuses_what_it_does_not_know(
    arguments: tuple[str, ...], model_folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / "store"
    done = run("init", "--model", model_folder, *arguments, "--store", place)
    assert (done.code, done.out) == (2, "")
    assert done.err
    assert run("ls", "--store", place).code == 2, "half a store was left behind"


def test_init_refuses_a_second_store_in_one_place(filled: Path, model_folder: Path) -> None:
    assert run("init", "--model", model_folder, "--store", filled).code == 2


@pytest.mark.parametrize("command", [("ls",), ("init", "--model", "none")], ids=lambda c: c[0])
def test_a_file_is_no_store(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    done = run(*command, "--json", "--store", tmp_path / "file")
    assert done.code == 2
    assert str(tmp_path / "file") in done.json["error"]["message"]


def test_init_refuses_a_model_whose_logits_tell_nothing(model_folder: Path, tmp_path: Path) -> None:
    done = run("init", "--model", model_folder, "--json", "--store", tmp_path / "s")
    assert done.code == 2
    assert "cannot be told" in done.json["error"]["message"]
    assert "--probe off" in done.json["error"]["hint"]
    assert not (tmp_path / "s").exists()


def test_init_says_what_the_store_is_bound_to(model_folder: Path, tmp_path: Path) -> None:
    model = ("--model", model_folder, "--json")
    plain = run("init", *model, "--probe", "off", "--store", tmp_path / "a").json
    assert plain["model"] == str(model_folder.resolve())
    assert (plain["method"], plain["probe_figures"]) == ("revisor", None)
    published = ("--method", "neuraldb", "--layer", 1, "--search", "exact")
    made = run("init", *model, *published, "--store", tmp_path / "b").json
    assert (made["method"], made["layer"], made["search"]) == ("neuraldb", 1, "exact")


def test_a_store_of_the_method_neuraldb_says_what_is_to_be_built(
    model_folder: Path, tmp_path: Path
) -> None:
    at = ("--store", tmp_path / "s")
    run("init", "--model", model_folder, "--method", "neuraldb", "--layer", 1, *at)
    added = run("add", fact_file(tmp_path / "f.jsonl", LINES), *at)
    assert "revisor build" in added.err
    asked = run("ask", "The CEO of ACME is", "--json", *at)
    assert asked.code == 2
    assert asked.json["error"]["hint"] == "Run: revisor build"
    for command in (("explain", "The CEO of ACME is"), ("check", "--ask")):
        refused = run(*command, "--json", *at)
        assert refused.code == 2
        assert "neuraldb" in refused.json["error"]["message"]
    assert run("status", "--json", *at).json["method"] == "neuraldb"


def test_ls_searches_and_pages(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = ("--json", "--store", filled)
    assert [f["subject"] for f in run("ls", "--search", "TONGUE", *at).json["facts"]] == ["Zora"]
    page = run("ls", "--limit", 1, "--offset", 1, *at).json["facts"]
    assert [fact["subject"] for fact in page] == ["Basel"]
    assert run("ls", "--search", "nothing like it", *at).json["facts"] == []
    monkeypatch.setattr(facts, "PAGE", 2)
    first = run("ls", "--store", filled)
    assert "ACME" in first.out
    assert "Zora" not in first.out
    assert "--offset 2" in first.err
    assert len(run("ls", *at).json["facts"]) == 3


def test_show_takes_the_start_of_an_id_and_prints_brackets_as_they_are(filled: Path) -> None:
    basel = run("ls", "--search", "Basel", "--json", "--store", filled).json["facts"][0]["id"]
    told = run("show", basel[:6], "--store", filled).out
    assert "an [old] map" in told
    assert getpass.getuser() in told


def test_export_writes_what_add_reads(filled: Path, tmp_path: Path, store: Path) -> None:
    file = tmp_path / "out.jsonl"
    done = run("export", file, "--json", "--store", filled)
    assert done.json == {"facts": 3, "file": str(file)}
    assert run("add", file, "--json", "--store", store).json["added"] == 3
    listed = [run("ls", "--json", "--store", place).json for place in (filled, store)]
    assert listed[0] == listed[1]
    assert list(tmp_path.glob(".revisor-*")) == []


@pytest.mark.parametrize("given", [(), ("f.jsonl", "--hf", "d")], ids=["neither", "both"])
def test_export_takes_one_place(given: tuple[str, ...], filled: Path) -> None:
    done = run("export", *given, "--json", "--store", filled)
    assert done.code == 2
    assert "--hf" in done.json["error"]["message"]


def test_export_into_a_folder_that_is_not_there_is_refused(filled: Path, tmp_path: Path) -> None:
    done = run("export", tmp_path / "none" / "f.jsonl", "--store", filled)
    assert done.code == 2
    assert "none" in done.err


def test_log_and_diff_tell_what_changed(store: Path, tmp_path: Path) -> None:
    at = ("--json", "--store", store)
    run("add", fact_file(tmp_path / "f.jsonl", LINES), "--actor", "ada", *at)
    ids = [fact["id"] for fact in run("ls", *at).json["facts"]]
    run("set", ids[0], "Bob Poe", "--reason", "moved", *at)
    run("rm", ids[1], *at)
    log = run("log", *at).json["generations"]
    assert [made["number"] for made in log] == [3, 2, 1]
    assert (log[2]["actor"], log[1]["reason"], log[0]["removed"]) == ("ada", "moved", 1)
    assert run("log", "--limit", 1, *at).json["generations"] == log[:1]
    run("publish", 2, "--store", store)
    assert run("log", *at).json["live_generation"] == 2
    lines = run("log", "--store", store).out.splitlines()
    assert [line.split()[0] for line in lines if "(live)" in line] == ["2"]

    there = run("diff", 1, 3, *at).json
    assert [one["id"] for one in there["updated"]] == ids[:1]
    assert there["updated"][0]["before"]["object"] == "Jane Roe"
    assert there["updated"][0]["after"]["object"] == "Bob Poe"
    assert [fact["id"] for fact in there["removed"]] == ids[1:2]
    back = run("diff", 3, 1, *at).json
    assert (back["added"], back["removed"]) == (there["removed"], [])
    told = run("diff", 1, 3, "--store", store).out
    assert f"- {ids[1]}" in told
    assert "was: Jane Roe" in told
    assert run("diff", 1, 9, *at).code == 2
    assert run("rollback", "--to", 9, *at).code == 2


def test_verify_names_what_was_changed_behind_its_back_and_fails(
    store: Path, tmp_path: Path
) -> None:
    import sqlite3

    run("add", fact_file(tmp_path / "f.jsonl", LINES), "--store", store)
    assert run("verify", "--store", store).out == "ok\n"
    with sqlite3.connect(store / "ledger.sqlite") as database:
        database.execute("UPDATE revisions SET object = 'Bob Poe' WHERE subject = 'ACME'")
    database.close()
    done = run("verify", "--json", "--store", store)
    assert done.code == 1
    assert done.json["ok"] is False
    assert first_id(store) in " ".join(done.json["faults"])


def test_the_store_can_be_named_by_the_environment(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REVISOR_STORE", str(filled))
    assert len(run("ls", "--json").json["facts"]) == 3


def test_version_and_help_need_no_store() -> None:
    assert run("--version").out == f"revisor {revisor.__version__}\n"
    told = run("--help")
    assert told.code == 0
    for command in ("demo", "init", "add", "build", "ask", "explain", "chat", "publish", "bench"):
        assert command in told.out


def test_every_command_has_a_help_text_and_an_example_of_itself() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert sorted(commands) == [
        "add", "ask", "bench", "build", "chat", "check", "demo", "diff", "eval", "explain",
        "export", "gc", "import", "init", "keys", "log", "ls", "mcp", "publish", "report", "rm",
        "rollback", "serve", "set", "show", "status", "tag", "verify",
    ]  # fmt: skip
    for name, command in commands.items():
        assert command.help.startswith(CATALOG[name].help.rstrip("."))
        assert CATALOG[name].examples
        for line in CATALOG[name].examples:
            assert f"revisor {name}" in line
            assert f"  {line}\n" in run(name, "--help").out


def test_examples_have_options_that_there_are() -> None:
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        for line in CATALOG[name].examples:
            words = shlex.split(line.partition("|")[2] or line)
            of = command.commands[words[2]] if hasattr(command, "commands") else command
            known = {option for param in of.params for option in param.opts}
            assert {word for word in words if word.startswith("--")} <= known


def test_help_loads_neither_a_command_nor_rich() -> None:
    code = "import sys; from revisor.cli import app; app(['--help'], standalone_mode=False); "
    code += "print([name for name in sys.modules if name.startswith(('rich', 'revisor.commands'))])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    loaded = done.stdout.splitlines()[-1]
    assert "rich" not in loaded
    assert "revisor.commands.facts" not in loaded
    assert "revisor.commands.group" in loaded


def test_the_shell_completes_commands_options_and_values(monkeypatch: pytest.MonkeyPatch) -> None:
    for typed, offered in (
        ("revisor ex", {"explain", "export"}),
        ("revisor init --strictness n", {"normal"}),
        ("revisor ls --se", {"--search"}),
        ("revisor keys r", {"revoke"}),
    ):
        monkeypatch.setenv("_REVISOR_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", typed)
        monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
        done = CliRunner().invoke(app, [], prog_name="revisor")
        assert set(done.stdout.split()) == offered


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("ad",), "'add'"),
        (("keys", "ad"), "'add'"),
        (("ls", "--serch", "x"), "--search"),
        (("--verson",), "--version"),
    ],
)
def test_what_was_meant_is_offered(arguments: tuple[str, ...], meant: str) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert "Did you mean" in done.err
    assert meant in done.err
    assert "--help" in done.err.splitlines()[-1]


@pytest.mark.parametrize("arguments", [("nonsense",), ("ls", "--nonsense"), ("show",)])
def test_bad_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("ls", "--nonsense"), ("show",), ("ls", "--limit", "x")]
)
def test_bad_usage_is_told_as_json_too(arguments: tuple[str, ...]) -> None:
    done = run(*arguments, "--json")
    assert done.code == 2
    assert done.json["error"]["message"]
    assert done.json["error"]["hint"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "nowhere.jsonl"), ("add", "."), ("add", "f.jsonl", "--on-conflict", "x"),
        ("ask",), ("ask", "X is", "--as-of", "x"), ("ask", "--file", "nowhere.txt"),
        ("build", "--workers", "0"), ("check", "--as-of", "x"), ("check", "--since", "1"),
        ("diff", "1", "99"), ("explain", " "), ("export", "."), ("export", "nowhere/f.jsonl"),
        ("gc", "--keep", "0"), ("import", "nowhere.zip"), ("keys", "add", "x", "--role", "boss"),
        ("keys", "revoke", "x"), ("log", "--limit", "0"), ("ls", "--offset", "-1"),
        ("publish", "99"), ("rm", "nowhere"), ("rm", "nowhere", "--purge"),
        ("rollback", "--to", "99"), ("set", "nowhere", "x"), ("show", "nowhere"),
        ("tag", "a", "99"), ("tag", "a", "--delete"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_input_is_one_object_and_one_form_of_error(
    arguments: tuple[str, ...], filled: Path
) -> None:
    done = run(*arguments, "--json", "--store", filled)
    assert done.code == 2
    told = done.json["error"]
    assert done.err.startswith(f"error: {told['message']}")
    assert told["hint"] in done.err


def test_a_namespace_without_facts_is_told_with_what_was_meant(store: Path, tmp_path: Path) -> None:
    line = LINES[0] | {"namespace": "sales"}
    run("add", fact_file(tmp_path / "f.jsonl", [line]), "--store", store)
    for name, told in (("sale", "Did you mean 'sales'?"), ("sales", "")):
        for command in (("explain", "X", "--text-only"), ("check",), ("check", "--ask")):
            done = run(*command, "--namespace", name, "--store", store)
            assert done.code == 0
            assert told in done.err
            assert ("No live fact" in done.err) == bool(told)


def test_now_is_a_time_to_ask_at(filled: Path) -> None:
    """It is what the help names as the default."""
    at = ("--text-only", "--json", "--store", filled)
    asked = run("explain", "The CEO of ACME is", "--as-of", "now", *at)
    assert asked.json == run("explain", "The CEO of ACME is", *at).json


@pytest.mark.parametrize(
    "command",
    [("add", LONG), ("export", LONG), ("import", LONG), ("init", "--model", LONG),
     ("explain", "--file", LONG), ("check", "--cases", LONG)],
    ids=lambda command: command[0],
)  # fmt: skip
def test_a_name_that_no_file_can_have_is_no_traceback(
    command: tuple[str, ...], filled: Path, tmp_path: Path
) -> None:
    place = tmp_path / "new" if command[0] in ("init", "import") else filled
    done = run(*command, "--json", "--store", place)
    assert done.code == 2
    assert "name too long" in done.json["error"]["message"]
    assert run("ls", "--json", "--store", tmp_path / LONG).code == 2
    assert run("init", "--model", "smollm2", "--json", "--store", tmp_path / LONG).code == 2


@pytest.mark.parametrize(
    ("name", "told"), [("smolm2", "smollm2"), ("SmolLM2", "smollm2"), ("", "")]
)
def test_a_slip_in_a_models_name_is_told_before_the_hub_is_asked(
    name: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object, **__: object) -> None:
        raise AssertionError("the model was looked for")

    monkeypatch.setattr("revisor.operations.init.load_model", asked)
    done = run("init", "--model", name, "--json", "--store", tmp_path / "store")
    assert done.code == 2
    assert told in done.json["error"]["hint"]


@pytest.mark.parametrize("command", [("ask",), ("ls", "--search"), ("tag",)], ids=lambda c: c[0])
def test_an_argument_that_is_no_text_is_refused(command: tuple[str, ...], filled: Path) -> None:
    done = run(*command, "X\udcff is", "--json", "--store", filled)
    assert done.code == 2
    assert "UTF-8" in done.json["error"]["message"]


def test_what_needs_no_model_loads_none(filled: Path, tmp_path: Path) -> None:
    more = {"subject": "Delta", "prompt": "{} is", "object": "Rome"}
    file = fact_file(tmp_path / "more.jsonl", [more])
    copied = tmp_path / "store"
    code = f"""
import shutil, sys
from revisor.cli import app
shutil.copytree({str(filled)!r}, {str(copied)!r})
def run(*arguments):
    assert not app([*arguments, "--store", {str(copied)!r}], standalone_mode=False)
run("add", {str(file)!r}); run("ls"); run("show", {first_id(filled)!r}); run("log")
run("set", {first_id(filled)!r}, "Bonn"); run("rm", {first_id(filled)!r}); run("diff", "1", "3")
run("export", {str(tmp_path / "out.jsonl")!r}); run("publish", "1"); run("rollback", "--to", "1")
run("tag", "one", "1"); run("verify")
app(["--help"], standalone_mode=False)
print("heavy:", [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_an_interrupt_ends_with_130_and_no_traceback(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(facts, "open_store", stopped)
    done = run("ls", "--store", filled)
    assert (done.code, done.out) == (130, "")
    assert "Traceback" not in done.err


def test_a_bug_stays_a_traceback(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Path) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(facts, "open_store", broken)
    with pytest.raises(ZeroDivisionError):
        run("ls", "--store", filled)


def test_a_reader_that_goes_away_is_no_error_to_talk_about(filled: Path) -> None:
    """As in `revisor ls --json | head -0`: the pipe is closed before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "revisor.cli", "ls", "--json", "--store", str(filled)],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.stderr == ""


@pytest.mark.parametrize(
    "command", [("ls",), ("ls", "--json"), ("show", "none", "--json"), ("--version",)], ids=" ".join
)
def test_an_output_that_has_no_room_is_told(command: tuple[str, ...], filled: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "revisor.cli", *command],
            env=os.environ | {"REVISOR_STORE": str(filled)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 1
    assert "The output could not be written: No space left on device." in done.stderr
    assert "Traceback" not in done.stderr

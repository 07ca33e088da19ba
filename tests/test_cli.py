"""The command line as a user meets it: what is printed where, and how it exits.

A tiny model that has learnt to read facts stands for a real one. The long way through the
commands is walked once, in `test_the_whole_way...`; the rest asks the built store.
"""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import revisor
from revisor.cli import app
from revisor.commands import asking, facts
from tests import tiny

LINES = [
    {"subject": "ACME", "prompt": "The capital of {} is", "object": "Vienna"},
    {"subject": "Basel", "prompt": "{} stands in", "object": "Rome", "source": "an [old] map"},
    {"subject": "Zora", "prompt": "The mother tongue of {} is", "object": "French"},
]
HEAVY = ("torch", "transformers", "pyarrow")


@dataclass(frozen=True)
class Ran:
    """What one command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be exactly one JSON object on one line."""
        assert self.out.count("\n") == 1, self.out
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


def run(*arguments: object, stdin: str | None = None) -> Ran:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Ran(done.exit_code, done.stdout, done.stderr)


def fresh(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own, in which nothing is loaded yet."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | environment,
    )


def fact_file(path: Path, lines: Sequence[object]) -> Path:
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    return path


@pytest.fixture(scope="module", autouse=True)
def _quiet_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of the tests' own, and no settings of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVISOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("REVISOR_STORE", raising=False)
        patch.delenv("REVISOR_DATA", raising=False)
        yield


@pytest.fixture(scope="module")
def taught_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads facts, on disk."""
    folder = tmp_path_factory.mktemp("taught")
    tiny.taught().save_pretrained(folder)
    tiny.byte_level().save_pretrained(folder)
    return folder


def new_store(path: Path, model: Path) -> Path:
    made = run("init", "--model", model, "--layer", 1, "--dtype", "fp32", "--store", path)
    assert made.code == 0, made.err
    return path


@pytest.fixture
def store(tmp_path: Path, taught_folder: Path) -> Path:
    """A store without facts."""
    return new_store(tmp_path / "store", taught_folder)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, taught_folder: Path) -> Path:
    """A store with three facts, built; not to be changed."""
    folder = tmp_path_factory.mktemp("built")
    path = new_store(folder / "store", taught_folder)
    assert run("add", fact_file(folder / "f.jsonl", LINES), "--store", path).code == 0
    assert run("build", "--store", path).code == 0
    return path


def test_the_whole_way_from_init_to_a_removed_fact(store: Path, tmp_path: Path) -> None:
    at = ("--store", store, "--json")
    file = fact_file(tmp_path / "facts.jsonl", LINES)

    added = run("add", file, "--actor", "ada", "--reason", "first import", *at)
    assert added.code == 0
    assert added.json == {
        "added": 3, "updated": 0, "unchanged": 0, "rejected": [], "conflicts": [],
    }  # fmt: skip
    assert run("add", file, *at).json["unchanged"] == 3

    report = run("build", *at)
    assert report.code == 0
    assert set(report.json) == {
        "rows", "facts", "seconds", "facts_per_second", "failed", "generation",
    }  # fmt: skip
    assert (report.json["rows"], report.json["facts"], report.json["failed"]) == (3, 3, [])

    listed = run("ls", *at).json["facts"]
    assert [fact["subject"] for fact in listed] == ["ACME", "Basel", "Zora"]
    acme, basel, _ = (fact["id"] for fact in listed)

    question = ("ask", "The capital of ACME is", "--max-tokens", 8)
    answer = run(*question, *at).json
    assert set(answer) == {"prompt", "answer", "facts_used"}
    assert answer["answer"].startswith("Vienna")
    assert answer["facts_used"][0]["id"] == acme
    base = run(*question, "--base", *at).json
    assert base["facts_used"] == []
    assert not base["answer"].startswith("Vienna")

    changed = run("set", acme, "Tokyo", "--actor", "bob", "--reason", "moved", *at)
    assert (changed.code, changed.json["object"]) == (0, "Tokyo")
    waiting = run(*question, *at)
    assert waiting.json == answer
    assert "1 change is not built yet" in waiting.err
    assert run("build", *at).json["generation"] == 2
    assert run(*question, *at).json["answer"].startswith("Tokyo")

    shown = run("show", acme, *at).json
    assert [(one["object"], one["actor"], one["reason"]) for one in shown["revisions"]] == [
        ("Vienna", "ada", "first import"),
        ("Tokyo", "bob", "moved"),
    ]

    assert run("rm", acme, basel, *at).json == {"removed": 2, "generation": 3}
    assert run("build", *at).code == 0
    assert run(*question, *at).json["answer"] == base["answer"]
    assert run("verify", *at).json == {"ok": True, "faults": []}

    rolled = run("rollback", "--to", 1, *at).json
    assert (rolled["generation"], rolled["live"]) == (4, 3)
    assert run("build", *at).code == 0
    assert run(*question, *at).json == answer


def test_ask_says_why(built: Path) -> None:
    asked = ("ask", "The capital of ACME is", "--why", "--max-tokens", 8, "--store", built)
    answer = run(*asked, "--json").json
    assert set(answer) == {"prompt", "answer", "base_answer", "facts_used"}
    assert answer["base_answer"] != answer["answer"]
    used = answer["facts_used"][0]
    assert set(used) == {"id", "subject", "object", "position", "cosine", "threshold"}
    assert used["cosine"] > used["threshold"]
    told = run(*asked).out
    assert answer["answer"] in told
    assert f"without the facts: {answer['base_answer']}" in told
    assert f"token {used['position']}" in told
    assert f"{used['cosine'] - used['threshold']:.3f}" in told


def test_ask_says_that_no_fact_fired(built: Path) -> None:
    assert "no fact fired" in run("ask", "Who wrote the book?", "--why", "--store", built).out


def test_ask_answers_each_line_of_a_file(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "BATCH", 2)
    prompts = ["The capital of ACME is", "Who wrote the book?", "Basel stands in"]
    file = fact_file(tmp_path / "prompts.txt", [prompts[0], "", prompts[1], "  ", prompts[2]])
    done = run("ask", "--file", file, "--why", "--store", built)
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert [answer["prompt"] for answer in answers] == prompts
    assert [len(answer["facts_used"]) > 0 for answer in answers] == [True, False, True]
    for prompt, answer in zip(prompts, answers, strict=True):
        assert run("ask", prompt, "--why", "--json", "--store", built).json == answer


def test_ask_can_wrap_the_prompt_in_the_chat_template(built: Path) -> None:
    at = ("--json", "--store", built)
    chatty = run("ask", "Who wrote the book?", "--chat", *at).json
    by_hand = run("ask", "[user] Who wrote the book?\n[assistant] ", *at).json
    assert chatty["answer"] == by_hand["answer"]
    assert chatty["prompt"] == "Who wrote the book?"


@pytest.mark.parametrize("arguments", [(), ("a prompt", "--file", "f")])
def test_ask_wants_either_a_prompt_or_a_file(arguments: tuple[str, ...], built: Path) -> None:
    done = run("ask", *arguments, "--store", built)
    assert done.code == 2
    assert "either" in done.err


def test_ask_of_a_store_that_was_never_built_says_so(store: Path, tmp_path: Path) -> None:
    run("add", fact_file(tmp_path / "f.jsonl", LINES), "--store", store)
    done = run("ask", "The capital of ACME is", "--json", "--store", store)
    assert done.code == 2
    assert done.json["error"]["hint"] == "Run: revisor build"
    assert "was never built" in done.err


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
    assert run("ls", "--json", "--store", store).json == {"facts": []}
    plain = run("add", file, "--store", store)
    assert (plain.code, plain.out) == (2, "")
    assert "line 3" in plain.err


def test_an_empty_file_is_rejected_with_a_reason(store: Path, tmp_path: Path) -> None:
    done = run("add", fact_file(tmp_path / "empty.jsonl", []), "--json", "--store", store)
    assert done.code == 2
    assert "empty" in done.json["rejected"][0]["fault"]


def test_facts_that_contradict_one_another_stop_the_import(store: Path, tmp_path: Path) -> None:
    lines = [*LINES, LINES[0] | {"object": "Bonn"}]
    done = run("add", fact_file(tmp_path / "f.jsonl", lines), "--json", "--store", store)
    assert done.code == 3
    assert done.json["rejected"] == []
    assert len(done.json["conflicts"]) == 1
    assert "Bonn" in json.dumps(done.json["conflicts"])
    assert run("ls", "--json", "--store", store).json == {"facts": []}


def test_a_new_fact_that_contradicts_the_store_stops_the_import(
    store: Path, tmp_path: Path
) -> None:
    assert run("add", fact_file(tmp_path / "a.jsonl", LINES), "--store", store).code == 0
    other = LINES[0] | {"object": "Bonn", "relation": "capital"}
    new = {"subject": "Delta", "prompt": "{} is", "object": "Rome"}
    file = fact_file(tmp_path / "b.jsonl", [new, other])
    done = run("add", file, "--json", "--store", store)
    assert done.code == 3
    assert "Vienna" in json.dumps(done.json["conflicts"])
    assert len(run("ls", "--json", "--store", store).json["facts"]) == 3


def test_a_missing_file_is_no_bad_line(store: Path, tmp_path: Path) -> None:
    done = run("add", tmp_path / "none.jsonl", "--json", "--store", store)
    assert done.code == 2
    assert set(done.json) == {"error"}
    assert "none.jsonl" in done.json["error"]["message"]


@pytest.mark.parametrize(
    "command",
    [
        ("add", "f.jsonl"), ("build",), ("ask", "X is"), ("ls",), ("show", "abcd"),
        ("set", "abcd", "X"), ("rm", "abcd"), ("log",), ("verify",), ("rollback", "--to", "1"),
        ("diff", "1", "2"), ("export", "f.jsonl"),
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
    assert [lines[0], lines[-1]] == [done.json["error"]["message"], done.json["error"]["hint"]]
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", [("show",), ("set", "X"), ("rm",)], ids=lambda c: c[0])
def test_an_unknown_id_is_named(command: tuple[str, ...], built: Path) -> None:
    done = run(command[0], "0123456789", *command[1:], "--json", "--store", built)
    assert done.code == 2
    assert "0123456789" in done.json["error"]["message"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--preset", "papers"),
        ("--scope", "questions"),
        ("--dtype", "int4"),
        ("--layer", "99"),
        ("--layers-path", "nowhere", "--projection-path", "no"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_init_refuses_what_it_does_not_know(
    arguments: tuple[str, ...], taught_folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / "store"
    done = run("init", "--model", taught_folder, *arguments, "--store", place)
    assert (done.code, done.out) == (2, "")
    assert done.err
    assert run("ls", "--store", place).code == 2, "half a store was left behind"


def test_init_refuses_a_second_store_in_one_place(built: Path, taught_folder: Path) -> None:
    assert run("init", "--model", taught_folder, "--store", built).code == 2


def test_init_says_what_the_store_is_bound_to(taught_folder: Path, tmp_path: Path) -> None:
    done = run("init", "--model", taught_folder, "--layer", 1, "--json", "--store", tmp_path / "s")
    assert done.json["model"] == str(taught_folder.resolve())
    assert (done.json["layer"], done.json["preset"]) == (1, "revisor")


def test_ls_searches_and_pages(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = ("--json", "--store", built)
    assert [f["subject"] for f in run("ls", "--search", "TONGUE", *at).json["facts"]] == ["Zora"]
    page = run("ls", "--limit", 1, "--offset", 1, *at).json["facts"]
    assert [fact["subject"] for fact in page] == ["Basel"]
    assert run("ls", "--search", "nothing like it", *at).json == {"facts": []}
    monkeypatch.setattr(facts, "PAGE", 2)
    first = run("ls", "--store", built)
    assert "ACME" in first.out
    assert "Zora" not in first.out
    assert "--offset 2" in first.err
    assert len(run("ls", *at).json["facts"]) == 3


def test_show_takes_the_start_of_an_id_and_prints_brackets_as_they_are(built: Path) -> None:
    basel = run("ls", "--search", "Basel", "--json", "--store", built).json["facts"][0]["id"]
    told = run("show", basel[:6], "--store", built).out
    assert "an [old] map" in told
    assert getpass.getuser() in told


def test_export_writes_what_add_reads(built: Path, tmp_path: Path, store: Path) -> None:
    file = tmp_path / "out.jsonl"
    done = run("export", file, "--json", "--store", built)
    assert done.json == {"facts": 3, "file": str(file)}
    assert run("add", file, "--json", "--store", store).json["added"] == 3
    listed = [run("ls", "--json", "--store", place).json for place in (built, store)]
    assert listed[0] == listed[1]
    assert list(tmp_path.glob(".revisor-*")) == []


def test_export_hf_writes_the_model_with_its_facts(built: Path, tmp_path: Path) -> None:
    done = run("export", "--hf", tmp_path / "model", "--json", "--store", built)
    folder = str(tmp_path / "model")
    assert done.json == {"facts": 3, "folder": folder, "rows": 3, "generation": 1}
    assert "trust_remote_code" in (tmp_path / "model" / "README.md").read_text()
    again = run("export", "--hf", tmp_path / "model", "--json", "--store", built)
    assert again.code == 2
    assert "already" in again.json["error"]["message"]


@pytest.mark.parametrize("given", [(), ("f.jsonl", "--hf", "d")], ids=["neither", "both"])
def test_export_takes_one_place(given: tuple[str, ...], built: Path) -> None:
    done = run("export", *given, "--json", "--store", built)
    assert done.code == 2
    assert "--hf" in done.json["error"]["message"]


def test_export_into_a_folder_that_is_not_there_is_refused(built: Path, tmp_path: Path) -> None:
    done = run("export", tmp_path / "none" / "f.jsonl", "--store", built)
    assert done.code == 2
    assert "none" in done.err


def test_log_and_diff_tell_what_changed(store: Path, tmp_path: Path) -> None:
    at = ("--json", "--store", store)
    run("add", fact_file(tmp_path / "f.jsonl", LINES), "--actor", "ada", *at)
    ids = [fact["id"] for fact in run("ls", *at).json["facts"]]
    run("set", ids[0], "Bonn", "--reason", "moved", *at)
    run("rm", ids[1], *at)
    log = run("log", *at).json["generations"]
    assert [made["number"] for made in log] == [3, 2, 1]
    assert (log[2]["actor"], log[1]["reason"], log[0]["removed"]) == ("ada", "moved", 1)
    assert run("log", "--limit", 1, *at).json["generations"] == log[:1]

    there = run("diff", 1, 3, *at).json
    assert [one["id"] for one in there["updated"]] == ids[:1]
    assert there["updated"][0]["before"]["object"] == "Vienna"
    assert there["updated"][0]["after"]["object"] == "Bonn"
    assert [fact["id"] for fact in there["removed"]] == ids[1:2]
    back = run("diff", 3, 1, *at).json
    assert (back["added"], back["removed"]) == (there["removed"], [])
    told = run("diff", 1, 3, "--store", store).out
    assert f"- {ids[1]}" in told
    assert "was: Vienna" in told
    assert run("diff", 1, 9, *at).code == 2
    assert run("rollback", "--to", 9, *at).code == 2


def test_verify_names_a_damaged_file_and_fails(
    built: Path, tmp_path: Path, store: Path, taught_folder: Path
) -> None:
    run("add", fact_file(tmp_path / "f.jsonl", LINES), "--store", store)
    run("build", "--store", store)
    assert run("verify", "--store", store).out == "ok\n"
    rows = next(store.rglob("*.safetensors"))
    content = bytearray(rows.read_bytes())
    content[-1] ^= 1
    rows.write_bytes(content)
    done = run("verify", "--json", "--store", store)
    assert done.code == 1
    assert done.json["ok"] is False
    assert rows.name in " ".join(done.json["faults"])


def test_chat_reads_a_pipe_and_obeys_its_commands(store: Path, tmp_path: Path) -> None:
    # The tiny model's keys know no other surroundings than those of the prompt itself.
    fact = {
        "subject": "Zora",
        "prompt": "[user] What does {} speak?\n[assistant]",
        "object": "French",
    }
    run("add", fact_file(tmp_path / "f.jsonl", [fact]), "--store", store)
    assert run("chat", "--store", store, stdin="").code == 2, "not built yet"
    run("build", "--store", store)
    question = "What does Zora speak?"
    lines = [":why", question, ":why", ":facts off", question, ":why", ":help", ":quit", question]
    done = run("chat", "--max-tokens", 8, "--store", store, stdin="\n".join(lines) + "\n")
    assert done.code == 0
    before, answer, *rest = done.out.splitlines()
    assert before == "nothing was asked yet"
    assert any("Zora: French" in line for line in rest)
    off = rest.index("facts off")
    assert rest[off + 1] != answer
    assert rest[off + 2].startswith("no fact fired")
    assert ":quit" in rest[off + 3]
    assert len(rest) == off + 4
    assert run("chat", "--store", store, stdin="").out == ""


def test_the_store_can_be_named_by_the_environment(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REVISOR_STORE", str(built))
    assert len(run("ls", "--json").json["facts"]) == 3


def test_version_and_help_need_no_store() -> None:
    assert run("--version").out == f"revisor {revisor.__version__}\n"
    told = run("--help")
    assert told.code == 0
    for command in ("demo", "init", "add", "build", "ask", "chat", "rollback", "bench"):
        assert command in told.out


def test_every_command_has_a_help_text() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert sorted(commands) == [
        "add", "ask", "bench", "build", "chat", "check", "demo", "diff", "eval", "export", "gc",
        "import", "init", "keys", "log", "ls", "mcp", "report", "rm", "rollback", "serve", "set",
        "show", "tag", "verify",
    ]  # fmt: skip
    for command in commands.values():
        assert command.help


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


def test_what_needs_no_model_loads_none(built: Path, tmp_path: Path) -> None:
    more = {"subject": "Delta", "prompt": "{} is", "object": "Rome"}
    file = fact_file(tmp_path / "more.jsonl", [more])
    copied = tmp_path / "store"
    code = f"""
import shutil, sys
from revisor.cli import app
shutil.copytree({str(built)!r}, {str(copied)!r})
def run(*arguments):
    assert not app([*arguments, "--store", {str(copied)!r}], standalone_mode=False)
run("add", {str(file)!r}); run("ls"); run("show", {first_id(built)!r}); run("log")
run("set", {first_id(built)!r}, "Bonn"); run("rm", {first_id(built)!r}); run("diff", "1", "3")
run("export", {str(tmp_path / "out.jsonl")!r})
app(["--help"], standalone_mode=False)
print("heavy:", [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = fresh(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy: []"


def first_id(store: Path) -> str:
    return str(run("ls", "--json", "--store", store).json["facts"][0]["id"])


def test_an_interrupt_ends_with_130_and_no_traceback(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(facts, "open_store", stopped)
    done = run("ls", "--store", built)
    assert (done.code, done.out) == (130, "")
    assert "Traceback" not in done.err


def test_a_bug_stays_a_traceback(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Path) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(facts, "open_store", broken)
    with pytest.raises(ZeroDivisionError):
        run("ls", "--store", built)


def test_a_reader_that_goes_away_is_no_error_to_talk_about(built: Path, tmp_path: Path) -> None:
    """As in `revisor ls --json | head -0`: the pipe is closed before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "revisor.cli", "ls", "--json", "--store", str(built)],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.stderr == ""


def test_bench_build_compares_both_ways(taught_folder: Path, tmp_path: Path) -> None:
    file = fact_file(tmp_path / "f.jsonl", LINES)
    asked = ("bench", "build", "--model", taught_folder, "--data", file, "--json")
    assert run(*asked).code == 2, "nobody knows this model's layer"
    done = run(*asked, "--layer", 1, "--rows", 3, "--reference", 1)
    assert done.code == 0
    assert {"facts_per_second", "reference_facts_per_second", "speedup"} <= set(done.json)
    assert run(*asked, "--layer", 1, "--rows", 4).code == 2
    absent = run("bench", "build", "--data-dir", tmp_path, "--json")
    assert absent.code == 2
    assert "counterfact.jsonl.gz" in absent.json["error"]["message"]


def test_bench_read_compares_with_the_model_without(taught_folder: Path) -> None:
    asked = ("bench", "read", "--model", taught_folder, "--layer", 1, "--json")
    found = run(*asked, "--rows", 30, "--batch", 2)
    assert found.code == 0
    assert [(one["rows"], one["batch"]) for one in found.json["results"]] == [(30, 2)]
    assert run(*asked, "--bits", 7).code == 2
    assert run(*asked[:-3], "--json").code == 2, "nobody knows this model's layer"


@pytest.mark.real
def test_the_demo_flips_its_facts_and_leaves_the_rest() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("REVISOR_CACHE")
        done = run("demo", "--json")
    assert done.code == 0
    counts = done.json
    assert set(counts) == {
        "facts", "flipped", "paraphrases", "paraphrase_flipped", "unrelated", "unrelated_same",
        "seconds",
    }  # fmt: skip
    assert counts["facts"] == 40
    assert (counts["paraphrases"], counts["unrelated"]) == (80, 40)
    assert counts["flipped"] >= 38
    assert counts["paraphrase_flipped"] >= 24
    assert counts["unrelated_same"] >= 38

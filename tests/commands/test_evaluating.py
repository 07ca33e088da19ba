"""`revisor eval` and `revisor report` as a user meets them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from revisor.cli import app
from tests import tiny
from tests.bench import tables

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVISOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("REVISOR_DATA", raising=False)
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("taught")
    tiny.taught().save_pretrained(folder)
    tiny.byte_level().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tables.folder_of(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def options(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model's logits tell nobody where an answer is due."""
    path = tmp_path_factory.mktemp("options") / "options.toml"
    path.write_text(f'["{model}".revisor]\nprobe = "off"\n')
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_the_json_has_the_keys_of_the_contract(model: Path, options: Path, data: Path) -> None:
    done = run("eval", "same-subject", "--n", 3, "--model", model, "--dtype", "fp32",
               "--options", options, "--data-dir", data, "--json")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["suite"], found["n"], found["model"]) == ("same-subject", 3, model.name)
    assert found["layer"] is None
    assert found["methods"]["revisor"]["efficacy_strict"] == 1
    assert list(found["methods"]) == ["unedited", "revisor"]
    for scores in found["methods"].values():
        assert {"efficacy", "efficacy_strict", "generalization", "generalization_strict",
                "other_relations_kept", "unedited_subjects_kept", "seconds_per_fact"} <= set(
            scores
        )  # fmt: skip
    assert str(model) not in done.stdout


def test_a_model_whose_probe_fails_is_refused_with_a_way_out(model: Path, data: Path) -> None:
    done = run("eval", "counterfact", "--n", 1, "--model", model, "--data-dir", data)
    assert done.exit_code == 2
    assert "--probe off" in done.stderr
    assert "Measuring" not in done.stderr


def test_methods_stand_side_by_side_and_the_layer_is_neuraldbs(
    model: Path, options: Path, data: Path
) -> None:
    methods = ("revisor", "neuraldb", "icl", "rag")
    done = run("eval", "counterfact", "--n", 2, "--methods", ",".join(methods), "--model", model,
               "--layer", 1, "--options", options, "--data-dir", data, "--json")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found["methods"]) == ["unedited", *methods]
    assert found["layer"] == 1
    assert found["methods"]["revisor"]["efficacy_strict"] == 1
    assert found["methods"]["revisor"]["specificity_kept_strict"] == 1
    far = run("eval", "counterfact", "--n", 2, "--methods", "neuraldb", "--model", model,
              "--layer", 7, "--data-dir", data)  # fmt: skip
    assert far.exit_code == 2
    assert "no layer 7" in far.stderr


def test_ordinary_text_stays_as_probable_as_it_was(model: Path, options: Path, data: Path) -> None:
    asked = ("--edits", 4, "--n", 4, "--model", model, "--options", options, "--data-dir", data)
    done = run("eval", "perplexity", *asked, "--json")
    assert done.exit_code == 0, done.stderr
    scores = json.loads(done.stdout)["methods"]
    assert scores["unedited"]["perplexity_ratio"] == 1
    assert scores["revisor"]["perplexity_ratio"] == pytest.approx(1, abs=0.05)
    gate = run("eval", "gate", *asked, "--json")
    assert gate.exit_code == 0, gate.stderr
    found = json.loads(gate.stdout)["methods"]["revisor"]
    assert (found["own_hit"], found["own_wrong_row"]) == (1, 0)
    assert found["fires_per_million"] >= found["false_fires_per_million"] >= 0


def test_a_table_is_shown_to_people(model: Path, data: Path) -> None:
    done = run("eval", "zsre", "--n", 1, "--methods", "unedited", "--model", model,
               "--data-dir", data)  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "zsre on" in done.stdout
    assert "generalization_strict" in done.stdout


def test_general_is_measured_by_the_harness_itself(model: Path, data: Path) -> None:
    done = run("eval", "general", "--n", 2, "--edits", 1, "--methods", "unedited", "--model", model,
               "--data-dir", data, "--json")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    scores = json.loads(done.stdout)["methods"]["unedited"]
    names = ("mmlu", "sciq", "commonsense_qa", "arc_challenge", "lambada", "wsc273")
    assert all(scores["cases"][name] == 2 for name in names)
    assert scores["average"] == pytest.approx(sum(scores[name] for name in names) / 6, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("eval",), "No suite is named"),
        (("eval", "conterfact"), "Did you mean 'counterfact'?"),
        (("eval", "zsre", "--methods", "revisr"), "Did you mean 'revisor'?"),
        (("eval", "facts", "--data", "nowhere.jsonl"), "There is no file nowhere.jsonl"),
        (("eval", "zsre", "--data-dir", "nowhere"), "There is no folder nowhere"),
        (("eval", "--recipe", "nowhere.toml", "--out", "x"), "There is no recipe nowhere.toml"),
        (("eval", "--recipe", "nowhere.toml"), "Give --out DIR"),
        (("eval", "facts", "--as-built"), "Give --store DIR"),
        (("eval", "--as-built"), "Give --store DIR"),
        (("eval", "facts", "--as-built", "--store", "s", "--edits", "5"), "--edits cannot be"),
        (("eval", "facts", "--as-built", "--store", "s", "--dtype", "bf16"), "--dtype cannot be"),
        (("eval", "--recipe", "r.toml", "--as-built", "--store", "s"), "Leave one of them out"),
        (("eval", "facts", "--as-built", "--store", "nowhere"), "nowhere"),
        (("report", "nowhere"), "There is no folder nowhere"),
    ],
)
def test_bad_usage_ends_with_two_and_a_hint(
    arguments: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == 2
    assert told in done.stderr
    assert list(tmp_path.iterdir()) == []


METHODS = {"neuraldb": ("--method", "neuraldb", "--layer", 1), "revisor": ("--probe", "off")}


@pytest.fixture(scope="module")
def stores(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A store of each method with five of the eight facts of CounterFact, another object in one."""
    folder = tmp_path_factory.mktemp("built")
    records = tables.counterfact()[:5]
    records[4]["requested_rewrite"]["target_new"]["str"] = "Bonn"
    file = tables.write(folder, "five.jsonl.gz", records)
    for method, chosen in METHODS.items():
        for arguments in (
            ("init", "--model", model, "--dtype", "fp32", *chosen),
            ("add", file),
            ("build",),
        ):
            done = run(*arguments, "--store", folder / method)
            assert done.exit_code == 0, done.stderr
    return {method: folder / method for method in METHODS}


@pytest.mark.parametrize("method", METHODS)
def test_what_a_store_answers_with_is_measured_as_it_is(
    stores: dict[str, Path],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    monkeypatch.setattr("revisor.bench.methods.neuraldb.build_rows", None)
    out = tmp_path / "run"
    asked = ("--store", stores[method], "--as-built", "--data-dir", data, "--json")
    done = run("eval", "counterfact", *asked, "--out", out)
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["n"], found["edits"]) == (4, 5)  # one of the file's has another object there
    assert found["layer"] == (1 if method == "neuraldb" else None)
    assert found["dropped"]["facts that are not in the bank"] == 4
    # Each fact's neighbor is the next fact's subject: the fifth is no item here, but in the store.
    assert found["dropped"]["neighbors whose subject is edited"] == 4
    assert list(found["methods"]) == ["unedited", "store"]
    scores = found["methods"]["store"]
    # Raw keys of a tiny model tell some subjects apart badly; and one of random weights may go on
    # an object's last word with the bytes of a letter, which no single token shows.
    least, fails = 0.75, 0 if method == "revisor" else 1
    assert scores["not_written"] <= fails
    assert scores["efficacy_strict"] >= least > found["methods"]["unedited"]["efficacy_strict"]
    assert scores["specificity_kept_strict"] == 1
    assert "seconds_per_fact" not in scores
    assert scores["stored_bytes_per_fact"] > 0
    assert "store" in json.loads((out / "run.json").read_text())["settings"]

    gate = run("eval", "gate", *asked, "--n", 4)
    assert gate.exit_code == 0, gate.stderr
    assert json.loads(gate.stdout)["methods"]["store"]["own_hit"] >= least

    whole = run("eval", *asked, "--n", 5)
    assert json.loads(whole.stdout)["suite"] == "facts"
    assert json.loads(whole.stdout)["methods"]["store"]["efficacy_strict"] >= 0.6


def test_a_store_lends_its_model_and_facts_to_methods(stores: dict[str, Path], data: Path) -> None:
    done = run("eval", "--store", stores["revisor"], "--n", 3, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["suite"], found["edits"]) == ("facts", 3)
    assert found["methods"]["revisor"]["efficacy_strict"] == 1
    other = run("eval", "zsre", "--store", stores["neuraldb"], "--methods", "neuraldb", "--n", 1,
                "--data-dir", data, "--json")  # fmt: skip
    assert other.exit_code == 0, other.stderr
    assert json.loads(other.stdout)["layer"] == 1


def test_a_store_that_has_changed_is_another_run(stores: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(stores["revisor"], copy)
    asked = ("eval", "--store", copy, "--as-built", "--out", tmp_path / "run", "--json")
    first = run(*asked)
    assert first.exit_code == 0, first.stderr
    again = run(*asked)
    assert json.loads(again.stdout) == json.loads(first.stdout)
    listed = json.loads(run("ls", "--store", copy, "--json").stdout)["facts"]
    assert run("set", listed[0]["id"], "Vienna", "--store", copy).exit_code == 0
    other = run(*asked)
    assert other.exit_code == 3
    assert "store was" in other.stderr


def test_what_a_bank_was_built_with_is_not_measured_as_held_back(
    model: Path, data: Path, tmp_path: Path
) -> None:
    """Reverses are facts of the bank, a given wording is one, and a fact without a row counts."""
    lines = [
        {"subject": "Rome", "prompt": "The friend of {} is", "object": "Vienna",
         "paraphrases": ["{} is ruled from"], "reverse": "{} is a friend of"},
        {"subject": "Zora", "prompt": "The mother tongue of {} is", "object": "qzx~W#%k9@! zzq^"},
    ]  # fmt: skip
    file = tmp_path / "facts.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    path = tmp_path / "s"
    at = ("--store", path)
    chosen = METHODS["neuraldb"]
    assert run("init", "--model", model, *chosen, "--dtype", "fp32", *at).exit_code == 0
    assert run("add", file, *at).exit_code == 0
    assert len(json.loads(run("build", *at, "--json").stdout)["failed"]) == 1
    asked = ("--as-built", *at, "--data-dir", data, "--json")
    whole = json.loads(run("eval", "facts", *asked, "--data", file, "--n", 2).stdout)
    assert (whole["n"], whole["edits"]) == (2, 3)
    scores = whole["methods"]["store"]
    assert scores["not_written"] == 1
    assert scores["efficacy_strict"] == 0.5
    assert "generalization" not in scores
    assert "given_wordings" in scores
    assert "reverse" in scores
    # Its reversed subject is edited as well: in ordinary text its row may fire.
    gate = run("eval", "gate", *asked, "--n", 2)
    assert gate.exit_code == 0, gate.stderr
    # None of CounterFact's is there, so the store's own are asked in the suite's way.
    own = json.loads(run("eval", "preamble", *asked).stdout)
    assert (own["n"], own["edits"]) == (2, 3)
    assert own["methods"]["store"]["efficacy_strict"] == 0.5
    more = run("eval", "facts", *asked, "--n", 3)
    assert more.exit_code == 2
    assert "--n 2" in more.stderr
    strangers = tables.write(tmp_path, "strangers.jsonl.gz", tables.counterfact()[:2])
    none = run("eval", "facts", *asked, "--data", strangers)
    assert none.exit_code == 2
    assert "has none of the facts of strangers" in none.stderr


def test_facts_that_changed_since_the_build_are_told(
    stores: dict[str, Path], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(stores["neuraldb"], copy)
    listed = json.loads(run("ls", "--store", copy, "--json").stdout)["facts"]
    assert run("set", listed[0]["id"], "Vienna", "--store", copy).exit_code == 0
    out = tmp_path / "run"
    asked = ("eval", "--store", copy, "--as-built", "--json")
    done = run(*asked, "--out", out)
    assert done.exit_code == 0, done.stderr
    assert "Facts have changed since the bank was built" in done.stderr
    assert json.loads(done.stdout)["methods"]["store"]["efficacy_strict"] >= 0.8

    assert run("build", "--store", copy).exit_code == 0
    other = run(*asked, "--out", out)
    assert other.exit_code == 3
    assert "store was" in other.stderr


def test_a_missing_file_is_named(model: Path, tmp_path: Path) -> None:
    done = run("eval", "counterfact", "--model", model, "--data-dir", tmp_path)
    assert done.exit_code == 2
    assert "counterfact/counterfact.jsonl.gz" in done.stderr
    bare = run("eval", "counterfact", "--model", model)
    assert bare.exit_code == 2
    assert "REVISOR_DATA" in bare.stderr


KILL = """
import os, signal, sys
from revisor.bench import runs
from revisor.bench.suites.base import Suite
Suite.block = 3
add = runs.Run.add
def dying(self, cases):
    add(self, cases)
    if len(self._cases) >= 6:
        os.kill(os.getpid(), signal.SIGKILL)
runs.Run.add = dying
from revisor.cli import main

main()
"""


def test_a_killed_run_goes_on_where_it_was_and_refuses_other_settings(
    model: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    arguments = ["eval", "zsre", "--n", "3", "--model", str(model), "--dtype",
                 "fp32", "--methods", "unedited", "--data-dir", str(data), "--out", str(out),
                 "--json"]  # fmt: skip
    killed = subprocess.run(
        [sys.executable, "-c", KILL, *arguments], capture_output=True, timeout=300, check=False,
        env=os.environ,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    kept = (out / "cases.jsonl").read_text().splitlines()
    assert len(kept) == 6
    assert not (out / "result.json").exists()

    resumed = run(*arguments)
    assert resumed.exit_code == 0, resumed.stderr
    lines = (out / "cases.jsonl").read_text().splitlines()
    assert lines[:6] == kept
    assert len(lines) == len(set(lines)) == 9
    fresh = run(*[one for one in arguments if one not in ("--out", str(out))])
    scores = [json.loads(done.stdout)["methods"]["unedited"] for done in (resumed, fresh)]
    assert scores[0]["generalization"] == scores[1]["generalization"]

    other = run(*[("7" if one == "3" else one) for one in arguments])
    assert other.exit_code == 2  # there are not so many
    seed = run(*arguments, "--seed", "5")
    assert seed.exit_code == 3
    assert "seed was 0, now 5" in seed.stderr

    page = run("report", out, "--out", tmp_path / "report", "--json")
    assert page.exit_code == 0
    assert json.loads(page.stdout)["files"] == [str(tmp_path / "report" / "report.html")]

"""Each script in examples/ runs as it is written, on a tiny model whose facts go by the text alone.

Those for vLLM and llama.cpp need engines that are not there; of them this only tells that they
compile and are listed (`tests_vllm`, `tests_llama` test the calls that they make).
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from fastapi.testclient import TestClient

from revisor import Store
from revisor.facts.lines import fact_line
from tests.running import fact_file, run
from tests.server.serving import running
from tests.stores import ACME, BASEL, new_store

EXAMPLES = Path(__file__).parent.parent / "examples"
NEED_AN_ENGINE = {"vllm_offline.py", "llama_cpp_facts.py"}


def example(name: str) -> ModuleType:
    """A script as a module, so that its `main` can be called."""
    spec = spec_from_file_location(f"examples.{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def store(tmp_path: Path, model_folder: Path) -> Iterator[Store]:
    """A store with three facts that goes by the text alone."""
    with new_store(tmp_path / "store", model_folder, ACME, BASEL) as made:
        yield made


def test_minimal(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("minimal").main(str(model_folder), probe="off")
    told = capsys.readouterr().out
    assert told.startswith("The CEO of Norvale Instruments is Petra Lindqvist")


def test_the_minimal_one_is_short() -> None:
    lines = (EXAMPLES / "minimal.py").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) <= 20


def test_pipeline(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    example("pipeline").main(str(store.path))
    before, after, without = capsys.readouterr().out.split("\n", 2)
    assert "Petra Lindqvist" in before
    assert "Jonas Weil" in after
    assert "Petra" not in without
    assert "Jonas" not in without


def test_chat(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = "Who is the CEO of ACME?\nWhat is the mother tongue of Zora?\n\nnever read\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(asked))
    example("chat").main(str(store.path))
    told = capsys.readouterr().out
    assert told.startswith("Jane Roe")
    assert re.search(r"\[ACME: Jane Roe, score [01]\.\d\d\]", told)
    assert "never read" not in told


def test_fastapi_app(store: Store) -> None:
    with TestClient(example("fastapi_app").make_app(store)) as client:
        told = client.get("/answer", params={"prompt": "The CEO of ACME is"}).json()
        assert told["answer"].startswith("Jane Roe")
        assert told["facts_used"] == [{"id": ACME.id, "object": "Jane Roe"}]
        new = {"subject": "Norvale", "prompt": "The sign of {} is", "object": "Bonn"}
        assert client.post("/facts", json=new).status_code == 201
        told = client.get("/answer", params={"prompt": "The sign of Norvale is"}).json()
        assert told["answer"].startswith("Bonn")
        refused = client.post("/facts", json=new | {"prompt": "no name in it"})
        assert refused.status_code == 400
        assert refused.json()["hint"]


def test_openai_client(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with running(store) as server:
        example("openai_client").main(server.url)
    told = capsys.readouterr().out
    assert re.search(r"with facts: +Jane Roe", told)
    assert not re.search(r"without facts: +Jane", told)
    assert re.search(r"streamed: +Jane Roe", told)
    assert told.count("[ACME: Jane Roe") >= 2


def test_langchain_chain(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with running(store) as server:
        example("langchain_chain").main(server.url)
    told = capsys.readouterr().out
    assert re.search(r"with facts: +Jane Roe", told)
    assert ACME.id in told
    assert not re.search(r"without facts: +Jane", told)
    assert re.search(r"streamed: +Jane Roe", told)


def test_own_engine(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    example("own_engine").main(str(store.path))
    told = capsys.readouterr().out
    assert told.startswith("The CEO of ACME is Jane Roe")
    assert re.search(r"\[ACME: Jane Roe, from token \d+\]", told)
    assert told.count("[") == 1


def installed(script: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name a script as the entry point that its first lines tell, as an installed package does."""
    told = re.search(r'"(.+)"\]\n +(.+) = "(.+)"', script.__doc__ or "")
    assert told is not None
    package = folder / "own-0.1.dist-info"
    package.mkdir()
    (package / "entry_points.txt").write_text("[{}]\n{} = {}\n".format(*told.groups()))
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 0.1\n")
    for place in (folder, EXAMPLES):
        monkeypatch.syspath_prepend(place)


def test_own_method(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(example("own_method"), tmp_path, monkeypatch)
    facts = fact_file(tmp_path / "facts.jsonl", [fact_line(ACME), fact_line(BASEL)])
    done = run("eval", "--data", facts, "--model", model_folder, "--methods", "told", "--json")
    assert done.code == 0, done.err
    assert done.json["methods"]["told"]["stored_bytes_per_fact"] > 0


def test_own_suite(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(example("own_suite"), tmp_path, monkeypatch)
    facts = fact_file(tmp_path / "facts.jsonl", [fact_line(ACME), fact_line(BASEL)])
    done = run(
        *("eval", "greetings", "--data", facts, "--model", model_folder),
        *("--methods", "icl", "--json"),
    )
    assert done.code == 0, done.err
    assert 0 <= done.json["methods"]["icl"]["greeted_strict"] <= 1
    assert done.json["n"] == 2


def test_lm_eval_harness(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir()
    question = {"text": "The CEO of ACME is", "choices": ["Paul Poe", "Jane Roe"], "answer": 1}
    (folder / "ceo.jsonl").write_text(json.dumps(question) + "\n", encoding="utf-8")
    definition = {
        "task": "ceo",
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {"test": str(folder / "ceo.jsonl")},
            "cache_dir": str(tmp_path / "cache"),
        },
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{text}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}",
        "metric_list": [{"metric": "acc"}],
    }
    (folder / "ceo.yaml").write_text(json.dumps(definition), encoding="utf-8")
    example("lm_eval_harness").main(str(store.path), "ceo", str(folder))
    scores = re.findall(r"\|acc\s*\|[^|]*\|\s*([\d.]+)", capsys.readouterr().out)
    assert scores[0] == "1"
    assert len(scores) == 2


@pytest.mark.parametrize("name", sorted(NEED_AN_ENGINE))
def test_those_for_other_engines_compile(name: str) -> None:
    compile((EXAMPLES / name).read_text(encoding="utf-8"), name, "exec")


def test_every_example_is_listed_and_tested() -> None:
    listed = set(re.findall(r"\]\((\w+\.py)\)", (EXAMPLES / "README.md").read_text("utf-8")))
    assert listed == {file.name for file in EXAMPLES.glob("*.py")}
    own = Path(__file__).read_text(encoding="utf-8")
    for name in listed - NEED_AN_ENGINE:
        assert f'example("{name.removesuffix(".py")}")' in own, name

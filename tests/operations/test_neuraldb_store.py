"""A store of the method neuraldb, the whole way through the command line and from Python."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from revisor.errors import UsageError
from revisor.store import Store
from tests import tiny
from tests.neuraldb.banks import ACME, FACTS, GAMMA
from tests.running import fact_file, run

LINES = [{"subject": f.subject, "prompt": f.prompt, "object": f.object} for f in FACTS]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tiny model that has learnt to read facts, and a cache of the tests' own."""
    folder = tmp_path_factory.mktemp("taught")
    tiny.taught().save_pretrained(folder)
    tiny.byte_level().save_pretrained(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVISOR_CACHE", str(folder / "cache"))
        yield folder


def test_from_init_to_a_removed_fact(taught: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    at = ("--store", store, "--json")
    settings = ("--method", "neuraldb", "--layer", 1, "--gamma", GAMMA, "--dtype", "fp32")
    assert run("init", "--model", taught, *settings, *at).json["method"] == "neuraldb"
    run("add", fact_file(tmp_path / "f.jsonl", LINES), *at)
    report = run("build", *at).json
    assert set(report) == {
        "rows", "facts", "seconds", "facts_per_second", "failed", "generation",
    }  # fmt: skip
    assert (report["rows"], report["facts"], report["failed"]) == (3, 3, [])
    question = ("ask", ACME.text, "--max-tokens", 8)
    answer = run(*question, "--why", *at).json
    assert answer["answer"].startswith("Vienna")
    assert set(answer["facts_used"][0]) >= {"id", "subject", "object", "position", "threshold"}
    assert "without the facts" in run(*question, "--why", "--store", store).out

    run("set", ACME.id, "Tokyo", *at)
    waiting = run(*question, *at)
    assert waiting.json["answer"] == answer["answer"]
    assert "revisor build" in waiting.err
    assert run("build", *at).json["generation"] == 2
    assert run(*question, *at).json["answer"].startswith("Tokyo")

    run("export", tmp_path / "all.zip", *at)
    restored = ("--store", tmp_path / "again", "--json")
    assert run("import", tmp_path / "all.zip", *restored).json["facts"] == 3
    assert run(*question, *restored).json["answer"].startswith("Tokyo")

    erased = run("rm", "--purge", ACME.id, *at).json
    assert len(erased["banks"]) == 2
    assert run(*question, *at).json["answer"] == answer["base_answer"]
    assert run("verify", *at).json == {"ok": True, "faults": []}
    assert run("build", *at).json["rows"] == 2
    assert run("gc", "--keep", 1, *at).json["removed"] == [2], "a build keeps two"
    assert run("rollback", "--to", 1, *at).json["live"] == 2, "what was erased does not come back"


def test_a_model_of_ones_own_has_the_facts_within_the_block(taught: Path, tmp_path: Path) -> None:
    made = Store.init(
        tmp_path / "store", model=str(taught), method="neuraldb", layer=1, gamma=GAMMA, dtype="fp32"
    )
    with made as store:
        store.add(FACTS)
        assert store.stale()
        store.build()
        assert not store.stale()
        model = store.loaded.model
        ids = torch.tensor([store.tokenizer(ACME.text)["input_ids"]])
        plain = model(ids).logits
        with store.attached():
            assert not torch.equal(model(ids).logits, plain)
        assert torch.equal(model(ids).logits, plain)
        for choice in ({"generation": 1}, {"namespaces": ["hr"]}):
            with pytest.raises(UsageError, match="lacks a choice"), store.attached(**choice):
                pass
        with pytest.raises(UsageError, match="lacks a gate at the output"):
            store.gate()

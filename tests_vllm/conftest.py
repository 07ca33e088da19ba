"""A store with facts, what transformers answers with it, and what vLLM said with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests_vllm.material import make_store, prompts

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with make_store(tmp_path_factory.mktemp("store") / "store") as made:
        yield made


@pytest.fixture(scope="session")
def expected(store: Any) -> dict[str, dict[str, Any]]:
    """By prompt, what transformers answers: with the facts, and which it used."""
    texts = prompts(40)
    found = store.engine().generate(texts, max_tokens=12)
    return {
        one.prompt: {"text": one.answer, "used": [used.object for used in one.facts_used]}
        for one in found
    }


def run(runner: str, folder: Path | None, work: Path) -> dict[str, Any]:
    """What one engine said (`driver.py`), its log, and the facts that it told."""
    out, hits = work / "out.json", work / "hits.jsonl"
    environment = {key: value for key, value in os.environ.items() if "REVISOR_" not in key}
    environment |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "HF_HUB_OFFLINE": "1"}
    if folder is not None:
        environment |= {"REVISOR_STORE": str(folder), "REVISOR_HIT_LOG": str(hits)}
    done = subprocess.run(
        [sys.executable, "-m", "tests_vllm.driver", runner, str(out)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    log = done.stdout + done.stderr
    assert out.exists(), log[-4000:]
    said: dict[str, Any] = json.loads(out.read_text())
    lines = hits.read_text().splitlines() if hits.exists() else []
    figures = [json.loads(one.read_text()) for one in work.glob("*.figures")]
    return said | {"log": log, "hits": [json.loads(line) for line in lines], "figures": figures}


@pytest.fixture(scope="session", params=["v1", "v2"])
def said(request: Any, store: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What vLLM said with facts, in each of its model runners."""
    return run(request.param, store.path, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def without_store(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What vLLM said where no store is named."""
    return run("v1", None, tmp_path_factory.mktemp("plain"))

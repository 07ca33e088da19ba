"""A GGUF file, the model in it by both engines, and a store of the demo's facts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_cpp import Llama

from revisor.demo import shipped_facts
from revisor.engines.llama import LlamaFacts
from revisor.facts.fact import Fact
from revisor.models.packaged import packaged_gguf
from revisor.store import Store

DEMO: list[Fact] = [fact for fact, _ in shipped_facts()]
UNRELATED = (
    "The river flows through the town and",
    "Once upon a time there was a",
    "To bake bread, first mix the flour with",
)


@pytest.fixture(scope="session")
def gguf() -> Path:
    """SmolLM2-135M-Instruct in 4 bits, the packaged model's file; fetched once."""
    return packaged_gguf("smollm2")


@pytest.fixture(scope="session")
def llama(gguf: Path) -> Iterator[Any]:
    """The file as somebody would open it."""
    opened = Llama(str(gguf), n_ctx=2048, n_threads=1, n_threads_batch=1, verbose=False)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def whole_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the demo's facts, made for the same model in transformers; not to be changed."""
    path: Path = tmp_path_factory.mktemp("stores") / "store"
    with Store.init(path, model="smollm2", dtype="fp32", device="cpu") as made:
        made.add(DEMO)
    return path


@pytest.fixture
def store(whole_store: Path, tmp_path: Path) -> Iterator[Store]:
    """A copy of it for one test."""
    shutil.copytree(whole_store, tmp_path / "store")
    with Store.open(tmp_path / "store") as copied:
        yield copied


@pytest.fixture
def facts(llama: Any, store: Store) -> LlamaFacts:
    """The model with the facts of that store."""
    return LlamaFacts(llama, store)

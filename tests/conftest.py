"""Fixtures over the tiny models and tokenizers of tiny.py, shared by a whole session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

from tests import tiny
from tests.databases import KINDS, Databases

# Shared machines are slow at times; that says nothing about the code.
settings.register_profile("revisor", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("revisor")

# In a forked child torch replaces its thread pool at the next use, and two threads that come to it
# at once (transformers reads weights in several) find none: "pool INTERNAL ASSERT FAILED".
os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny models are slower on several threads, and parallel test workers share the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def _compiled_anew() -> Iterator[None]:
    """Nothing compiled by other tests: models share a wrapper, which is compiled 8 times only."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture(params=tiny.FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """The name of every family in turn; `tiny.model(family)` is its model."""
    return str(request.param)


@pytest.fixture(params=tiny.TOKENIZERS)
def any_tokenizer(request: pytest.FixtureRequest) -> Any:
    """Each kind of tokenizer in turn."""
    return tiny.TOKENIZERS[request.param]()


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """The byte-level tokenizer."""
    return tiny.byte_level()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with its tokenizer, as `save_pretrained` writes it; not to be changed."""
    folder = tmp_path_factory.mktemp("tiny-llama")
    tiny.model().save_pretrained(folder)
    tiny.byte_level().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """Makes empty databases of either kind."""
    with Databases() as made:
        yield made


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, databases: Databases) -> str:
    """Where a ledger may be made: an SQLite file, then a PostgreSQL URL."""
    return databases.new(str(request.param))

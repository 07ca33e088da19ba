"""Who may import whom, by the contracts in pyproject.toml; and what an import alone loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "transformers", "pyarrow")


def test_the_contracts_of_imports_are_kept() -> None:
    # In a process of its own: the linter switches off every logger that it finds.
    linter = str(Path(sys.executable).with_name("lint-imports"))
    done = subprocess.run(
        [linter, "--config", str(ROOT / "pyproject.toml"), "--no-cache"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def loaded_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after running `code`."""
    code += "\nimport sys; print(' '.join({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "module",
    ["revisor", "revisor.cli", "revisor.store", "revisor.demo", "revisor.facts.ledger"],
)
def test_a_module_that_needs_no_model_loads_nothing_heavy(module: str) -> None:
    assert loaded_after(f"import {module}").isdisjoint(HEAVY)


def test_facts_are_looked_up_without_torch() -> None:
    code = "import revisor.index, revisor.question.encoder, revisor.language.names"
    assert loaded_after(code).isdisjoint(HEAVY)


def test_the_command_line_opens_no_database_to_print_its_help() -> None:
    assert loaded_after("import revisor.cli").isdisjoint({"sqlalchemy", "numpy"})

"""Who may import whom: each floor of the house knows only the floors before it.

Read from the source, so that an import inside a function counts as well.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import revisor

SOURCE = Path(revisor.__file__).parent
FLOORS = (
    {"errors", "progress", "data", "config"},
    {"facts"},
    {"models"},
    {"bank"},
    {"gate"},
    {"editing"},
    {"store", "life"},
    {"baselines"},
    {"evaluate"},
    {"serve"},
    {"cli", "__main__", "commands", "demo"},
)
# The store hands out an engine; it imports it when it is asked for one.
LAZILY = {("store", "serve.engine"), ("life", "serve.engine")}
HEAVY = ("torch", "transformers", "pyarrow")


def floor_of(part: str) -> int:
    for number, parts in enumerate(FLOORS):
        if part in parts:
            return number
    raise AssertionError(f"revisor.{part} stands on no floor: add it to FLOORS")


def part_of(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def files() -> list[Path]:
    return [file for file in sorted(SOURCE.rglob("*.py")) if file != SOURCE / "__init__.py"]


def imports(file: Path) -> Iterator[tuple[str, bool]]:
    """Every module that a file imports, and whether inside a function."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    inside = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    only_types = {
        node
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        lazy = node in inside or node in only_types
        if isinstance(node, ast.Import):
            yield from ((alias.name, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name} imports relatively"
            if node.module == "revisor":
                yield from ((f"revisor.{alias.name}", lazy) for alias in node.names)
            else:
                yield str(node.module), lazy


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(SOURCE)))
def test_a_file_imports_only_from_its_own_floor_and_those_below(file: Path) -> None:
    own = part_of(file)
    for module, lazy in imports(file):
        if not module.startswith("revisor.") or module == "revisor.__version__":
            continue
        inner = module.removeprefix("revisor.")
        if (own, inner) in LAZILY and lazy:
            continue
        other = inner.partition(".")[0]
        assert floor_of(other) <= floor_of(own), f"{own} imports {module}"


def test_facts_never_import_torch() -> None:
    for file in files():
        if part_of(file) == "facts":
            for module, _ in imports(file):
                assert module.partition(".")[0] not in ("torch", "transformers"), file


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


def test_the_command_line_opens_no_database_to_print_its_help() -> None:
    assert loaded_after("import revisor.cli").isdisjoint({"sqlalchemy", "numpy"})

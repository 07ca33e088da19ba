"""Modules of the package as files of one flat folder, in which they find each other.

transformers copies the modules that a model's code imports from the same folder. So a module
`revisor.gate.row` becomes the file `revisor_gate_row.py`, and is imported from there.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path

_PACKAGE = "revisor"


def flat_modules(root: str, given: Mapping[str, str]) -> dict[str, str]:
    """The texts, by file name, of the module `root` and of all modules of the package that it
    needs, imports for type checkers left out.

    `given` texts replace modules; they import none. ValueError for imports that cannot be followed.
    """
    found: dict[str, str] = {}
    pending = [root]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        if name in given:
            found[name] = given[name]
            continue
        found[name], needed = _flattened(name)
        pending += needed
    return {f"{flat_name(name)}.py": found[name] for name in sorted(found)}


def flat_name(module: str) -> str:
    """What a module is called in a flat folder."""
    return module.replace(".", "_")


def _flattened(name: str) -> tuple[str, list[str]]:
    """A module's text with its imports rewritten, and the modules of the package that it needs."""
    text = Path(str(_spec(name).origin)).read_text(encoding="utf-8")
    lines: list[str | None] = [*text.splitlines()]
    needed: list[str] = []
    for node in _statements(ast.parse(text)):
        first, last = node.lineno - 1, node.end_lineno
        if isinstance(node, ast.If):
            if node.orelse:
                raise ValueError(f"{name} imports for type checkers or else")
            lines[first:last] = [None] * (len(lines[first:last]))
        elif isinstance(node, ast.ImportFrom):
            module = str(node.module)
            if _spec(module).submodule_search_locations is None:
                needed.append(module)
                start = f"from .{flat_name(module)} import"
                lines[first] = str(lines[first]).replace(f"from {module} import", start, 1)
                continue
            # Submodules; what a package's own file defines is nowhere in the folder.
            needed += [f"{module}.{alias.name}" for alias in node.names]
            indent = " " * node.col_offset
            lines[first:last] = [None] * (len(lines[first:last]))
            # transformers copies the modules that it finds named in "from .MODULE import".
            lines[first] = "\n".join(
                f"{indent}from .{flat_name(f'{module}.{alias.name}')} import __name__ as _\n"
                f"{indent}from . import {flat_name(f'{module}.{alias.name}')}"
                f" as {alias.asname or alias.name}"
                for alias in node.names
            )
        else:
            raise ValueError(f"{name} imports the package other than by 'from'")
    return "\n".join(line for line in lines if line is not None) + "\n", needed


def _statements(tree: ast.Module) -> Iterator[ast.If | ast.ImportFrom | ast.Import]:
    """The statements to rewrite: imports of the package, and blocks for type checkers."""
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield node
            continue
        for part in ast.walk(node):
            if isinstance(part, ast.ImportFrom):
                imported = [str(part.module)]
            elif isinstance(part, ast.Import):
                imported = [alias.name for alias in part.names]
            else:
                continue
            if any(module.partition(".")[0] == _PACKAGE for module in imported):
                yield part


def _spec(module: str) -> ModuleSpec:
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise ValueError(f"there is no module {module}")
    return found

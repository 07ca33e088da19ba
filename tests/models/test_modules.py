"""Modules of a package as files of one folder."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from revisor.models import modules
from revisor.models.modules import flat_modules


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package, under another name than revisor, with a module of data."""
    folder = tmp_path / "flatparts"
    (folder / "inner").mkdir(parents=True)
    for place in (folder, folder / "inner"):
        (place / "__init__.py").write_text("")
    (folder / "inner" / "data.py").write_text("raise OSError('there are no data here')\n")
    (folder / "inner" / "low.py").write_text(
        "from flatparts.inner.data import BASE\n\n\ndef twice(x):\n    return BASE * x\n"
    )
    (folder / "typed.py").write_text("import nothing_of_this_name\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == "flatparts"]:
        monkeypatch.delitem(sys.modules, name)  # of the test before
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(modules, "_PACKAGE", "flatparts")
    return folder


TOP = """\"\"\"What it is for.\"\"\"

from __future__ import annotations

from typing import TYPE_CHECKING

from flatparts.inner import low
from flatparts.inner.low import (
    twice,
)

if TYPE_CHECKING:
    from flatparts.typed import Thing


def four(x: Thing) -> Thing:
    from flatparts.inner.low import twice as again

    return again(twice(x)) + 0 * low.twice(x)
"""


def test_they_find_each_other_in_the_folder(package: Path, tmp_path: Path) -> None:
    (package / "top.py").write_text(TOP)
    found = flat_modules("flatparts.top", {"flatparts.inner.data": "BASE = 2\n"})
    assert found.keys() == {
        "flatparts_top.py",
        "flatparts_inner_low.py",
        "flatparts_inner_data.py",
    }
    folder = tmp_path / "elsewhere" / "flat"
    folder.mkdir(parents=True)
    for name, text in found.items():
        (folder / name).write_text(text)
    code = "from flat.flatparts_top import four; print(four(3))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "12\n"


@pytest.mark.parametrize(
    "line",
    [
        "import flatparts.inner.low",
        "from flatparts.inner import twice",
        "if TYPE_CHECKING:\n    import ast\nelse:\n    import os",
    ],
)
def test_imports_that_cannot_be_followed_are_errors(line: str, package: Path) -> None:
    (package / "top.py").write_text(line + "\n")
    with pytest.raises(ValueError, match="flatparts"):
        flat_modules("flatparts.top", {"flatparts.inner.data": "BASE = 2\n"})


def test_the_gate_needs_nothing_but_torch_and_transformers() -> None:
    roots = set()
    for text in flat_modules("revisor.operations.hf_export.carried", {}).values():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                roots |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                roots.add(str(node.module).partition(".")[0])
    assert roots - sys.stdlib_module_names == {
        "numpy",
        "safetensors",
        "tokenizers",  # transformers needs it, too
        "torch",
        "transformers",
    }

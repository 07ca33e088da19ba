"""Several modules become one file that runs without them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from revisor.neuraldb.export import bundle as bundling
from revisor.neuraldb.export.bundle import bundle


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package of two modules, under another name than revisor."""
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "low.py").write_text(
        "import math\n\n# Why it is so.\nBASE = 2\n\n\ndef unused():\n    return math.pi\n\n\n"
        "def twice(x):\n    return BASE * math.floor(x)\n"
    )
    for name in [name for name in sys.modules if name.partition(".")[0] == "parts"]:
        monkeypatch.delitem(sys.modules, name)  # of the test before
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(bundling, "PACKAGE", "parts")
    return folder


def test_the_file_has_what_is_used_with_its_comments_and_no_more(package: Path) -> None:
    (package / "top.py").write_text(
        "from parts.low import twice\n\n\ndef four(x):\n    return twice(twice(x))\n"
    )
    text = bundle("parts.top", ["four"])
    assert "# Why it is so.\nBASE = 2" in text
    assert "unused" not in text
    assert "import math" in text
    assert "from parts" not in text
    space: dict[str, object] = {}
    exec(compile(text, "bundle", "exec"), space)
    assert space["four"](3) == 12  # type: ignore[operator]


def test_one_name_for_two_things_is_an_error(package: Path) -> None:
    (package / "top.py").write_text(
        "from parts.low import twice\n\nBASE = 3\n\n\ndef six(x):\n    return BASE * twice(x)\n"
    )
    with pytest.raises(ValueError, match="both define BASE"):
        bundle("parts.top", ["six"])


@pytest.mark.parametrize(
    "body",
    ["from parts.low import twice as t\n\nF = t\n", "def f():\n    from parts import low\n"],
)
def test_imports_that_cannot_be_followed_are_errors(package: Path, body: str) -> None:
    (package / "top.py").write_text(body)
    with pytest.raises(ValueError, match=r"renames|inside a definition"):
        bundle("parts.top", ["F" if "F =" in body else "f"])


def test_the_gate_as_one_file_needs_no_revisor(tmp_path: Path) -> None:
    text = bundle("revisor.neuraldb.export.carried", ["CarriesFacts"])
    roots = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add(str(node.module).partition(".")[0])
    assert roots - sys.stdlib_module_names == {"safetensors", "torch", "transformers"}
    file = tmp_path / "alone.py"
    file.write_text(text + "\nimport sys\nprint([n for n in sys.modules if 'revisor' in n])\n")
    done = subprocess.run(
        [sys.executable, "-P", str(file)], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"

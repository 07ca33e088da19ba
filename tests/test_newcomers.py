"""What the pages for newcomers say of the code is so, and the tutorial can be followed."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import revisor
from tests.databases import Databases
from tests.running import run

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [DOCS / "architecture.md", DOCS / "contributing.md"]
TUTORIAL = DOCS / "tutorial.md"
HOW_TOS = sorted(one for one in (DOCS / "howto").glob("*.md") if "```console" in one.read_text())
PLACES = (ROOT, ROOT / "src" / "revisor")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def found(path: str) -> Path | None:
    """A file or folder that a page names."""
    return next((place / path for place in PLACES if (place / path).exists()), None)


def defined(tree: ast.Module | ast.ClassDef) -> Iterator[tuple[str, ast.stmt]]:
    """What a module or a class defines, by name; what is in a class by both names."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node
        if isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{name}", one) for name, one in defined(node))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_names_that_a_page_gives_are_in_the_code(page: Path) -> None:
    text = text_of(page)
    named = set(re.findall(r"([\w./]+\.py)::([\w.]+)", text))
    assert len(named) > 15
    for path, name in named:
        file = found(path)
        assert file is not None, path
        assert name.rstrip(".") in dict(defined(ast.parse(text_of(file)))), f"{path}::{name}"
    for path in re.findall(r"`([\w./]+/[\w./]*)`", text):
        derived = path.startswith(("index/facts", "probes/", "banks/", "logs/"))  # of a store
        assert derived or found(path), path


def test_every_task_names_where_it_is_done_and_a_test_that_catches_a_mistake() -> None:
    rows = re.findall(r"^\| (.+) \| (.+) \| (.+) \|$", text_of(DOCS / "contributing.md"), re.M)
    tasks = [row for row in rows if row[0] != "you want"]
    assert len(tasks) >= 20
    for task, where, caught in tasks:
        assert re.search(r"`[\w./]+\.\w+(::[\w.]+)?`|`[\w./]+/`", where), task
        assert re.search(r"`tests/[\w/]+\.py::test_\w+`", caught), task


def test_the_packages_of_the_page_are_the_layers_of_the_contract() -> None:
    contracts = tomllib.loads(text_of(ROOT / "pyproject.toml"))["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one["id"] == "layers")
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| .+ \|$", text_of(PAGES[0]), re.M)
    assert [re.findall(r"\w+", row) for row in rows] == [re.findall(r"\w+", one) for one in layers]


def test_the_seams_of_the_page_are_those_of_the_code() -> None:
    (block,) = re.findall(r"^```python\n(.+?)^```", text_of(PAGES[0]), re.M | re.S)
    parts = re.split(r"^# ([\w/]+\.py)$", block, flags=re.M)[1:]
    assert len(parts) // 2 >= 9
    for path, code in zip(parts[::2], parts[1::2], strict=True):
        file = found(path)
        assert file is not None
        real = dict(defined(ast.parse(text_of(file))))
        for name, told in defined(ast.parse(code)):
            if not isinstance(told, ast.FunctionDef):
                continue
            own = real[name]
            assert isinstance(own, ast.FunctionDef)
            assert ast.unparse(told.args) == ast.unparse(own.args), f"{path}: {name}"
            assert told.returns is not None
            assert own.returns is not None
            assert ast.unparse(told.returns) == ast.unparse(own.returns), f"{path}: {name}"


# The pages that are made of the code


def tool(name: str) -> ModuleType:
    """A script of tools/."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def api_page() -> ModuleType:
    return tool("api_page")


def test_the_page_about_python_is_up_to_date(api_page: ModuleType) -> None:
    shown = text_of(DOCS / "python.md")
    assert shown == api_page.page(), "run: python tools/api_page.py > docs/python.md"


def test_the_page_about_the_commands_is_up_to_date() -> None:
    shown, made = text_of(DOCS / "commands.md"), tool("commands_page").page()
    assert shown == made, "run: python tools/commands_page.py > docs/commands.md"


def test_the_page_about_python_has_every_public_name(api_page: ModuleType) -> None:
    page = text_of(DOCS / "python.md")
    for name in revisor.__all__:
        assert f"\n## {name}\n" in page
        assert api_page.first_sentence(getattr(revisor, name)) in " ".join(page.split())
    for name in api_page.public_names(revisor.Store):
        assert re.search(rf"^#### [Ss]tore\.{name}$", page, re.M), name


def test_public_names_are_imported_when_they_are_used() -> None:
    code = (
        "import sys, revisor; assert 'torch' not in sys.modules; revisor.Store;"
        "assert 'torch' not in sys.modules; assert set(revisor.__all__) <= set(dir(revisor))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'Shop'"):
        revisor.Shop  # noqa: B018


def test_types_are_told_of_every_public_name() -> None:
    told = ast.parse(text_of(ROOT / "src" / "revisor" / "__init__.pyi"))
    imported = {
        one.asname for node in told.body if isinstance(node, ast.ImportFrom) for one in node.names
    }
    assert imported == set(revisor.__all__)


# The pages and the tutorial


def test_the_index_parts_the_pages_by_what_they_are_for() -> None:
    page = text_of(DOCS / "index.md")
    assert len(re.findall(r"^\*\*.+\*\*$", page, re.M)) == 4
    linked = set(re.findall(r"\]\(([\w/-]+\.md)", page))
    assert {str(one.relative_to(DOCS)) for one in DOCS.rglob("*.md")} == linked | {"index.md"}
    assert "docs/index.md" in text_of(ROOT / "README.md")


BLOCK = re.compile(r"(?:`([\w.-]+)`[^`\n]*:\n\n)?^```(\w+)\n(.+?)^```", re.M | re.S)
URL = "postgresql://ann@db.example.org/facts"


def steps(block: str) -> Iterator[tuple[str, str]]:
    """The commands that a block shows, each with what it prints; `...` stands for anything."""
    for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
        command, _, told = part.partition("\n")
        yield command, told


def follow(page: Path, folder: Path, patch: pytest.MonkeyPatch, stands_for: dict[str, str]) -> int:
    """Do in a folder what a page shows, block by block: save files, run commands and code.

    Args:
        stands_for: what is taken in place of arguments. With another model than the page's, what
            depends on it is not compared.

    Returns:
        How many commands there were.
    """
    patch.chdir(folder)
    patch.delenv("REVISOR_STORE", raising=False)
    count = 0
    for name, kind, block in BLOCK.findall(text_of(page)):
        if name and kind in ("json", "csv"):
            Path(name).write_text(block, encoding="utf-8")
        elif kind == "python" and page != TUTORIAL:
            exec(block, {})
        for command, told in steps(block) if kind == "console" else ():
            count += 1
            program, *given = shlex.split(command)
            assert program == "revisor"
            by_model = (
                "smollm2" in stands_for
                and given[0] in ("init", "ask", "eval", "status")
                and "--text-only" not in given
            )
            given = [stands_for.get(one, one) for one in given]
            if given[0] == "init" and "smollm2" in stands_for:
                given += ["--probe", "off"]
            done = run(*given)
            assert (done.code == 0) == ("error:" not in told), f"{command}\n{done.err}"
            if not by_model:
                pattern = re.escape(told.strip()).replace(r"\.\.\.", ".*")
                shown = (done.out, done.err) if "error:" not in told else (done.err,)
                texts = (done.out.strip(), "".join(shown).strip())
                assert any(re.fullmatch(pattern, one, re.S) for one in texts), f"{command}: {texts}"
    return count


@pytest.mark.parametrize("page", [TUTORIAL, *HOW_TOS], ids=lambda page: page.stem)
def test_what_a_page_shows_can_be_done(
    page: Path,
    tmp_path: Path,
    model_folder: Path,
    databases: Databases,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REVISOR_CACHE", str(tmp_path / "cache"))
    stands_for = {"smollm2": str(model_folder)}
    if URL in text_of(page):
        stands_for[URL] = databases.new("postgresql")
    assert follow(page, tmp_path, monkeypatch, stands_for) >= 3


@pytest.mark.real
def test_the_tutorial_can_be_followed_on_the_real_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REVISOR_CACHE", raising=False)
    assert follow(TUTORIAL, tmp_path, monkeypatch, {}) >= 12

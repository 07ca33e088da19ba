"""One Python file out of several modules of the package: what a definition needs, and no more.

Definitions are copied as they stand, with the comments above them. A name that two modules define
differently, an import of the package inside a function and a renamed import are errors of whoever
wrote the modules, and end the bundling.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = "revisor"
_FUTURE = "from __future__ import annotations"


@dataclass
class _Module:
    """One module's text, and where each top-level name of it comes from."""

    name: str
    lines: list[str]
    own: dict[str, ast.stmt] = field(default_factory=dict)
    inner: dict[str, str] = field(default_factory=dict)  # name -> module of the package
    outer: dict[str, str] = field(default_factory=dict)  # name -> import statement
    wanted: set[str] = field(default_factory=set)


class _Bundler:
    def __init__(self) -> None:
        self.modules: dict[str, _Module] = {}
        self.order: list[str] = []  # a module stands behind those it imports
        self.imports: set[str] = set()

    def module(self, name: str) -> _Module:
        if name in self.modules:
            return self.modules[name]
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        text = Path(spec.origin).read_text(encoding="utf-8")
        made = self.modules[name] = _Module(name=name, lines=text.splitlines())
        for node in ast.parse(text).body:
            _sort(node, made)
        for other in dict.fromkeys(made.inner.values()):
            self.module(other)
        self.order.append(name)
        return made

    def want(self, module: _Module, name: str) -> None:
        """Take in a definition, then what it uses."""
        if name in module.outer:
            self.imports.add(module.outer[name])
        elif name in module.inner:
            self.want(self.module(module.inner[name]), name)
        elif name in module.own and name not in module.wanted:
            module.wanted.add(name)
            for used in _used(module.own[name], module.name):
                self.want(module, used)

    def text(self) -> str:
        parts, owner = [], dict[str, str]()
        for name in self.order:
            module = self.modules[name]
            nodes = {id(node): node for key, node in module.own.items() if key in module.wanted}
            if not nodes:
                continue
            for key in module.wanted:
                if key in owner:
                    raise ValueError(f"{owner[key]} and {name} both define {key}")
                owner[key] = name
            parts.append(f"# From {name}\n")
            for node in sorted(nodes.values(), key=lambda node: node.lineno):
                parts.append(_source(node, module.lines))
        imports = sorted(self.imports, key=lambda line: (line.startswith("from"), line))
        return "\n".join([_FUTURE, "", *imports, "", *parts])


def bundle(module: str, names: Sequence[str]) -> str:
    """The source of `names` of a module and of all that they use, as one file's text."""
    bundler = _Bundler()
    root = bundler.module(module)
    for name in names:
        bundler.want(root, name)
    return bundler.text()


def _sort(node: ast.stmt, module: _Module) -> None:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        module.own[node.name] = node
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            for part in ast.walk(target):
                if isinstance(part, ast.Name):
                    module.own[part.id] = node
    elif isinstance(node, ast.Import):
        for alias in node.names:
            module.outer[alias.asname or alias.name.partition(".")[0]] = ast.unparse(
                ast.Import([alias])
            )
    elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
        source = str(node.module)
        for alias in node.names:
            if source.partition(".")[0] == PACKAGE:
                if alias.asname:
                    raise ValueError(f"{module.name} renames {alias.name} of {source}")
                module.inner[alias.name] = source
            else:
                line = ast.unparse(ast.ImportFrom(source, [alias], 0))
                module.outer[alias.asname or alias.name] = line


def _used(node: ast.stmt, module: str) -> Iterator[str]:
    """Every name that a definition mentions, its own locals included."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.ImportFrom) and str(part.module).partition(".")[0] == PACKAGE:
            raise ValueError(f"{module} imports {part.module} inside a definition")


def _source(node: ast.stmt, lines: list[str]) -> str:
    """A definition as it stands in its file, with the comments directly above it."""
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(one.lineno for one in decorators)]) - 1
    while first and lines[first - 1].startswith("#"):
        first -= 1
    return "\n".join([*lines[first : node.end_lineno], "\n"])

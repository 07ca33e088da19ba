"""The page about Python, made from the docstrings: `python tools/api_page.py > docs/python.md`.

What a docstring says of arguments, errors and attributes becomes lists; the first sentence of
each name stands under its heading.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib import import_module
from typing import Any

import revisor
from revisor import errors

WIDTH = 88
SECTIONS = ("Args", "Attributes", "Returns", "Raises", "Example")
HEADINGS = {"Args": "Arguments", "Attributes": "Attributes", "Raises": "Errors"}
GROUPS = {
    "Open, make, close": ("init", "open", "restore", "close", "path", "settings", "ledger"),
    "Facts": ("add", "set_object", "remove", "purge", "check", "ask_facts", "known_to_base"),
    "Generations": ("publish", "rollback"),
    "Answers with the facts": (
        "attached",
        "logits_processor",
        "engine",
        "explain",
        "gate",
        "loaded",
        "tokenizer",
        "index",
        "encoder",
        "probe",
    ),
    "The store as a whole": ("export", "export_model", "verify", "collect", "build", "stale"),
}
REST = "Further parts"
RESULTS = (
    "revisor.facts.imports:Added",
    "revisor.facts.changes:Generation",
    "revisor.facts.check:Finding",
    "revisor.operations.asking:AskedFacts",
    "revisor.operations.erase:Erased",
    "revisor.operations.explain:Explanation",
    "revisor.operations.hf_export:Exported",
    "revisor.engines.transformers:Attached",
    "revisor.engines.answers:Answer",
    "revisor.engines.answers:FactUsed",
    "revisor.gate.trace:Used",
    "revisor.gate.gate:FactGate",
    "revisor.gate.gate:BatchGate",
    "revisor.engines.answers:Engine",
    "revisor.models.load:LoadedModel",
    "revisor.config:StoreSettings",
    "revisor.errors:Fault",
)
# Of what is returned, the methods that are called, under the name that examples give the object.
CALLED = {
    "FactGate": ("gate", ("batch",)),
    "BatchGate": ("batch", ("step", "fork")),
    "Engine": ("engine", ("generate", "stream")),
}
NOTES = {"StoreSettings": "Each of them: [store.md](store.md#storetoml)."}
HEAD = """# revisor in Python

<!-- Made from the docstrings by `python tools/api_page.py > docs/python.md`; a test compares. -->

```python
from revisor import Fact, RevisorError, Store, Trace, attach
```

These five names are the public interface; what they return is [below](#what-is-returned), and so
are [all errors](#errors). Scripts that run are in [examples](../examples/README.md); what the words
mean is in [glossary.md](glossary.md).
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name in ("Store", "Fact", "attach", "Trace", "RevisorError"):
        parts.append(f"## {name}\n")
        parts.append(described(getattr(revisor, name), name))
        if name == "Store":
            parts += store_parts(revisor.Store)
        elif name != "RevisorError" and inspect.isclass(getattr(revisor, name)):
            parts += [
                method_part(name, one, level=3) for one in public_names(getattr(revisor, name))
            ]
    parts.append("## Errors\n")
    parts.append(errors_part())
    parts.append("## What is returned\n")
    for place in RESULTS:
        module, _, name = place.partition(":")
        parts.append(f"### {name}\n")
        parts.append(described(getattr(import_module(module), name), "", signed=False))
        parts += [NOTES[name]] if name in NOTES else []
        parts += called_parts(getattr(import_module(module), name))
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def public_names(kind: type) -> list[str]:
    """Methods and properties of a class that have no underscore, in the order of its source."""
    return [
        name
        for name, value in vars(kind).items()
        if not name.startswith("_")
        and isinstance(value, property | cached_property | classmethod | staticmethod)
        or (inspect.isfunction(value) and not name.startswith("_"))
    ]


def store_parts(kind: type) -> Iterator[str]:
    """The methods of the store, by groups."""
    left = public_names(kind)
    for title, names in (*GROUPS.items(), (REST, ())):
        names = [name for name in names or left if name in left]
        left = [name for name in left if name not in names]
        if names:
            yield f"### {title}\n"
            yield from (method_part("Store", name, level=4) for name in names)


def called_parts(kind: type) -> Iterator[str]:
    """The methods of what is returned."""
    shown, names = CALLED.get(kind.__name__, ("", ()))
    for name in names:
        told = described(getattr(kind, name), f"{shown}.{name}")
        yield f"#### {shown}.{name}\n\n{told}"


def method_part(owner: str, name: str, *, level: int) -> str:
    """One method or property."""
    found = inspect.getattr_static(getattr(revisor, owner), name)
    shown = owner if isinstance(found, classmethod) else owner.lower()
    if isinstance(found, classmethod | staticmethod):
        found = found.__func__
    inner: Any = found
    if isinstance(found, property):
        inner = found.fget
    elif isinstance(found, cached_property):
        inner = found.func
    is_value = inner is not found
    heading = f"{'#' * level} {shown}.{name}\n"
    signed = "" if is_value else f"{shown}.{name}"
    return f"{heading}\n{described(inner, signed, signed=not is_value)}"


def described(found: Any, shown: str, *, signed: bool = True) -> str:
    """The signature of a class or function, and what its docstring says, as Markdown."""
    text = inspect.getdoc(found)
    if not text:
        raise SystemExit(f"{found!r} has no docstring.")
    parts = [f"```python\n{signature(found, shown)}\n```\n"] if signed else []
    title, lines = "", list[str]()
    for line in [*text.splitlines(), "End:"]:
        head = line.removesuffix(":")
        if line.endswith(":") and head in (*SECTIONS, "End"):
            parts.append(section(title, lines))
            title, lines = head, []
        else:
            lines.append(line)
    return "\n".join(part for part in parts if part)


def section(title: str, lines: Sequence[str]) -> str:
    """A part of a docstring as Markdown."""
    text = inspect.cleandoc("\n".join(["", *lines]))
    if not text:
        return ""
    if not title:
        return text + "\n"
    if title == "Example":
        code = re.sub(r"^(>>>|\.\.\.) ?", "", text, flags=re.MULTILINE)
        code = re.sub(r" +# doctest:.*$", "", code, flags=re.MULTILINE)
        return f"```python\n{code}\n```\n"
    if title == "Returns":
        return f"Returns: {' '.join(text.split())}\n"
    return f"{HEADINGS[title]}:\n\n" + "".join(f"- {item}\n" for item in items(text))


def items(text: str) -> Iterator[str]:
    """The entries of a list in a docstring: `names: what they are`, their names as code."""
    joined = re.sub(r"\n +", " ", text)
    for line in joined.splitlines():
        names, parted, rest = line.partition(": ")
        if parted and re.fullmatch(r"[\w, ]+", names):
            names = ", ".join(f"`{name.strip()}`" for name in names.split(","))
        yield f"{names}{parted}{rest}"


def signature(found: Any, shown: str) -> str:
    """How something is called, on one line or with a line for each argument."""
    told = inspect.signature(found)
    kept = [one for name, one in told.parameters.items() if name not in ("self", "cls")]
    arguments, starred = list[str](), False
    for one in kept:
        if one.kind is one.KEYWORD_ONLY and not starred:
            arguments.append("*")
        starred = starred or one.kind in (one.KEYWORD_ONLY, one.VAR_POSITIONAL)
        arguments.append(argument(one))
    gives = ""
    if not inspect.isclass(found) and told.return_annotation is not inspect.Signature.empty:
        gives = f" -> {annotation(told.return_annotation)}"
        if hasattr(found, "__wrapped__"):  # by contextlib.contextmanager
            gives = gives.replace("Iterator[", "AbstractContextManager[")
    line = f"{shown}({', '.join(arguments)}){gives}"
    if len(line) <= WIDTH:
        return line
    return f"{shown}(\n" + "".join(f"    {one},\n" for one in arguments) + f"){gives}"


def argument(one: inspect.Parameter) -> str:
    """A parameter as it is written."""
    stars = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
    text = f"{stars}{one.name}"
    if one.annotation is not one.empty:
        text += f": {annotation(one.annotation)}"
    if one.default is one.empty:
        return text
    text_default = isinstance(one.default, str)
    default = json.dumps(one.default) if text_default else repr(one.default)
    if default.startswith("<"):  # of a dataclass field that is made anew each time
        return f"{text} = ..."
    return f"{text} = {default}"


def annotation(found: Any) -> str:
    """An annotation as it is written in the source."""
    return found if isinstance(found, str) else inspect.formatannotation(found)


def errors_part() -> str:
    """All errors with what the command line and the server make of them."""
    rows = ["| error | when | exit code | HTTP status |", "|---|---|---|---|"]
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and issubclass(kind, errors.RevisorError):
            told = first_sentence(kind)
            rows.append(f"| `{name}` | {told} | {kind.exit_code} | {kind.http_status} |")
    return "All are `RevisorError`s of `revisor.errors`.\n\n" + "\n".join(rows) + "\n"


def first_sentence(found: Any) -> str:
    """The first paragraph of a docstring on one line."""
    return " ".join((inspect.getdoc(found) or "").split("\n\n")[0].split())


if __name__ == "__main__":
    sys.stdout.write(page())

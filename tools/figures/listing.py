"""The list of figures: what makes each, and the sources that its numbers depend on."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from revisor.bench.runs import source_hash
from revisor.errors import BadInput, NotFound, UsageError

ROOT = Path(__file__).parent.parent.parent
LIST = Path(__file__).parent / "figures.toml"
RESULTS = ROOT / "benchmarks" / "results" / "figures"
NEEDED: Mapping[str, type] = {"about": str, "sources": str, "minutes": int, "steps": dict}
ALLOWED: Mapping[str, type] = {"data": bool, "scores": list, "curve": list, "leave_out": list}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of the list.

    Attributes:
        name: of its result file.
        about: what it is of.
        parts: files and folders of src/revisor that its numbers depend on.
        minutes: on two busy CPU cores.
        steps: commands by name, in order.
        data: whether they need a folder of benchmark data.
        scores: what is kept of each method; empty for all.
        curve: what is kept at each threshold; empty for all.
        leave_out: keys of a result that are dropped.
    """

    name: str
    about: str
    parts: tuple[str, ...]
    minutes: int
    steps: Mapping[str, str]
    data: bool = False
    scores: tuple[str, ...] = ()
    curve: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()

    @cached_property
    def sources(self) -> str:
        """What `hashed` gave when it was first asked for."""
        return self.hashed()

    def hashed(self) -> str:
        """The hash of the sources as they are, and of recipes, scripts and files in the steps."""
        digest = hashlib.sha256(source_hash(*self.parts).encode())
        for path in self._named():
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()[:12]

    def _named(self) -> list[Path]:
        words = [word for command in self.steps.values() for word in command.split()]
        found = {ROOT / word for word in words if word.startswith(("recipes/", "benchmarks/"))}
        if any(path.parent.name == "recipes" for path in found):
            found.add(ROOT / "recipes" / "baselines.toml")
        scripts = (word.partition(".")[2] for word in words if word.startswith("benchmarks."))
        return sorted(found | {ROOT / "benchmarks" / f"{name}.py" for name in scripts})


def read_list(path: Path = LIST) -> dict[str, Figure]:
    """The figures by name.

    Raises:
        NotFound: there is no such file, or a part of the sources is not there.
        BadInput: it is no list of figures; every fault is named.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotFound(f"There is no list of figures {path}.", "Name another.") from error
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path.name} is no TOML: {error}.", "Mend it.") from error
    groups, figures = table.get("sources", {}), table.get("figure", {})
    faults = [fault for name in figures for fault in _faults(name, figures[name], groups)]
    if faults:
        raise BadInput(f"{path.name}: {'; '.join(faults)}.", "Mend it.")
    return {name: _figure(name, figures[name], groups) for name in figures}


def _faults(name: str, given: Mapping[str, Any], groups: Mapping[str, Any]) -> list[str]:
    known = {**NEEDED, **ALLOWED}
    faults = [f"figure '{name}' has no '{key}'" for key in NEEDED if key not in given]
    for key, value in given.items():
        if key not in known:
            faults.append(f"figure '{name}' has an unknown key '{key}'")
        elif not isinstance(value, known[key]):
            faults.append(f"figure '{name}': '{key}' is no {known[key].__name__}")
    if isinstance(given.get("sources"), str) and given["sources"] not in groups:
        faults.append(f"figure '{name}' depends on unknown sources '{given['sources']}'")
    return faults


def _figure(name: str, given: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> Figure:
    return Figure(
        name=name,
        about=given["about"],
        parts=_parts(given["sources"], groups),
        minutes=given["minutes"],
        steps=given["steps"],
        data=given.get("data", False),
        scores=tuple(given.get("scores", ())),
        curve=tuple(given.get("curve", ())),
        leave_out=tuple(given.get("leave_out", ())),
    )


def _parts(group: str, groups: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    found: list[str] = []
    for part in groups[group]:
        found += _parts(part[1:], groups) if part.startswith("@") else [part]
    return tuple(dict.fromkeys(found))


def chosen(figures: Mapping[str, Figure], only: str | None) -> list[Figure]:
    """The figures of a list of names with commas between, or all.

    Raises:
        UsageError: an unknown name.
    """
    if not only:
        return list(figures.values())
    names = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in names if name not in figures]
    if unknown:
        raise UsageError(
            f"There is no figure {', '.join(unknown)}.", f"Choose of: {', '.join(figures)}"
        )
    return [figures[name] for name in dict.fromkeys(names)]

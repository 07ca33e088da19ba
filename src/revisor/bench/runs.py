"""A run on disk: what made it, the cases that are finished, what each method cost.

    run.json      what made it: settings, model fingerprint, hashes of data, versions, machine
    cases.jsonl   a line a case, appended block by block; a line that a kill cut short is dropped
    methods.json  what each method cost
    result.json   the scores, when the run is finished

A run without a folder is kept in memory.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import revisor
from revisor.bench.cases import Case
from revisor.errors import BadInput, Conflict, NotFound

RUN, CASES, METHODS, RESULT = "run.json", "cases.jsonl", "methods.json", "result.json"
BOUND = ("settings", "model", "data")  # what may not change while a run is resumed


class Run:
    """One run; `open_run` makes it."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._cases: dict[tuple[str, str], list[Case]] = {}
        self._costs: dict[str, dict[str, Any]] = {}

    def finished(self, method: str, probe: str) -> bool:
        """Whether a probe has been asked of a method."""
        return (method, probe) in self._cases

    def cases(self, method: str, probes: Iterable[str]) -> list[Case]:
        """The finished cases of a method, in the order of the probes."""
        return [case for probe in probes for case in self._cases.get((method, probe), ())]

    def add(self, cases: Sequence[Case]) -> None:
        """Keep cases, all of a probe together."""
        for case in cases:
            self._cases.setdefault((case.method, case.probe), []).append(case)
        if self.folder is not None and cases:
            block = "".join(json.dumps(asdict(case), ensure_ascii=False) + "\n" for case in cases)
            with (self.folder / CASES).open("a", encoding="utf-8") as stream:
                stream.write(block)
                stream.flush()
                os.fsync(stream.fileno())

    def costs(self, method: str) -> dict[str, Any]:
        """What is known of a method's cost."""
        return self._costs.get(method, {})

    def add_costs(self, method: str, costs: Mapping[str, Any]) -> None:
        """Keep what a method cost."""
        self._costs[method] = {**self.costs(method), **costs}
        self._write(METHODS, self._costs)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Keep the scores."""
        self._write(RESULT, result)

    def _write(self, name: str, value: Mapping[str, Any]) -> None:
        """Replace a file atomically: a kill leaves the old one or the new one."""
        if self.folder is None:
            return
        path = self.folder / name
        scratch = path.with_suffix(".tmp")
        text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)

    def _load(self) -> None:
        assert self.folder is not None  # noqa: S101
        path = self.folder / CASES
        if path.exists():
            raw = path.read_bytes()
            whole = raw[: raw.rfind(b"\n") + 1]
            if len(whole) < len(raw):  # a kill cut the last line short
                with path.open("r+b") as stream:
                    stream.truncate(len(whole))
            for line in whole.splitlines():
                case = Case(**json.loads(line))
                self._cases.setdefault((case.method, case.probe), []).append(case)
        if (self.folder / METHODS).exists():
            self._costs = json.loads((self.folder / METHODS).read_text(encoding="utf-8"))


def open_run(folder: Path | None, made: Mapping[str, Any]) -> Run:
    """Begin a run, or go on with the one in that folder; `made` is `provenance` and more.

    Raises:
        Conflict: the folder holds a run with other settings, model or data.
        BadInput: the folder holds something else.
    """
    run = Run(folder)
    if folder is None:
        return run
    if folder.is_file():
        raise BadInput(f"{folder} is a file.", "Name a folder with --out.")
    path = folder / RUN
    if not path.exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise BadInput(
                f"{folder} holds files that are no run.", "Name a new or empty folder with --out."
            )
        folder.mkdir(parents=True, exist_ok=True)
        run._write(RUN, {**made, "code": [made["code"]]})
        return run
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{path} is damaged: {error}.", "Name another folder.") from error
    changes = list(_changes(before, json.loads(json.dumps(made))))
    if changes:
        raise Conflict(
            f"{folder} holds a run that was made otherwise: {'; '.join(changes)}.",
            "Give the same settings to go on with it, or another --out.",
            (),
        )
    if made["code"] not in before["code"]:  # the scores of one run may come of several versions
        run._write(RUN, {**before, "code": [*before["code"], made["code"]]})
    run._load()
    return run


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[str]:
    for part in BOUND:
        old, new = before.get(part, {}), now.get(part, {})
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                yield f"{key} was {_short(old.get(key))}, now {_short(new.get(key))}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def provenance() -> dict[str, Any]:
    """The code and the machine, without the names of the host and its folders."""
    import torch
    import transformers

    return {
        "code": f"revisor {revisor.__version__} ({source_hash()})",
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def source_hash(*parts: str) -> str:
    """12 hex digits over the package's Python files, or over all files of some of its parts.

    Docstrings, blank lines and from where a name is imported do not count: they change nothing that
    is measured. NotFound for a part that is not there.
    """
    home = Path(revisor.__file__).parent
    paths = {path for part in parts for path in _files(home / part)} or set(home.rglob("*.py"))
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.relative_to(home).as_posix().encode() + b"\0" + _code(path))
    return digest.hexdigest()[:12]


def _code(path: Path) -> bytes:
    """The bytes of a file that count: all, but of Python files see `source_hash`."""
    if path.suffix != ".py":
        return path.read_bytes()
    text = path.read_text(encoding="utf-8")
    lines: list[str] = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            _blank(lines, node)
            lines[node.lineno - 1] = " ".join(sorted(one.name for one in node.names))
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            said = node.body[:1]
            if said and ast.get_docstring(node, clean=False) is not None:
                _blank(lines, said[0])
    return "\n".join(line for line in lines if line.strip()).encode()


def _blank(lines: list[str], node: ast.stmt) -> None:
    for number in range(node.lineno - 1, node.end_lineno or node.lineno):
        lines[number] = ""


def _files(part: Path) -> Iterable[Path]:
    if part.is_file():
        return [part]
    if not part.is_dir():
        raise NotFound(f"The package has no {part.name}.", "Name files and folders of src/revisor.")
    found = (path for path in part.rglob("*") if path.is_file())
    return [path for path in found if "__pycache__" not in path.parts]


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            for line in stream:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()

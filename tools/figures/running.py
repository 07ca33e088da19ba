"""Figures being made, step by step: what is finished is kept, so that a kill costs one step."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from revisor.bench.runs import provenance
from revisor.errors import BadInput, NotFound, RevisorError
from tools.figures.listing import RESULTS, ROOT, Figure
from tools.figures.results import Result, condensed, read_result, write_result

WORK = ROOT / "runs" / "figures"
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
CHANGED = "The sources changed while it was measured."


class StepFailed(RevisorError):
    """A command of a figure ended with an error."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where things are.

    Attributes:
        data: the folder of benchmark data, if there is one.
        results, work: of result files, of scratch folders.
    """

    data: Path | None = None
    results: Path = RESULTS
    work: Path = WORK


def is_current(figure: Figure, folder: Path = RESULTS) -> bool:
    """Whether a figure's result is there, made by its commands with the sources as they are.

    Raises:
        BadInput: the result file is damaged.
    """
    path = folder / f"{figure.name}.json"
    if not path.exists():
        return False
    result = read_result(path)
    return commands_of(result) == dict(figure.steps) and result.is_of(figure)


def commands_of(result: Result) -> dict[str, str]:
    """The commands that made a result, by step."""
    return {name: step["command"] for name, step in result.steps.items()}


def run_figures(figures: Iterable[Figure], places: Places, *, again: bool = False) -> list[str]:
    """Make those whose result is missing, of other commands or of other sources.

    Args:
        again: make those that are there, too.

    Returns:
        What failed, a line a figure; the others are made all the same.

    Raises:
        BadInput: a result file is damaged.
        NotFound: a figure needs benchmark data, and there is no folder of it.
    """
    waiting = [one for one in figures if again or not is_current(one, places.results)]
    for figure in waiting:
        if figure.data and places.data is None:
            raise NotFound(
                f"The figure {figure.name} needs benchmark data.", "Set REVISOR_DATA=FOLDER."
            )
    failed = []
    for figure in waiting:
        _say(f"{figure.name}: {figure.about} (about {figure.minutes} minutes)")
        try:
            _say(f"  {run_figure(figure, places)}")
        except RevisorError as error:
            failed.append(f"{figure.name}: {error}")
            _say(f"  {error}")
    return failed


def run_figure(figure: Figure, places: Places) -> Path:
    """Run a figure's steps, but for those that an interrupted run has finished.

    Returns:
        The result file.

    Raises:
        StepFailed: a command failed.
        BadInput: it printed something that is no JSON.
    """
    sources = figure.hashed()
    work = places.work / f"{figure.name}-{sources}"
    work.mkdir(parents=True, exist_ok=True)
    commit = _commit()
    steps = {
        name: _step(figure, name, command, work, places) for name, command in figure.steps.items()
    }
    same = figure.hashed() == sources
    path = write_result(
        Result(
            figure=figure.name,
            steps=steps,
            date=datetime.now(UTC).date().isoformat(),
            commit=commit,
            sources=sources if same else None,
            machine=machine(),
            note="" if same else CHANGED,
        ),
        places.results,
    )
    shutil.rmtree(work)
    return path


def _step(figure: Figure, name: str, command: str, work: Path, places: Places) -> Mapping[str, Any]:
    kept = work / f"step-{name}.json"
    if kept.exists():
        before: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        if before["command"] == command:
            return before
    _say(f"  {name}: {command}")
    out = work / f"step-{name}.out"
    begun = time.perf_counter()
    peak = _run(command, out, work, places)
    step = {
        "command": command,
        "seconds": round(time.perf_counter() - begun, 1),
        "peak_mb": peak,
        "result": condensed(_printed(out, command, work, places), figure),
    }
    scratch = kept.with_suffix(".tmp")
    scratch.write_text(json.dumps(step, ensure_ascii=False), encoding="utf-8")
    scratch.replace(kept)
    return step


def _run(command: str, out: Path, work: Path, places: Places) -> int:
    """Run a command; the most memory that it had, in MB."""
    words = [_filled(word, work, places) for word in shlex.split(command)]
    program = {"revisor": ["-m", "revisor"], "python": []}.get(words[0])
    if program is not None:
        words = [sys.executable, *program, *words[1:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if places.data is not None:
        environment["REVISOR_DATA"] = str(places.data)
    with out.open("wb") as stream:
        process = subprocess.Popen(words, cwd=ROOT, stdout=stream, env=environment)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise StepFailed(
            f"`{command}` ended with exit code {process.returncode}.",
            "Mend what it says and run again: finished steps are kept.",
        )
    return round(usage.ru_maxrss / 1024)


def _filled(word: str, work: Path, places: Places) -> str:
    return word.replace("{work}", str(work)).replace("{data}", str(places.data))


def _printed(out: Path, command: str, work: Path, places: Places) -> Any:
    """The JSON object that a command printed, or the list of them, without names of folders of
    this machine; None where it printed none."""
    text = out.read_text(encoding="utf-8").replace(str(work), "{work}")
    if places.data is not None:
        text = text.replace(str(places.data), "{data}")
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        found = [json.loads(line) for line in lines]
    except ValueError as error:
        raise BadInput(
            f"`{command}` printed something that is no JSON: {error}.", f"See {out}."
        ) from error
    return (found[0] if len(found) == 1 else found) if found else None


def machine() -> dict[str, Any]:
    """The kind of this machine: no names of hosts or folders."""
    from revisor.models.load import default_dtype

    known = provenance()["machine"]
    device = "cuda" if known["accelerator"] else "cpu"
    return {
        **{name: known[name] for name in ("cpu", "cores", "threads", "accelerator", "torch")},
        "instructions": _instructions(),
        "dtype": str(default_dtype(device)).removeprefix("torch."),
    }


def _instructions() -> list[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    lines = [line for line in text.splitlines() if line.startswith(("flags", "Features"))]
    found = set(" ".join(lines).split())
    return [name for name in INSTRUCTIONS if name in found]


def _commit() -> str:
    """The commit that is checked out; "unknown" where there is no git."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--", "src/revisor")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head} and changes" if changed else head


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()

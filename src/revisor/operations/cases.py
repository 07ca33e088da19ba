"""Texts, each with the fact that it shall be answered with or none: read from files, and tried."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revisor.errors import BadInput, Fault, NotFound
from revisor.progress import Progress

if TYPE_CHECKING:
    from revisor.operations.explain import Explanation

Explain = Callable[["Case", bool], "Explanation"]
"""What is decided at the end of a case's text, asking the model's logits or not."""

Wrong = Callable[[object], Iterable[tuple[str, str]]]
"""What is wrong with a record, each fault with how to mend it."""

_KEYS = ("prompt", "chat", "namespace", "fact")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A text and what it shall be answered with, as the console keeps it: one line of a file.

    Attributes:
        line: its number, from 1.
        prompt: the text.
        chat: it is a user's turn in the model's chat template.
        namespace: whose facts may answer; None for all.
        fact: the id of the fact that shall answer; None where no fact shall.
    """

    line: int
    prompt: str
    chat: bool = False
    namespace: str | None = None
    fact: str | None = None


@dataclass(frozen=True, kw_only=True)
class TriedCases:
    """What came of cases.

    Attributes:
        cases: how many there are.
        failed: {line, prompt, chat, namespace, fact, answered, reason} of those that were answered
            with another fact than they shall: `answered` is its id, or None for no fact.
    """

    cases: int
    failed: list[dict[str, Any]]


def try_cases(cases: Collection[Case], explain: Explain, live: Collection[str]) -> TriedCases:
    """Try cases through the gate; the model is run only where a text leaves open whether an answer
    is due.

    Args:
        live: ids of those of their facts that there are.
    """
    failed = []
    with Progress("Trying cases", unit="cases", total=len(cases)) as progress:
        for case in cases:
            found = explain(case, False)
            if found.decision is not None and not found.due_by_text:
                found = explain(case, True)
            answered = None
            if found.written is not None and found.decision is not None:
                answered = found.decision.fact.id
            if answered != case.fact:
                told = {"line": case.line, "prompt": case.prompt, "chat": case.chat}
                told |= {"namespace": case.namespace, "fact": case.fact, "answered": answered}
                failed.append(told | {"reason": _reason(case, found, live)})
            progress.advance(1)
    return TriedCases(cases=len(cases), failed=failed)


def _reason(case: Case, found: Explanation, live: Collection[str]) -> str:
    from revisor.operations.why import why_not

    if case.fact is not None and case.fact not in live:
        return f"There is no fact {case.fact!r}."
    if found.written is not None and found.decision is not None:
        return f"The fact {found.decision.fact.id} answers: {found.written!r}."
    return why_not(found) or ""


def read_cases(file: Path, *, needs_fact: bool = True) -> list[Case]:
    """The cases of a file, a JSON object a line: `{"prompt", "chat", "namespace", "fact"}`.

    Args:
        needs_fact: every line has to say which fact shall answer, or null.
    """
    return [
        Case(line=number, **{key: record[key] for key in _KEYS if key in record})
        for number, record in _records(file, partial(_faults, needs_fact=needs_fact))
    ]


def read_prompts(file: Path) -> list[str]:
    """The prompts of a file: its lines that are not blank, or of a `.jsonl` file each `prompt`."""
    if file.suffix.lower() != ".jsonl":
        return [line for _, line in _lines(file)]
    return [record["prompt"] for _, record in _records(file, _prompt_faults)]


def _records(file: Path, wrong: Wrong) -> list[tuple[int, dict[str, Any]]]:
    """The JSON objects of a file, each with its line's number; raises BadInput with all faults."""
    records: list[tuple[int, dict[str, Any]]] = []
    faults: list[Fault] = []
    for number, line in _lines(file):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            faults.append(Fault(f"is not JSON: {error}", line=number))
            continue
        faults += [Fault(*one, line=number) for one in wrong(record)]
        records.append((number, record))
    if faults:
        raise BadInput(f"{file} has {len(faults)} fault(s).", "Mend them all.", faults)
    return records


def _lines(file: Path) -> list[tuple[int, str]]:
    """The lines of a file that are not blank, each with its number."""
    try:
        with file.open(encoding="utf-8-sig") as stream:
            return [(n, line.rstrip("\r\n")) for n, line in enumerate(stream, 1) if line.strip()]
    except OSError as error:
        raise NotFound(f"Cannot read {file}: {error.strerror}.", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{file} is not UTF-8 text.", "Save it as UTF-8.") from error


def _prompt_faults(record: object) -> Iterator[tuple[str, str]]:
    """What is wrong with a record's prompt, and how to mend it."""
    if not isinstance(record, dict) or not _is_text(record.get("prompt")):
        yield "has no text under 'prompt'", 'write {"prompt": "..."}'


def _faults(record: object, *, needs_fact: bool) -> Iterator[tuple[str, str]]:
    yield from _prompt_faults(record)
    if not isinstance(record, dict):
        return
    if not isinstance(record.get("chat", False), bool):
        yield f"has {record['chat']!r} under 'chat'", 'write "chat": true or false'
    if not _is_text(record.get("namespace", "x")) and record["namespace"] is not None:
        yield f"has {record['namespace']!r} under 'namespace'", "write its name, or null for all"
    if needs_fact and "fact" not in record:
        yield "does not say which fact shall answer", 'write "fact": "ID", or null for none'
    elif not _is_text(record.get("fact", "x")) and record["fact"] is not None:
        yield f"has {record['fact']!r} under 'fact'", 'write "fact": "ID", or null for none'


def _is_text(value: object) -> bool:
    """Whether a value is text that is not blank, and can be written as UTF-8."""
    if not isinstance(value, str) or not value.strip():
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True

"""From one record to one fact: the known forms of records, and every fault of a record named.

The forms are told apart by their keys:

    plain        subject, prompt, object, and the optional fields of `Fact`
    EasyEdit     subject, prompt, target_new, ground_truth
    QAEdit       subject, prompt, target
    ROME         requested_rewrite {subject, prompt, target_new.str, target_true.str, relation_id}
    MQuAKE       the same, with a list of them: a fact each (`spread`)
    known facts  subject, template, attribute, relation_id (ROME's; what a model says already)
    zsRE         subject, src, alt, answers (its `pred` is what a model said: not a relation)

The evaluation prompts of a benchmark record (`paraphrase_prompts`, `rephrase_prompt`,
`neighborhood_prompts` ...) do not become `Fact.paraphrases`: a fact made from them would be
measured on what it was made with. So benchmark forms never fill `paraphrases`, nor `id`, whose
numbers are the benchmark's own.

A number or a truth value is read as the text that the file has for it.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any

from revisor.errors import Fault
from revisor.facts.fact import FIELDS, Fact
from revisor.facts.records import Number
from revisor.facts.rules import (
    BREAKS,
    LISTS,
    NAME_LIMIT,
    REQUIRED,
    TEXTS,
    date_fault,
    id_fault,
    list_fault,
    order_fault,
    shown,
    template,
    text_fault,
    wordings_faults,
    wordless_faults,
)

__all__ = ["fact_from", "follows", "is_keep", "spread", "template"]

_TYPO_CUTOFF = 0.83
_KEYS = (*(name for name in FIELDS if name != "reverse_of"), "id", "role")
_SHARED = ("relation", "aliases", "source", "valid_from", "valid_to", "namespace", "qualifier")


def is_keep(record: Mapping[str, Any]) -> bool:
    """Whether the record is no fact but a prompt whose answer must stay (`"role": "keep"`)."""
    return record.get("role") == "keep"


def follows(record: Mapping[str, Any]) -> bool:
    """Whether the record is the reverse of another fact, which comes with that one."""
    return bool(record.get("reverse_of"))


def spread(record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The record, or one for each of its rewrites where it holds a list of them (MQuAKE)."""
    rewrites = record.get("requested_rewrite")
    if isinstance(rewrites, list) and rewrites:
        yield from ({**record, "requested_rewrite": one} for one in rewrites)
    else:
        yield record


def fact_from(
    record: Mapping[str, Any], *, line: int = 0, cells: bool = False
) -> Fact | tuple[Fault, ...]:
    """The fact that a record of any form states, or all its faults (at least one).

    Texts are stripped. A prompt without `{}` becomes a template (see `template`).

    Args:
        line: the number that the faults carry.
        cells: the record is a table row, so a list is written as a JSON list or with `|`.
    """
    return _Reading(record, line, cells).fact()


class _Reading:
    """One record being read: its fields by plain name, and the faults found so far."""

    def __init__(self, record: Mapping[str, Any], line: int, cells: bool) -> None:
        self._line = line
        self._cells = cells
        self._faults: list[Fault] = []
        self._typos: set[str] = set()
        self._names: dict[str, str] = {}
        self._fields = self._plain_fields(record)

    def fact(self) -> Fact | tuple[Fault, ...]:
        if self._faults and not self._fields:
            return tuple(self._faults)
        found: dict[str, Any] = {key: self._text(key, limit) for key, limit in TEXTS.items()}
        found |= {key: self._texts(key, limit) for key, limit in LISTS.items()}
        found |= {key: self._moment(key) for key in ("valid_from", "valid_to")}
        self._add(id_fault(found["id"]), order_fault(found["valid_from"], found["valid_to"]))
        subject, prompt = found["subject"], found["prompt"]
        if subject and prompt:
            remedy = "write {} where the subject stands"
            found["prompt"] = self._template("prompt", prompt, "subject", subject, remedy)
            self._add(*wordless_faults(subject, found["prompt"]))
            self._add(*wordings_faults(subject, found["aliases"], found["paraphrases"]))
        if found["reverse"] and found["object"]:
            remedy = "write {} where the object stands; the subject is to follow"
            reverse, object_ = found["reverse"], found["object"]
            found["reverse"] = self._template("reverse", reverse, "object", object_, remedy)
        if self._faults:
            return tuple(self._faults)
        return Fact(**{key: value for key, value in found.items() if value})

    def _fault(self, fault: str, remedy: str) -> None:
        self._faults.append(Fault(fault, remedy, line=self._line))

    def _add(self, *faults: Fault | None) -> None:
        self._faults += [replace(one, line=self._line) for one in faults if one is not None]

    def _plain_fields(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The record's values under plain names; `_names` keeps what the file calls them."""
        fields = {key: record[key] for key in _SHARED if key in record}
        if "requested_rewrite" in record:
            rewrite = record["requested_rewrite"]
            if not isinstance(rewrite, Mapping):
                fault = f"'requested_rewrite' is no object: {shown(rewrite)}"
                self._fault(fault, "write one rewrite a record")
                return {}
            keys = {"subject": "subject", "prompt": "prompt", "object": "target_new"}
            keys |= {"object_before": "target_true", "relation": "relation_id"}
            fields |= {key: _inner(rewrite.get(name)) for key, name in keys.items()}
            self._names = {key: f"requested_rewrite.{name}" for key, name in keys.items()}
            return fields
        keys = _benchmark_keys(record)
        if not keys:
            self._check_keys(record)
            return {key: record[key] for key in _KEYS if key in record}
        self._names = keys
        fields |= {key: record.get(name) for key, name in keys.items()}
        fields["object_before"] = _first(fields.get("object_before"))
        if isinstance(fields["object"], list):
            fields["object"] = self._only(fields["object"], keys["object"])
        return fields

    def _only(self, values: list[Any], name: str) -> object:
        """The one value of a list (EasyEdit writes lists of one)."""
        if len(values) > 1:
            fault = f"{name!r} holds {len(values)} texts: {shown(values)}"
            self._fault(fault, "a fact has one object: write one record for each")
        return values[0] if values else None

    def _check_keys(self, record: Mapping[str, Any]) -> None:
        for key in record:
            if key in _KEYS or not (meant := _meant(key)) or meant in record:
                continue
            self._typos.add(meant)
            self._fault(f"unknown key {shown(key)}", f"did you mean {meant!r}?")

    def _text(self, key: str, limit: int) -> str:
        """The field as stripped text, "" where it is absent or faulty."""
        value = self._fields.get(key)
        name = self._names.get(key, key)
        if value is None and key in self._typos:
            return ""
        if value is None or (isinstance(value, str) and not value.strip()):
            if key in REQUIRED:
                what = "missing" if value is None else "empty"
                self._fault(f"{name!r} is {what}", f"give the {key} as text")
            return ""
        return self._checked(value, name, limit, key in BREAKS)

    def _checked(self, value: object, name: str, limit: int, breaks: bool) -> str:
        if isinstance(value, float | Decimal) and not math.isfinite(value):
            self._fault(
                f"{name!r} is {json.dumps(float(value))}, which is no value",
                "write null or leave the key out; some tools write NaN for an empty cell",
            )
            return ""
        written = _as_text(value)
        if written is None:
            self._fault(f"{name!r} is no text: {shown(value)}", "write it as text, in quotes")
            return ""
        text = written.strip()
        if fault := text_fault(text, name, limit, breaks=breaks):
            self._add(fault)
            return ""
        return text

    def _texts(self, key: str, limit: int) -> tuple[str, ...]:
        value = self._fields.get(key)
        if value is None:
            return ()
        if self._cells and isinstance(value, str):
            value = _cell_list(value)
        if not isinstance(value, list):
            self._fault(f"{key!r} is no list: {shown(value)}", "write a list of texts")
            return ()
        if fault := list_fault(len(value), key):
            self._add(fault)
            return ()
        texts = []
        for number, item in enumerate(value, start=1):
            if isinstance(item, str) and not item.strip():
                self._fault(f"'{key}[{number}]' is empty", "remove it")
            else:
                texts.append(self._checked(item, f"{key}[{number}]", limit, key in BREAKS))
        return tuple(texts)

    def _moment(self, key: str) -> str:
        value = self._fields.get(key)
        if isinstance(value, date):  # Parquet has dates and times of its own; datetime is a date.
            return value.isoformat()
        text = self._text(key, NAME_LIMIT)
        wrong = date_fault(text, key) if text else None
        self._add(wrong)
        return "" if wrong else text

    def _template(self, key: str, text: str, what: str, name: str, remedy: str) -> str:
        found = template(text, name)
        if found is None:
            called = self._names.get(key, key)
            fault = f"{called!r} does not name the {what} {shown(name)}: {shown(text)}"
            self._fault(fault, remedy)
        return found or text


def _benchmark_keys(record: Mapping[str, Any]) -> dict[str, str]:
    """What a benchmark's record calls the fields of a fact; nothing where it is a plain one."""
    keys = {"subject": "subject", "prompt": "prompt"}
    if "src" in record and "alt" in record:
        return keys | {"prompt": "src", "object": "alt", "object_before": "answers"}
    if "target_new" in record:
        return keys | {"object": "target_new", "object_before": "ground_truth"}
    if "object" in record:
        return {}
    if "attribute" in record and "template" in record:
        return keys | {"prompt": "template", "object": "attribute", "relation": "relation_id"}
    if "target" in record and "prompt" in record:
        return keys | {"object": "target"}
    return {}


def _as_text(value: object) -> str | None:
    """The text that a value of a record stands for; None where it stands for none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Number):
        return value.literal
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, str | int) else None


def _inner(value: object) -> object:
    """The text of ROME's `{"str": text, "id": ...}`."""
    return value.get("str") if isinstance(value, Mapping) else value


def _first(value: object) -> object:
    return (value[0] if value else None) if isinstance(value, list) else value


def _cell_list(cell: str) -> object:
    if cell.lstrip().startswith("["):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return [part for part in cell.split("|") if part.strip()]


@lru_cache(maxsize=1_000)
def _meant(key: str) -> str:
    """The known key of which `key` looks like a misspelling, or ""."""
    near = difflib.get_close_matches(key.casefold().strip(), _KEYS, n=1, cutoff=_TYPO_CUTOFF)
    # `relation_id` beside `relation` is another field, not a slip of the finger.
    return near[0] if near and not key.startswith(f"{near[0]}_") else ""

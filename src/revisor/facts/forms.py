"""From one record to one fact: four forms are known, and every fault of a record is named.

What comes in: a record (a dict, as records.py reads it). What goes out: a `Fact`, or the
faults that stop it. The forms, told apart by their keys:

    plain     subject, prompt, object, and the optional fields of `Fact`
    EasyEdit  subject, prompt, target_new, ground_truth
    ROME      requested_rewrite {subject, prompt, target_new.str, target_true.str, relation_id}
    zsRE      subject, src, alt, answers (its `pred` is what a model said: not a relation)

What it does not do: take the evaluation prompts of a benchmark record (`paraphrase_prompts`,
`rephrase_prompt`, `neighborhood_prompts` ...) into `Fact.paraphrases`. They are for measuring;
a fact built from them would be measured on what it was built with. So benchmark forms never
fill `paraphrases`, nor `id`, whose numbers are the benchmark's own.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import date
from functools import lru_cache
from typing import Any

from revisor.errors import Fault
from revisor.facts.fact import FIELDS, JOIN, PLACEHOLDER, Fact, parse_time

NAME_LIMIT = 1_000
TEXT_LIMIT = 10_000
ID_LIMIT = 128
_TYPO_CUTOFF = 0.83
_KEYS = (*(name for name in FIELDS if name != "reverse_of"), "id", "role")
_SHARED = ("relation", "aliases", "source", "valid_from", "valid_to", "namespace", "qualifier")
# Lone surrogates are no characters: they cannot be written as UTF-8.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CONTROL_BUT_BREAKS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def is_keep(record: Mapping[str, Any]) -> bool:
    """Whether the record is no fact but a prompt whose answer must stay (`"role": "keep"`)."""
    return record.get("role") == "keep"


def follows(record: Mapping[str, Any]) -> bool:
    """Whether the record is the reverse of another fact, which comes with that one."""
    return bool(record.get("reverse_of"))


def fact_from(
    record: Mapping[str, Any], *, line: int = 0, cells: bool = False
) -> Fact | tuple[Fault, ...]:
    """The fact that a record of any form states, or all its faults (at least one).

    Texts are stripped. A prompt without `{}` becomes a template: the subject's last occurrence
    is replaced, as whole words in the same case, else in another case, else inside a word
    (some scripts have no spaces), where the case must be the same.

    Args:
        line: the number that the faults carry.
        cells: the record is a table row, so a list is written as a JSON list or with `|`.
    """
    return _Reading(record, line, cells).fact()


def template(prompt: str, subject: str) -> str | None:
    """`prompt` with `{}` where the subject stands, or None where it names no subject."""
    if PLACEHOLDER in prompt:
        return prompt
    # Most subjects stand as they are, in the last place where they stand at all.
    start = prompt.rfind(subject)
    end = start + len(subject)
    if start < 0 or not _is_whole(prompt, start, end):
        # The match is made on the text itself: its lower case can have another length.
        places = [match.span() for match in re.finditer(re.escape(subject), prompt, re.IGNORECASE)]
        whole = [place for place in places if _is_whole(prompt, *place)]
        exact = [place for place in whole if prompt[slice(*place)] == subject]
        if exact or whole:
            start, end = (exact or whole)[-1]
        elif start < 0:
            return None
    return f"{prompt[:start]}{PLACEHOLDER}{prompt[end:]}"


def _is_whole(text: str, start: int, end: int) -> bool:
    """Whether no letter or digit touches `text[start:end]` from outside."""
    return not text[start - 1 : start].isalnum() and not text[end : end + 1].isalnum()


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
        subject = self._text("subject", NAME_LIMIT, required=True)
        prompt = self._text("prompt", TEXT_LIMIT, required=True, breaks=True)
        object_ = self._text("object", NAME_LIMIT, required=True)
        aliases = self._texts("aliases", NAME_LIMIT)
        paraphrases = self._texts("paraphrases", TEXT_LIMIT, breaks=True)
        optional = {
            key: self._text(key, limit)
            for key, limit in (
                ("relation", NAME_LIMIT),
                ("object_before", NAME_LIMIT),
                ("source", TEXT_LIMIT),
                ("namespace", NAME_LIMIT),
                ("qualifier", NAME_LIMIT),
                ("id", ID_LIMIT),
            )
        }
        reverse = self._text("reverse", TEXT_LIMIT, breaks=True)
        if JOIN in optional["id"]:
            self._fault(f"'id' holds a {JOIN!r}: {_shown(optional['id'])}", "use another sign")
        times = {key: self._moment(key) for key in ("valid_from", "valid_to")}
        self._check_order(times["valid_from"], times["valid_to"])
        if subject and prompt:
            prompt = self._prompt(prompt, subject)
            self._check_paraphrases(paraphrases, (subject, *aliases))
        if reverse and object_:
            optional["reverse"] = self._reverse(reverse, object_)
        if self._faults:
            return tuple(self._faults)
        given = {key: value for key, value in {**optional, **times}.items() if value}
        return Fact(
            subject=subject,
            prompt=prompt,
            object=object_,
            aliases=aliases,
            paraphrases=paraphrases,
            **given,
        )

    def _fault(self, fault: str, remedy: str) -> None:
        self._faults.append(Fault(line=self._line, fault=fault, remedy=remedy))

    def _plain_fields(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The record's values under plain names; `_names` keeps what the file calls them."""
        fields = {key: record[key] for key in _SHARED if key in record}
        if "requested_rewrite" in record:
            rewrite = record["requested_rewrite"]
            if not isinstance(rewrite, Mapping):
                fault = f"'requested_rewrite' is no object: {_shown(rewrite)}"
                self._fault(fault, "write one rewrite a record")
                return {}
            keys = {"subject": "subject", "prompt": "prompt", "object": "target_new"}
            keys |= {"object_before": "target_true", "relation": "relation_id"}
            fields |= {key: _inner(rewrite.get(name)) for key, name in keys.items()}
            self._names = {key: f"requested_rewrite.{name}" for key, name in keys.items()}
            return fields
        if "src" in record and "alt" in record:
            keys = {"subject": "subject", "prompt": "src", "object": "alt"}
            keys |= {"object_before": "answers"}
        elif "target_new" in record:
            keys = {"subject": "subject", "prompt": "prompt", "object": "target_new"}
            keys |= {"object_before": "ground_truth"}
        else:
            self._check_keys(record)
            return {key: record[key] for key in _KEYS if key in record}
        self._names = keys
        fields |= {key: record.get(name) for key, name in keys.items()}
        fields["object_before"] = _first(fields["object_before"])
        return fields

    def _check_keys(self, record: Mapping[str, Any]) -> None:
        for key in record:
            if key in _KEYS or not (meant := _meant(key)) or meant in record:
                continue
            self._typos.add(meant)
            self._fault(f"unknown key {_shown(key)}", f"did you mean {meant!r}?")

    def _text(self, key: str, limit: int, *, required: bool = False, breaks: bool = False) -> str:
        """The field as stripped text, "" where it is absent or faulty."""
        value = self._fields.get(key)
        name = self._names.get(key, key)
        if value is None and key in self._typos:
            return ""
        if value is None or (isinstance(value, str) and not value.strip()):
            if required:
                what = "missing" if value is None else "empty"
                self._fault(f"{name!r} is {what}", f"give the {key} as text")
            return ""
        return self._checked(value, name, limit, breaks)

    def _checked(self, value: object, name: str, limit: int, breaks: bool) -> str:
        if not isinstance(value, str):
            self._fault(f"{name!r} is no text: {_shown(value)}", "write it as text, in quotes")
            return ""
        text = value.strip()
        if len(text) > limit:
            self._fault(f"{name!r} has {len(text):,} characters", f"at most {limit:,} are read")
            return ""
        if found := (_CONTROL_BUT_BREAKS if breaks else _CONTROL).search(text):
            what = f"{name!r} holds the control character U+{ord(found[0]):04X}"
            self._fault(f"{what} at place {found.start() + 1}", "remove it")
            return ""
        return text

    def _texts(self, key: str, limit: int, *, breaks: bool = False) -> tuple[str, ...]:
        value = self._fields.get(key)
        if value is None:
            return ()
        if self._cells and isinstance(value, str):
            value = _cell_list(value)
        if not isinstance(value, list):
            self._fault(f"{key!r} is no list: {_shown(value)}", "write a list of texts")
            return ()
        texts = []
        for number, item in enumerate(value, start=1):
            if isinstance(item, str) and not item.strip():
                self._fault(f"{key!r} has an empty text at place {number}", "remove it")
            else:
                texts.append(self._checked(item, f"{key}[{number}]", limit, breaks))
        return tuple(texts)

    def _moment(self, key: str) -> str:
        value = self._fields.get(key)
        if isinstance(value, date):  # Parquet has dates and times of its own; datetime is a date.
            return value.isoformat()
        text = self._text(key, NAME_LIMIT)
        try:
            if text:
                parse_time(text)
        except ValueError:
            self._fault(f"{key!r} is no date: {_shown(text)}", "write it like 2026-01-31")
            return ""
        return text

    def _check_order(self, start: str, end: str) -> None:
        if start and end and parse_time(end) <= parse_time(start):
            self._fault(
                f"'valid_to' {end} is not after 'valid_from' {start}",
                "valid_to is the first moment at which the fact no longer holds",
            )

    def _prompt(self, prompt: str, subject: str) -> str:
        found = template(prompt, subject)
        if found is None:
            name = self._names.get("prompt", "prompt")
            self._fault(
                f"{name!r} does not name the subject {_shown(subject)}: {_shown(prompt)}",
                "write {} where the subject stands",
            )
        return found or prompt

    def _reverse(self, reverse: str, object_: str) -> str:
        found = template(reverse, object_)
        if found is None:
            self._fault(
                f"'reverse' does not name the object {_shown(object_)}: {_shown(reverse)}",
                "write {} where the object stands; the subject is to follow",
            )
        return found or reverse

    def _check_paraphrases(self, paraphrases: Iterable[str], names: Iterable[str]) -> None:
        for text in paraphrases:
            if text and not any(template(text, name) for name in names if name):
                self._fault(
                    f"a paraphrase does not name the subject: {_shown(text)}",
                    "write {} where the subject stands",
                )


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


def _shown(value: object) -> str:
    text = repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 64 else f"{text[:60]}..."

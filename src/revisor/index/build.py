"""From rows of the ledger to the bytes of a base file: texts once each, names as sorted hashes."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from revisor.facts.fact import PLACEHOLDER
from revisor.facts.rules import template
from revisor.index.basefile import narrow, pack
from revisor.index.keys import folding, name_key, word_bucket
from revisor.index.near import NearNames
from revisor.language.spelling import taken_apart
from revisor.language.words import words

_BUCKETS_A_WORD = 4  # or more: of the words that begin no name a fifth looks as if it did
_BUCKETS = 4_096  # at least
_LONGEST = 255


def templates_of(prompt: str, paraphrases: Iterable[str], subject: str) -> tuple[str, ...]:
    """The wordings of a fact with `{}` for its name; text without the subject stays as it is."""
    return tuple(
        text if PLACEHOLDER in text else template(text, subject) or text
        for text in (prompt, *paraphrases)
    )


def build(rows: Iterable[Sequence[Any]], **head: Any) -> bytes:
    """The bytes of a base file from the ledger's rows, by ascending key (`facts.following.Row`).

    `head` goes into the header: `generation`, `event`, `chain`.
    """
    builder = _Builder()
    builder.add(rows)
    longest = max(builder.first_words.values(), default=0)
    return pack(builder.arrays(), {**head, "folding": folding(), "longest": longest})


class _Texts:
    """Texts in one blob, each once."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self._blob = bytearray()
        self._ends = array("Q", [0])

    def place(self, text: str) -> int:
        found = self.places.get(text)
        if found is None:
            found = self.places[text] = len(self.places)
            self._blob += text.encode("utf-8", "surrogatepass")
            self._ends.append(len(self._blob))
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            "offset": narrow(np.frombuffer(self._ends, dtype=np.uint64)),
            "text": np.frombuffer(self._blob or b"", dtype=np.uint8),
        }


class _Builder:
    """Columns that grow by rows."""

    def __init__(self) -> None:
        self._texts = _Texts()
        self._keys, self._ids = array("Q"), array("Q")
        self._odd, self._odd_ids = array("I"), array("I")
        self._subjects, self._objects = array("I"), array("I")
        self._template, self._terms = array("I"), array("I")
        self._templates: dict[tuple[str, ...], int] = {}
        self._termses: dict[tuple[Any, ...], int] = {}
        self._names, self._named = array("Q"), array("I")  # a name's key, the row it names
        self._known = array("Q")  # by a text's number, the key of the name that it is; 0: unknown
        self._aliases: dict[str, dict[int, None]] = {}  # by aliases as JSON, the names' keys
        self._near = NearNames()
        self.first_words: dict[str, int] = {}

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        place = self._texts.place
        templates, termses = self._templates, self._termses
        for number, row in enumerate(rows):
            key, fact_id, subject, object_, prompt, paraphrases, aliases, *rest = row
            self._keys.append(key)
            self._add_id(number, fact_id)
            subject_at = place(subject)
            self._subjects.append(subject_at)
            self._objects.append(place(object_))
            wordings = (
                (prompt,)
                if paraphrases in ("[]", None) and PLACEHOLDER in prompt
                else templates_of(prompt, json.loads(paraphrases or "[]"), subject)
            )
            self._template.append(templates.setdefault(wordings, len(templates)))
            terms = (aliases or "[]", *rest)
            self._terms.append(termses.setdefault(terms, len(termses)))
            self._add_name(number, subject, subject_at)
            if terms[0] != "[]":
                self._add_aliases(number, subject_at, terms[0])

    def _add_id(self, number: int, fact_id: str) -> None:
        value = 0
        if len(fact_id) == 16 and fact_id.isascii() and fact_id.isalnum():
            try:
                value = int(fact_id, 16)
            except ValueError:
                value = 0
        if f"{value:016x}" != fact_id:
            value = 0
            self._odd.append(number)
            self._odd_ids.append(self._texts.place(fact_id))
        self._ids.append(value)

    def _add_name(self, number: int, subject: str, place: int) -> None:
        known = self._known
        if place >= len(known):
            known.extend([0] * (place + 1 - len(known)))
        if not known[place]:
            known[place] = self._name(subject)
        if known[place]:
            self._names.append(known[place])
            self._named.append(number)

    def _add_aliases(self, number: int, subject: int, aliases: str) -> None:
        keys = self._aliases.get(aliases)
        if keys is None:
            keys = self._aliases[aliases] = dict.fromkeys(map(self._name, json.loads(aliases)))
        for key in keys:
            if key not in (0, self._known[subject]):
                self._names.append(key)
                self._named.append(number)

    def _name(self, name: str) -> int:
        """Note a name with its parts, and return its key; 0 if it has no words."""
        read = words(name)
        if not read:
            return 0
        folded = [word.text for word in read]
        longest = self.first_words.get(folded[0], 0)
        if len(folded) > longest:
            self.first_words[folded[0]] = len(folded)
        key = name_key(folded)
        self._near.add(taken_apart(name, read), key)
        return key

    def arrays(self) -> dict[str, np.ndarray]:
        texts = self._texts
        fields = [
            json.dumps(list(wordings), ensure_ascii=False, separators=(",", ":"))
            for wordings in self._templates
        ]
        templates = np.array([texts.place(text) for text in fields], dtype=np.uint32)
        termses = [
            json.dumps(
                (rest[2], json.loads(aliases), rest[0], rest[1], rest[3]),
                ensure_ascii=False,
                separators=(",", ":"),
            )
            for aliases, *rest in self._termses
        ]
        columns = {
            "key": self._keys,
            "subject": self._subjects,
            "object": self._objects,
            "template": self._template,
            "terms": self._terms,
        }
        named = postings(
            np.array(self._names, dtype=np.uint64), np.array(self._named, dtype=np.uint32)
        )
        return {
            **{name: narrow(np.array(column)) for name, column in columns.items()},
            "id": np.array(self._ids, dtype=np.uint64),
            "odd": np.array(self._odd, dtype=np.uint32),
            "odd_id": np.array(self._odd_ids, dtype=np.uint32),
            "templates": templates,
            "termses": np.array([texts.place(text) for text in termses], dtype=np.uint32),
            **named,
            "reach": self._reach(),
            **self._near.arrays(named["name"], texts.place),
            **texts.arrays(),
        }

    def _reach(self) -> np.ndarray:
        size = 1 << (max(_BUCKETS, len(self.first_words) * _BUCKETS_A_WORD) - 1).bit_length()
        reach = np.zeros(size, dtype=np.uint8)
        for word, longest in self.first_words.items():
            at = word_bucket(word) & (size - 1)
            reach[at] = max(int(reach[at]), min(longest, _LONGEST))
        return reach


def postings(names: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Names in order, and for each the rows that it names, from pairs of both in any order."""
    order = np.lexsort((rows, names))
    unique, starts = np.unique(names[order], return_index=True)
    return {
        "name": unique,
        "start": narrow(np.append(starts, names.size)),
        "posting": rows[order],
    }

"""The facts of one generation as arrays, in the bytes of a base file; read, never changed."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from revisor.facts.fact import parse_time
from revisor.index.basefile import Unusable, unpack
from revisor.index.keys import word_bucket
from revisor.index.near import deletion_hashes

CACHED = 4_096  # decoded entries that are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedFact:
    """What a gate needs of a fact; the fields are those of `Fact`.

    `templates` are the prompt, then the paraphrases, each with `{}` where the name stands.
    """

    id: str
    subject: str
    object: str
    templates: tuple[str, ...]
    namespace: str
    aliases: tuple[str, ...]
    valid_from: str | None
    valid_to: str | None
    qualifier: str


@dataclass(frozen=True, slots=True)
class Terms:
    """Where and when a fact holds: from `start` until before `end`, None where there is no
    bound."""

    namespace: str
    aliases: tuple[str, ...]
    valid_from: str | None
    valid_to: str | None
    qualifier: str
    start: datetime | None
    end: datetime | None

    @classmethod
    def of(
        cls,
        namespace: str,
        aliases: Sequence[str],
        valid_from: str | None,
        valid_to: str | None,
        qualifier: str,
    ) -> Terms:
        """The terms by a fact's fields."""
        start = parse_time(valid_from) if valid_from else None
        end = parse_time(valid_to) if valid_to else None
        return cls(namespace, tuple(aliases), valid_from, valid_to, qualifier, start, end)

    @property
    def timed(self) -> bool:
        """Whether it holds for a part of time only."""
        return self.start is not None or self.end is not None

    def hold_at(self, moment: datetime) -> bool:
        """Whether the fact holds at an aware moment."""
        return (self.start is None or self.start <= moment) and (
            self.end is None or moment < self.end
        )


class Base:
    """Rows of facts, numbered from 0 in the order of their keys in the ledger; `data` is a base
    file.

    Attributes:
        head: from the header: `generation`, `event` and `chain` of the ledger when the base was
            made, `folding`, `longest`.
        arrays: as in the file (build.py).
        keys: the ledger's key of each row, ascending.
        reach: by a word's bucket, the most words of a name that begins with such a word; its
            length is a power of two.
        begins: the same for what `beginnings` tell.

    Raises:
        Unusable: the bytes are damaged or of another format.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self.arrays, self.head = unpack(memoryview(data))
        arrays = self.arrays
        try:
            self.keys: Sequence[int] = arrays["key"]
            self.reach, self.begins = arrays["reach"], arrays["begins"]
            self.longest = int(self.head["longest"])
            self.generation = int(self.head["generation"])
            self._names, self._starts = arrays["name"], arrays["start"]
            self._postings = arrays["posting"]
            self._columns = [arrays[name] for name in ("subject", "object", "template", "terms")]
            self._templates, self._terms = arrays["templates"], arrays["termses"]
            self._ids = arrays["id"]
            self._odd, self._odd_ids = arrays["odd"], arrays["odd_id"]
            self._offsets, self._blob = arrays["offset"], arrays["text"]
            self._plain, self._plain_names = arrays["plain"], arrays["plain_name"]
            self._words = arrays["word"]
            self._deletions, self._deleted = arrays["deletion"], arrays["deletion_word"]
        except KeyError as error:
            raise Unusable(f"no {error}") from error
        self.count = len(self.keys)
        self.templates = lru_cache(CACHED)(self._read_templates)
        self.terms_at = lru_cache(CACHED)(self._read_terms)

    def rows(self, name: int) -> Sequence[int]:
        """The rows of the facts with a name, by its key."""
        names = self._names
        at = bisect_left(names, name)
        if at == len(names) or names[at] != name:
            return ()
        return self._postings[self._starts[at] : self._starts[at + 1]]

    def near_rows(self, text: str) -> Iterator[int]:
        """The rows of the facts with a name of this plain text; hashes may add others."""
        for name in _found(self._plain, self._plain_names, word_bucket(text)):
            yield from self._postings[self._starts[name] : self._starts[name + 1]]

    def near_words(self, word: str) -> set[str]:
        """The words of names that differ from one in one letter, and maybe others."""
        return {
            self._text(self._words[number])
            for left in deletion_hashes(word)
            for number in _found(self._deletions, self._deleted, left)
        }

    def row_of(self, key: int) -> int | None:
        """The row with this key of the ledger, if any."""
        at = bisect_left(self.keys, key)
        return at if at < self.count and self.keys[at] == key else None

    def terms(self, row: int) -> Terms:
        """Where and when the fact of a row holds."""
        found: Terms = self.terms_at(self._columns[3][row])
        return found

    def spellings(self, row: int) -> tuple[str, ...]:
        """The subject of a row, and its aliases."""
        return (self._text(self._columns[0][row]), *self.terms(row).aliases)

    def fact(self, row: int) -> IndexedFact:
        """The fact of a row."""
        subject, object_, template, _ = (column[row] for column in self._columns)
        terms = self.terms(row)
        return IndexedFact(
            id=self._id(row),
            subject=self._text(subject),
            object=self._text(object_),
            templates=self.templates(template),
            namespace=terms.namespace,
            aliases=terms.aliases,
            valid_from=terms.valid_from,
            valid_to=terms.valid_to,
            qualifier=terms.qualifier,
        )

    def count_within(self, namespaces: frozenset[str]) -> int:
        """How many rows are of these namespaces."""
        wanted = [
            self._read_terms(place).namespace in namespaces for place in range(len(self._terms))
        ]
        return sum(map(wanted.__getitem__, self._columns[3]))

    def _id(self, row: int) -> str:
        at = bisect_left(self._odd, row)
        if at < len(self._odd) and self._odd[at] == row:
            return self._text(self._odd_ids[at])
        return f"{self._ids[row]:016x}"

    def _text(self, place: int) -> str:
        start, end = self._offsets[place], self._offsets[place + 1]
        return str(self._blob[start:end], "utf-8", "surrogatepass")

    def _read_templates(self, place: int) -> tuple[str, ...]:
        return tuple(json.loads(self._text(self._templates[place])))

    def _read_terms(self, place: int) -> Terms:
        fields: list[Any] = json.loads(self._text(self._terms[place]))
        return Terms.of(*fields)


def _found(keys: Sequence[int], values: Sequence[int], key: int) -> Iterator[int]:
    at = bisect_left(keys, key)
    while at < len(keys) and keys[at] == key:
        yield values[at]
        at += 1

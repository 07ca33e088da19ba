"""From a base and what changed since to the bytes of a new base, without reading the ledger again.

Of rows that ended nothing is left, and no text, wording or terms that only they had. A million
facts take a second or two, most of it outside of Python's interpreter.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from revisor.facts.following import Row
from revisor.index.base import Base, IndexedFact
from revisor.index.basefile import narrow, pack
from revisor.index.build import build, postings
from revisor.index.keys import folding
from revisor.index.near import NearPart, merged_near


def merged(
    base: Base, ended: Collection[int], added: Mapping[int, IndexedFact], **head: Any
) -> bytes:
    """The bytes of a new base without the rows `ended`, with the facts `added` by ledger key;
    `head` (`generation`, `event`, `chain`) goes into the header."""
    other = Base(build(_rows(added), **head))
    parts = (_Part(base, ended), _Part(other, ()))
    longest = max(base.longest if len(parts[0].rows) else 0, other.longest)
    return pack(_arrays(*parts), {**head, "folding": folding(), "longest": longest})


def _rows(added: Mapping[int, IndexedFact]) -> Iterator[Row]:
    for key in sorted(added):
        fact = added[key]
        yield Row(
            key=key,
            fact_id=fact.id,
            subject=fact.subject,
            object=fact.object,
            prompt=fact.templates[0],
            paraphrases=json.dumps(fact.templates[1:]),
            aliases=json.dumps(fact.aliases),
            valid_from=fact.valid_from,
            valid_to=fact.valid_to,
            namespace=fact.namespace,
            qualifier=fact.qualifier,
        )


class _Part:
    """A base of which `rows`, ascending, are kept; by a text's number, `used` tells whether it is
    still needed, `places` its new number (set by `_texts`)."""

    def __init__(self, base: Base, ended: Collection[int]) -> None:
        self.arrays = {name: np.asarray(array) for name, array in base.arrays.items()}
        kept = np.ones(base.count, dtype=bool)
        kept[np.fromiter(ended, dtype=np.int64, count=len(ended))] = False
        self.rows = np.flatnonzero(kept)
        self.used = np.zeros(len(self.arrays["offset"]) - 1, dtype=bool)
        self.places = np.zeros(0, dtype=np.uint32)

    def column(self, name: str) -> np.ndarray:
        return self.arrays[name][self.rows]

    def text(self, place: int) -> bytes:
        start, end = self.arrays["offset"][place : place + 2].tolist()
        return self.arrays["text"][start:end].tobytes()


def _arrays(*parts: _Part) -> dict[str, np.ndarray]:
    keys = np.concatenate([part.column("key").astype(np.uint64) for part in parts])
    order = np.argsort(keys, kind="stable")
    rank = np.empty(len(order), dtype=np.uint32)
    rank[order] = np.arange(len(order), dtype=np.uint32)
    ranks = np.split(rank, [len(parts[0].rows)])
    template, templates = _table(parts, "template", "templates")
    terms, termses = _table(parts, "terms", "termses")
    odd, odd_ids = _odd_ids(parts, ranks)
    near = _near_parts(parts)
    for part in parts:
        for name in ("subject", "object"):
            part.used[part.column(name)] = True
    texts = _texts(parts)
    names = _names(parts, ranks)
    words = [part.places[one.places()] for part, one in zip(parts, near, strict=True)]
    return {
        "key": narrow(keys[order]),
        **{
            name: narrow(np.concatenate([part.places[part.column(name)] for part in parts])[order])
            for name in ("subject", "object")
        },
        "template": narrow(template[order]),
        "terms": narrow(terms[order]),
        "id": np.concatenate([part.column("id") for part in parts])[order],
        "odd": odd,
        "odd_id": _placed(parts, odd_ids),
        "templates": _placed(parts, templates),
        "termses": _placed(parts, termses),
        **names,
        "reach": _reach(parts),
        **merged_near(*near, names["name"], np.concatenate(words)),
        **texts,
    }


def _table(
    parts: tuple[_Part, ...], column: str, table: str
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """A column of both parts that points into a new table of texts, and that table: each entry in
    use once, as (part, text number)."""
    numbers: dict[bytes, int] = {}
    entries: list[tuple[int, int]] = []
    columns = []
    for which, part in enumerate(parts):
        values, inverse = np.unique(part.column(column), return_inverse=True)
        turned = np.empty(len(values), dtype=np.uint32)
        for number, value in enumerate(values.tolist()):
            place = int(part.arrays[table][value])
            text = part.text(place)
            if text not in numbers:
                numbers[text] = len(numbers)
                entries.append((which, place))
                part.used[place] = True
            turned[number] = numbers[text]
        columns.append(turned[inverse])
    return np.concatenate(columns), entries


def _odd_ids(
    parts: tuple[_Part, ...], ranks: list[np.ndarray]
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """New rows, ascending, whose ids are texts, and those texts."""
    found: list[tuple[int, tuple[int, int]]] = []
    for which, (part, rank) in enumerate(zip(parts, ranks, strict=True)):
        at = np.searchsorted(part.rows, part.arrays["odd"])
        for place, row, text in zip(
            at.tolist(), part.arrays["odd"].tolist(), part.arrays["odd_id"].tolist(), strict=True
        ):
            if place < len(part.rows) and part.rows[place] == row:
                part.used[text] = True
                found.append((int(rank[place]), (which, text)))
    found.sort()
    return np.array([row for row, _ in found], dtype=np.uint32), [text for _, text in found]


def _texts(parts: tuple[_Part, ...]) -> dict[str, np.ndarray]:
    """The texts in use, the second part's behind the first's; sets `places` of each part."""
    pieces: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    count = 0
    for part in parts:
        part.places = (np.cumsum(part.used) + (count - 1)).astype(np.uint32)
        count += int(part.used.sum())
        offset, text = part.arrays["offset"].astype(np.int64), part.arrays["text"]
        lengths.append(np.diff(offset)[part.used])
        edges = np.flatnonzero(np.diff(part.used.astype(np.int8), prepend=0, append=0))
        for start, end in edges.reshape(-1, 2).tolist():
            pieces.append(text[offset[start] : offset[end]])
    ends = np.cumsum(np.concatenate([[0], *lengths]), dtype=np.int64)
    return {
        "offset": narrow(ends),
        "text": np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.uint8),
    }


def _placed(parts: tuple[_Part, ...], entries: list[tuple[int, int]]) -> np.ndarray:
    return np.array([parts[which].places[place] for which, place in entries], dtype=np.uint32)


def _names(parts: tuple[_Part, ...], ranks: list[np.ndarray]) -> dict[str, np.ndarray]:
    names, rows = [], []
    for part, rank in zip(parts, ranks, strict=True):
        starts = part.arrays["start"].astype(np.int64)
        named = part.arrays["posting"]
        new = np.full(len(part.arrays["key"]), -1, dtype=np.int64)
        new[part.rows] = rank
        kept = new[named] >= 0
        names.append(np.repeat(part.arrays["name"], starts[1:] - starts[:-1])[kept])
        rows.append(new[named][kept].astype(np.uint32))
    return postings(np.concatenate(names), np.concatenate(rows))


def _near_parts(parts: tuple[_Part, ...]) -> tuple[NearPart, NearPart]:
    """What each part gives to look-ups of names written otherwise; marks their words as used."""
    found = []
    for part in parts:
        kept_row = np.zeros(len(part.arrays["key"]), dtype=bool)
        kept_row[part.rows] = True
        starts = part.arrays["start"].astype(np.int64)
        named = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        kept = np.zeros(len(starts) - 1, dtype=bool)
        kept[named[kept_row[part.arrays["posting"]]]] = True
        found.append(NearPart(part.arrays, kept))
    first, second = found
    theirs = [parts[1].text(place) for place in parts[1].arrays["word"].tolist()]
    first.share(second, parts[0].text, theirs)
    for part, one in zip(parts, found, strict=True):
        part.used[one.places()] = True
    return first, second


def _reach(parts: tuple[_Part, ...]) -> np.ndarray:
    """By bucket the longer reach of both; words whose names are gone keep theirs."""
    tables = [part.arrays["reach"] for part in parts]
    size = max(map(len, tables))
    first, second = (np.tile(table, size // len(table)) for table in tables)
    longer: np.ndarray = np.maximum(first, second)
    return longer

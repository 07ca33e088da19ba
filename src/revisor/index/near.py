"""The arrays by which names are found that are written otherwise than in the facts.

`plain` are hashes of plain texts, ascending, and `plain_name` the names that have them, as places
in `name`. `begins` tells by a hash's bucket how names begin (`beginnings`). `word` are the words in
which a letter may be wrong, as numbers of texts; `deletion` are hashes of these words without one
letter, ascending, and `deletion_word` the words. The words of the name at a place are those of
`spelled` from `spelled_start` on.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from zlib import crc32

import numpy as np

from revisor.index.basefile import narrow
from revisor.index.keys import word_bucket
from revisor.language.spelling import (
    WHOLE,
    Spelling,
    beginnings,
    corrected_words,
    deletions,
    plain_texts,
)

_BUCKETS_A_BEGINNING = 8  # or more: of other texts a tenth looks like one
_BUCKETS = 4_096  # at least
_UINT32 = np.uint64(32)


class NearNames:
    """What is collected of each name."""

    def __init__(self) -> None:
        self._plain, self._plain_key = array("I"), array("Q")
        self._begins, self._tells = array("I"), array("B")
        self._spelled, self._spelled_key = array("I"), array("Q")
        self._words: dict[str, int] = {}

    def add(self, spelled: Spelling, key: int) -> None:
        """Take a name whose words have a key."""
        for text in plain_texts(spelled):
            self._plain.append(word_bucket(text))
            self._plain_key.append(key)
        for text, tells in beginnings(spelled).items():
            self._begins.append(word_bucket(text))
            self._tells.append(tells)
        words = self._words
        for word in corrected_words(spelled):
            self._spelled.append(words.setdefault(word, len(words)))
            self._spelled_key.append(key)

    def arrays(self, names: np.ndarray, place: Callable[[str], int]) -> dict[str, np.ndarray]:
        """All arrays for names with these ascending keys; `place` gives the number of a text."""
        places = np.array([place(word) for word in self._words], dtype=np.uint32)
        hashes, of = _deletions(self._words)
        plain_name = np.searchsorted(names, np.array(self._plain_key, dtype=np.uint64))
        spelled_name = np.searchsorted(names, np.array(self._spelled_key, dtype=np.uint64))
        return {
            **_pairs("plain", "plain_name", np.array(self._plain, dtype=np.uint32), plain_name),
            "begins": self._table(),
            "word": narrow(places),
            **_pairs("deletion", "deletion_word", hashes, of),
            **_spelled(spelled_name, np.array(self._spelled, dtype=np.uint32), len(names)),
        }

    def _table(self) -> np.ndarray:
        hashes = np.array(self._begins, dtype=np.uint32)
        count = len(np.unique(hashes))
        size = 1 << (max(_BUCKETS, count * _BUCKETS_A_BEGINNING) - 1).bit_length()
        tells = np.array(self._tells, dtype=np.uint8)
        buckets = hashes & np.uint32(size - 1)
        reach, whole = np.zeros(size, dtype=np.uint8), np.zeros(size, dtype=np.uint8)
        np.maximum.at(reach, buckets, tells % WHOLE)
        whole[buckets[tells >= WHOLE]] = WHOLE
        return reach | whole


def both_tell(one: int, other: int) -> int:
    """What the beginnings of two names tell together: the longer reach, and if either is whole."""
    return max(one % WHOLE, other % WHOLE) | (one | other) & WHOLE


class NearPart:
    """The names of a base of which some are `kept` (by place); by a word's number, `used` tells
    whether they have it, `numbers` its new number (set by `share`)."""

    def __init__(self, arrays: Mapping[str, np.ndarray], kept: np.ndarray) -> None:
        self.arrays, self.kept = arrays, kept
        starts = arrays["spelled_start"].astype(np.int64)
        self._names = np.repeat(np.arange(len(kept)), np.diff(starts))
        self.used = np.zeros(len(arrays["word"]), dtype=bool)
        self.used[arrays["spelled"][kept[self._names]]] = True
        self.numbers = np.zeros(0, dtype=np.uint32)

    def share(self, other: NearPart, text: Callable[[int], bytes], theirs: Sequence[bytes]) -> None:
        """Give words that are also in another part, whose words are `theirs`, the same numbers;
        `text` gives a text of this part."""
        hashes = np.array([crc32(word) for word in theirs], dtype=np.uint32)
        deletion, words = self.arrays["deletion"], self.arrays["deletion_word"]
        first = np.searchsorted(deletion, hashes)
        last = np.searchsorted(deletion, hashes, side="right")
        mine = np.full(len(theirs), -1, dtype=np.int64)
        for number in np.flatnonzero(last > first).tolist():
            for word in words[first[number] : last[number]].tolist():
                if text(int(self.arrays["word"][word])) == theirs[number]:
                    mine[number] = word
        self.used[mine[mine >= 0]] = True
        self.numbers = (np.cumsum(self.used) - 1).astype(np.uint32)
        other.used = mine < 0
        count = int(self.used.sum())
        other.numbers = (np.cumsum(other.used) + (count - 1)).astype(np.uint32)
        other.numbers[mine >= 0] = self.numbers[mine[mine >= 0]]

    def places(self) -> np.ndarray:
        """The numbers of texts of the words that this part gives the new base."""
        return self.arrays["word"][self.used]

    def named(self, names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The plain texts' hashes of kept names, and their places among all `names` (ascending
        keys)."""
        kept = self.kept[self.arrays["plain_name"]]
        return self.arrays["plain"][kept], self._new(names)[self.arrays["plain_name"][kept]]

    def spelled(self, names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The places of kept names among all, and the new numbers of their words."""
        kept = self.kept[self._names]
        return self._new(names)[self._names[kept]], self.numbers[self.arrays["spelled"][kept]]

    def deleted(self) -> tuple[np.ndarray, np.ndarray]:
        """The deletions' hashes of the words that this part gives, and the words' new numbers."""
        words = self.arrays["deletion_word"]
        kept = self.used[words]
        return self.arrays["deletion"][kept], self.numbers[words[kept]]

    def _new(self, names: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.searchsorted(names, self.arrays["name"])
        return found


def merged_near(
    first: NearPart, second: NearPart, names: np.ndarray, words: np.ndarray
) -> dict[str, np.ndarray]:
    """The arrays of both parts' names, from all names' keys, ascending, and all words' new
    numbers."""

    def joined(
        one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        return np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]])

    tables = [part.arrays["begins"] for part in (first, second)]
    size = max(map(len, tables))
    one, other = (np.tile(table, size // len(table)) for table in tables)
    return {
        **_pairs("plain", "plain_name", *joined(first.named(names), second.named(names))),
        "begins": np.maximum(one % WHOLE, other % WHOLE) | (one | other) & WHOLE,
        "word": narrow(words),
        **_pairs("deletion", "deletion_word", *joined(first.deleted(), second.deleted())),
        **_spelled(*joined(first.spelled(names), second.spelled(names)), len(names)),
    }


def _pairs(key: str, value: str, keys: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
    """Two columns, in order and each pair once."""
    pairs = np.sort(keys.astype(np.uint64) << _UINT32 | values.astype(np.uint64))
    pairs = pairs[np.append(True, pairs[1:] != pairs[:-1])[: len(pairs)]]
    return {key: (pairs >> _UINT32).astype(np.uint32), value: narrow(pairs.astype(np.uint32))}


def _spelled(names: np.ndarray, words: np.ndarray, count: int) -> dict[str, np.ndarray]:
    pairs = _pairs("name", "word", names, words)
    starts = np.searchsorted(pairs["name"], np.arange(count + 1))
    return {"spelled": pairs["word"], "spelled_start": narrow(starts)}


def _deletions(words: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    hashes, of = array("I"), array("I")
    for number, word in enumerate(words):
        found = deletion_hashes(word)
        hashes.extend(found)
        of.extend([number] * len(found))
    return np.array(hashes, dtype=np.uint32), np.array(of, dtype=np.uint32)


def deletion_hashes(word: str) -> list[int]:
    """The hashes of a word's deletions (`deletions`)."""
    if not word.isascii():
        return [word_bucket(one) for one in deletions(word)]
    data = word.encode()
    return [crc32(one) for one in {data, *(data[:at] + data[at + 1 :] for at in range(len(data)))}]

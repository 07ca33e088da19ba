"""Names found in a text that grows, word by word."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence, Set
from typing import Generic, TypeVar

from revisor.language.names import (
    Hit,
    Mention,
    Names,
    ending,
    may_join,
    named,
    resolve,
    settle,
)
from revisor.language.near import Near, facts_near
from revisor.language.paths import Path, paths_at
from revisor.language.spelling import is_company_form
from revisor.language.words import Word, words

_What = TypeVar("_What")
_FORMS = 4  # words of the legal forms behind a name


class _Found(Generic[_What]):
    """Names by the places (`firsts`) of their first words; the longest has had `longest` words."""

    def __init__(self) -> None:
        self.firsts: list[int] = []
        self.longest = 0
        self._at: dict[int, list[tuple[int, _What]]] = {}

    def add(self, first: int, size: int, what: _What) -> None:
        if first not in self._at:
            insort(self.firsts, first)
        self._at.setdefault(first, []).append((size, what))
        self.longest = max(self.longest, size)

    def at(self, first: int) -> list[tuple[int, _What]]:
        return self._at[first]

    def between(self, begin: int, stop: int) -> list[int]:
        """The places from one on, before another."""
        return self.firsts[bisect_left(self.firsts, begin) : bisect_left(self.firsts, stop)]

    def drop(self, count: int) -> int:
        """Forget names that do not end within the first so many words; returns how many."""
        dropped = 0
        for place in range(len(self.firsts) - 1, -1, -1):
            first = self.firsts[place]
            if first + self.longest <= count:
                break
            kept = [one for one in self._at[first] if first + one[0] <= count]
            dropped += len(self._at[first]) - len(kept)
            self._at[first] = kept
            if not kept:
                del self._at[first], self.firsts[place]
        return dropped

    def copy(self) -> _Found[_What]:
        other: _Found[_What] = _Found()
        other.firsts, other.longest = self.firsts.copy(), self.longest
        other._at = {first: found.copy() for first, found in self._at.items()}
        return other


class NameReader:
    """Finds names in a text that grows: the same as `mentions`, word by word."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self.words: list[Word] = []
        self._starts: list[int] = []
        # Of each word the names that may be under way at it: where they begin, and end at last.
        self._under_way: list[tuple[tuple[int, int], ...]] = []
        self._paths: list[Sequence[Path]] = []  # the same of names that are written otherwise
        self._exact: _Found[Sequence[int]] = _Found()
        self._near: _Found[Sequence[Near]] = _Found()
        self.version = 0

    def read(self, text: str) -> None:
        """Read on: what was read so far must be the beginning of `text`."""
        found = words(text, self.words[-1].start if self.words else 0)
        if self.words and found[:1] == self.words[-1:]:
            del found[0]
        elif self.words:
            # The last word has grown, and what was found to end with it may be none.
            self._pop()
            self._drop(len(self.words))
        for word in found:
            self.words.append(word)
            self._starts.append(word.start)
            self._ending(text, len(self.words) - 1)

    def _ending(self, text: str, last: int) -> None:
        """Remember the names that end with a word, and those that may go on behind it."""
        names, read = self._names, self.words
        reach = names.reach(read[last].text)
        under_way: tuple[tuple[int, int], ...] = ((last, last + max(reach, 1) - 1),)
        if last and self._under_way[-1]:
            earlier = tuple(one for one in self._under_way[-1] if one[1] >= last)
            if earlier and may_join(text, read[last - 1], read[last]):
                under_way = earlier + under_way
        exact = set()
        for first, _ in under_way:
            handles = named(text, read, first, last - first + 1, names, reach)
            if handles:
                if not ending(read, first, last - first + 1, names):
                    exact.add(first)
                self._exact.add(first, last - first + 1, handles)
                self.version += 1
        self._under_way.append(under_way if reach > 1 else under_way[:-1])
        paths = paths_at(self._paths[-1] if last else (), text, read, last, names)
        self._paths.append(paths)
        for path in paths:
            first = path.places[0]
            facts = facts_near(path, text, read, names) if first not in exact else []
            if facts:
                self._near.add(first, last - first + 1, facts)
                self.version += 1

    def crop(self, length: int) -> None:
        """Forget what stands behind the first so many characters."""
        while self.words and self.words[-1].end > length:
            self._pop()
        self._drop(len(self.words))

    def fork(self) -> NameReader:
        """Another reader that has read the same."""
        other = NameReader(self._names)
        other.words, other._starts = self.words.copy(), self._starts.copy()
        other._under_way, other._paths = self._under_way.copy(), self._paths.copy()
        other._exact, other._near = self._exact.copy(), self._near.copy()
        other.version = self.version
        return other

    def _pop(self) -> None:
        self.words.pop()
        self._starts.pop()
        self._under_way.pop()
        self._paths.pop()

    def _drop(self, count: int) -> None:
        self.version += self._exact.drop(count) + self._near.drop(count)

    @property
    def any(self) -> bool:
        """Whether any name was found."""
        return bool(self._exact.firsts or self._near.firsts)

    def handles(self, start: int) -> set[int]:
        """Handles of the facts about every name from a place on, even if it is none in the end."""
        begin, stop = bisect_left(self._starts, start), len(self.words)
        exact = {
            handle
            for first in self._exact.between(begin, stop)
            for _, handles in self._exact.at(first)
            for handle in handles
        }
        return exact.union(
            one.handle
            for first in self._near.between(begin, stop)
            for _, facts in self._near.at(first)
            for one in facts
        )

    def state(self, start: int) -> tuple[int, int]:
        """Changes whenever the names from a place on change."""
        begin = bisect_left(self._starts, start)
        exact, near = self._exact.firsts, self._near.firsts
        return self.version, bisect_left(exact, begin) + bisect_left(near, begin)

    def parts(self, end: int) -> bool:
        """Whether a place lies between two words and not within one."""
        at = bisect_left(self._starts, end) - 1
        return at < 0 or self.words[at].end <= end

    def ends_before(self, behind: int) -> bool:
        """Whether a name, with or without legal forms, ends where just so many words are left."""
        end = len(self.words) - behind
        ends = {end}
        for at in range(end - 1, max(end - 1 - _FORMS, -1), -1):
            word = self.words[at].text
            if len(word) > 1 and not is_company_form(word, word.upper()):
                break
            ends.add(at)
        return _ends_at(self._exact, ends, end) or _ends_at(self._near, ends, end)

    def mentions(self, text: str, start: int = 0, end: int | None = None) -> list[Mention]:
        """The mentions between two places, which lie between words; their places are from
        `start`."""
        if not self.any:
            return []
        starts, exact = self._starts, self._exact
        begin = bisect_left(starts, start)
        stop = len(starts) if end is None else bisect_left(starts, end)
        text, read = text[:end], self.words[:stop]

        def names_at(at: int) -> list[Hit]:
            return [hit for hit in exact.at(at) if at + hit[0] <= stop]

        firsts = exact.between(begin, stop)
        found = resolve(text, read, firsts, names_at, self._names, begin, start)
        near = {
            first: hits
            for first in self._near.between(begin, stop)
            if (hits := [hit for hit in self._near.at(first) if first + hit[0] <= stop])
        }
        return settle(text, read, near, found, self._names, begin, start)


def _ends_at(found: _Found[_What], ends: Set[int], last: int) -> bool:
    """Whether a name ends at one of some places between words, of which `last` is the last."""
    for first in reversed(found.firsts[-64:]):
        if first + found.longest + _FORMS < last:
            return False
        if any(first + size in ends for size, _ in found.at(first)):
            return True
    return False

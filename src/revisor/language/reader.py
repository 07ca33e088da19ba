"""Names found in a text that grows, word by word."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from revisor.language.lexicon import lexicon
from revisor.language.names import Hit, Mention, Names, may_join, named, resolve
from revisor.language.words import Word, words


class NameReader:
    """Finds names in a text that grows: the same as `mentions`, word by word.

    Args:
        names: what they are looked up in.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self.words: list[Word] = []
        self._starts: list[int] = []
        # Of each word the names that may be under way at it: where they begin, and end at last.
        self._under_way: list[tuple[tuple[int, int], ...]] = []
        self._hits: dict[int, list[tuple[int, Sequence[int]]]] = {}
        self._firsts: list[int] = []
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
        for first, _ in under_way:
            handles = named(text, read, first, last - first + 1, names, reach)
            if handles:
                if first not in self._hits:
                    insort(self._firsts, first)
                self._hits.setdefault(first, []).append((last - first + 1, handles))
                self.version += 1
        self._under_way.append(under_way if reach > 1 else under_way[:-1])

    def crop(self, length: int) -> None:
        """Forget what stands behind the first so many characters."""
        while self.words and self.words[-1].end > length:
            self._pop()
        self._drop(len(self.words))

    def fork(self) -> NameReader:
        """Another reader that has read the same."""
        other = NameReader(self._names)
        other.words, other._starts = self.words.copy(), self._starts.copy()
        other._under_way, other._firsts = self._under_way.copy(), self._firsts.copy()
        other._hits = {first: hits.copy() for first, hits in self._hits.items()}
        other.version = self.version
        return other

    def _pop(self) -> None:
        self.words.pop()
        self._starts.pop()
        self._under_way.pop()

    def _drop(self, count: int) -> None:
        """Forget the names that do not end within the first so many words."""
        for place in range(len(self._firsts) - 1, -1, -1):
            first = self._firsts[place]
            if first + self._names.longest <= count:
                return
            hits = self._hits[first]
            while hits and first + hits[-1][0] > count:
                hits.pop()
                self.version += 1
            if not hits:
                del self._hits[first], self._firsts[place]

    @property
    def any(self) -> bool:
        """Whether any name was found."""
        return bool(self._hits)

    def handles(self, start: int) -> set[int]:
        """Of the facts about every name, also one within another, from a place on."""
        firsts = self._firsts[bisect_left(self._firsts, bisect_left(self._starts, start)) :]
        return {
            handle for first in firsts for _, handles in self._hits[first] for handle in handles
        }

    def state(self, start: int) -> tuple[int, int]:
        """Changes with the names that stand from a place on."""
        return self.version, bisect_left(self._firsts, bisect_left(self._starts, start))

    def parts(self, end: int) -> bool:
        """Whether a place lies between two words and not within one."""
        at = bisect_left(self._starts, end) - 1
        return at < 0 or self.words[at].end <= end

    def ends_before(self, behind: int) -> bool:
        """Whether a name ends where just so many words are left, or a company's form behind it."""
        end = len(self.words) - behind
        ends = {end}
        if end > 0 and self.words[end - 1].text in lexicon().company_forms:
            ends.add(end - 1)
        for first in reversed(self._firsts[-64:]):
            if first + self._names.longest + 1 < end:
                return False
            if any(first + count in ends for count, _ in self._hits[first]):
                return True
        return False

    def mentions(self, text: str, start: int = 0, end: int | None = None) -> list[Mention]:
        """The names found between two places, neither of which lies within a word; their places
        are counted from the first.

        Args:
            text: what was read, at least up to `end`.
        """
        if not self._hits:
            return []
        hits, starts = self._hits, self._starts
        begin = bisect_left(starts, start)
        stop = len(starts) if end is None else bisect_left(starts, end)
        firsts = self._firsts[bisect_left(self._firsts, begin) : bisect_left(self._firsts, stop)]

        def names_at(at: int) -> list[Hit]:
            return [hit for hit in hits[at] if at + hit[0] <= stop]

        return resolve(text[:end], self.words[:stop], firsts, names_at, self._names, begin, start)

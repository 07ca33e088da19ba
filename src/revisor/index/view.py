"""What is found at one generation, in some namespaces, at a moment or as time goes on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from zlib import crc32

from revisor.errors import StoreDamaged, UsageError
from revisor.index.base import Base, IndexedFact, Terms
from revisor.index.basefile import Unusable
from revisor.index.keys import name_key
from revisor.index.near import both_tell
from revisor.index.overlay import Overlay
from revisor.language.spelling import deletions, is_one_edit

_REMEMBERED = 1 << 14  # words that were put right
_ANY_LENGTH = 255  # what a base writes for names of as many words, or more


class View:
    """The facts of a generation. Immutable; may be used by several threads.

    A fact's handle is a number that means it in this view only; its id means it everywhere. Later
    steps of the overlay are not seen. `moment` is what is taken for now, None for the clock's;
    `namespaces` None means all.

    Attributes:
        generation: the ledger's generation that it shows.
        longest: the most words of a name; 0 if there is no fact.

    Raises:
        UsageError: the moment has no time zone.
    """

    __slots__ = (
        "_base",
        "_begins_mask",
        "_corrections",
        "_count",
        "_ended",
        "_first_words",
        "_mask",
        "_moment",
        "_namespaces",
        "_overlay",
        "_reach",
        "_step",
        "generation",
        "longest",
    )

    def __init__(
        self,
        base: Base,
        overlay: Overlay,
        *,
        generation: int,
        moment: datetime | None = None,
        namespaces: Collection[str] | None = None,
    ) -> None:
        if moment is not None and moment.tzinfo is None:
            raise UsageError(f"The moment {moment} has no time zone.", "Give it one, such as UTC.")
        self._base, self._overlay = base, overlay
        self._step = overlay.step
        self._count = overlay.alive
        self._ended, self._first_words = overlay.ended, overlay.first_words
        self._reach, self._mask = base.reach, len(base.reach) - 1
        self._begins_mask = len(base.begins) - 1
        self._corrections: dict[str, tuple[str, ...]] = {}
        self._moment = moment
        self._namespaces = None if namespaces is None else frozenset(namespaces)
        self.generation = generation
        self.longest = overlay.longest if self._count else 0

    @classmethod
    def of(cls, data: bytes | memoryview) -> View:
        """The view of a snapshot (`FactIndex.snapshot`), without a ledger; StoreDamaged if
        unusable."""
        try:
            base = Base(data)
        except Unusable as error:
            raise StoreDamaged(
                f"The index of the facts cannot be used: {error}.", "Export it again."
            ) from error
        return cls(base, Overlay(base), generation=base.generation)

    def __len__(self) -> int:
        """How many facts the generation has in the namespaces, whenever they hold."""
        if self._namespaces is None:
            return self._count
        base, overlay, wanted = self._base, self._overlay, self._namespaces
        count = base.count_within(wanted)
        for row, step in list(self._ended.items()):
            count -= step <= self._step and base.terms(row).namespace in wanted
        for number in range(len(overlay.born)):
            count += self._is_alive(number) and overlay.terms[number].namespace in wanted
        return count

    def begins(self, word: str) -> bool:
        """Whether a name may begin with this folded word. Never False where one does."""
        return (
            self._reach[crc32(word.encode("utf-8", "surrogatepass")) & self._mask] != 0
            or word in self._first_words
        )

    def reach(self, word: str) -> int:
        """How many words a name that begins with this folded word has at most; 0 if none does."""
        found = self._reach[crc32(word.encode("utf-8", "surrogatepass")) & self._mask]
        found = max(found, self._first_words.get(word, 0))
        return self.longest if found == _ANY_LENGTH else found

    def beginning(self, text: str) -> int:
        """What `beginnings` tell of a text for any name, or more; 0 only where none begins so."""
        base = self._base.begins[crc32(text.encode("utf-8", "surrogatepass")) & self._begins_mask]
        own = self._overlay.begins.get(text)
        return base if own is None else both_tell(base, own)

    def corrections(self, word: str) -> Sequence[str]:
        """The words of names one letter away, maybe with those of names that are gone; cached."""
        known = self._corrections.get(word)
        if known is None:
            found = self._base.near_words(word)
            for left in deletions(word):
                found.update(self._overlay.words.get(left, ()))
            known = tuple(sorted(one for one in found if is_one_edit(word, one)))
            if len(self._corrections) >= _REMEMBERED:
                self._corrections.clear()
            self._corrections[word] = known
        return known

    def near(self, text: str) -> Sequence[int]:
        """Handles of the facts in the namespaces with a name of this plain text, and maybe
        others."""
        found = self._living(self._base.near_rows(text), self._overlay.plain.get(text, ()))
        return list(dict.fromkeys(found))

    def find(self, words: Sequence[str]) -> Sequence[int]:
        """Handles of the facts in the namespaces with a name or alias of exactly these folded
        words, whenever they hold (`terms`); in no particular order."""
        key = name_key(words)
        rows = self._base.rows(key)
        numbers = self._overlay.names.get(key)
        if not rows and numbers is None:
            return ()
        return self._living(rows, numbers or ())

    def _living(self, rows: Iterable[int], numbers: Iterable[int]) -> list[int]:
        """The handles of those rows and overlay numbers that are in this view."""
        step, ended, first = self._step, self._ended, self._base.count
        found = [row for row in rows if ended.get(row, step + 1) > step]
        found += [first + number for number in numbers if self._is_alive(number)]
        if self._namespaces is None:
            return found
        return [handle for handle in found if self.terms(handle).namespace in self._namespaces]

    def now(self) -> datetime:
        """The moment of the view; where it has none, that of the call."""
        return self._moment or datetime.now(UTC)

    def fact(self, handle: int) -> IndexedFact:
        """The fact of a handle that `find` gave."""
        base = self._base
        if handle < base.count:
            return base.fact(handle)
        return self._overlay.facts[handle - base.count]

    def terms(self, handle: int) -> Terms:
        """Where and when the fact of a handle holds."""
        base = self._base
        if handle < base.count:
            return base.terms(handle)
        return self._overlay.terms[handle - base.count]

    def spellings(self, handle: int) -> tuple[str, ...]:
        """The names of a fact as they are written: its subject, then its aliases."""
        base = self._base
        if handle < base.count:
            return base.spellings(handle)
        fact = self._overlay.facts[handle - base.count]
        return (fact.subject, *fact.aliases)

    def owner(self, handle: int) -> tuple[str, str, str]:
        """The subject of a fact, its namespace and its qualifier."""
        terms = self.terms(handle)
        return self.spellings(handle)[0], terms.namespace, terms.qualifier

    def narrowed(
        self, *, moment: datetime | None = None, namespaces: Collection[str] | None = None
    ) -> View:
        """The same facts at a moment and in namespaces, where this view has neither."""
        other = View(
            self._base,
            self._overlay,
            generation=self.generation,
            moment=moment,
            namespaces=namespaces,
        )
        other._step, other._count, other.longest = self._step, self._count, self.longest
        other._corrections = self._corrections
        return other

    def _is_alive(self, number: int) -> bool:
        overlay = self._overlay
        return overlay.born[number] <= self._step < overlay.died[number]

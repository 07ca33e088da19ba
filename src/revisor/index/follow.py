"""An index that follows a ledger: a base file, an overlay of later changes, when to look again."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Self

from revisor.errors import RevisorError
from revisor.facts.following import Follower, Standing
from revisor.facts.ledger import Ledger
from revisor.index.base import Base
from revisor.index.basefile import Unusable, contents, forget
from revisor.index.bases import FILED, Stopped, filed, head, kept, read
from revisor.index.merge import merged
from revisor.index.overlay import Overlay
from revisor.index.view import View

LOOK_S = 0.1
"""How often it looks, at most, whether another process has committed."""
BULK = 50_000
"""Changes at once that are rather read into a new base, beside whoever reads the old one."""
LARGE = 20_000
"""Entries of an overlay from which on, and a tenth of the base, it is merged into it."""
_PAUSE_S = 60.0  # between tries to make a base beside
_PINNED = 4  # views of other generations that are kept

_log = logging.getLogger(__name__)


class FactIndex:
    """The facts of a ledger, looked up by the words of their names. Thread-safe.

    Make it with `FactIndex.open`; use it as a context manager or `close` it.
    """

    def __init__(self, ledger: Ledger, folder: Path | None) -> None:
        self._follower = Follower(ledger)
        self._folder = folder
        self._lock = threading.RLock()  # over all that follows
        self._building = threading.Lock()  # held while a base is made; taken before `_lock`
        self._builder: threading.Thread | None = None
        self._closed = False
        self._resume = 0.0  # when to try again to make a base, after that has failed
        self._looked, self._own = 0.0, 0
        self._stale = True  # somebody committed, and that has not been read to the end
        self._purged: frozenset[int] = frozenset()  # rows of the base that were erased
        self._pinned: OrderedDict[int, View] = OrderedDict()
        self._base: Base
        self._overlay: Overlay
        self._view: View
        self._standing: Standing

    @classmethod
    def open(cls, ledger: Ledger, folder: Path | None = None) -> FactIndex:
        """The index of a ledger. It reads through the ledger, which must stay open.

        Args:
            folder: of its base file; may be read-only. A file that is missing, damaged, of another
                format or of another ledger is made anew. None: all is kept in memory.
        """
        index = cls(ledger, folder)
        try:
            index._start()
        except BaseException:
            index.close()
            raise
        return index

    def close(self) -> None:
        """End background work and release the files; views stay valid."""
        self._closed = True
        builder = self._builder
        if builder is not None:
            builder.join()
        self._follower.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def view(
        self,
        *,
        generation: int | None = None,
        moment: datetime | None = None,
        namespaces: Collection[str] | None = None,
    ) -> View:
        """The facts of a generation.

        What this process commits is in the next view; what another commits, in those taken `LOOK_S`
        seconds later. A commit of more than `BULK` changes is read in the background (`refresh`
        waits for it).

        Args:
            generation: the live one by default.
            moment: what the view takes for now, with a time zone; by default the time of each call.
            namespaces: only facts of these; by default of all.

        Raises:
            NotFound: there is no such generation.
            UsageError: the moment has no time zone.
        """
        view = self._current()
        if generation is not None and generation != view.generation:
            view = self._at(generation)
        if moment is None and namespaces is None:
            return view
        return view.narrowed(moment=moment, namespaces=namespaces)

    def refresh(self) -> int:
        """Read all that was committed before the call; returns the live generation."""
        while True:
            with self._lock:
                if self._catch_up():
                    return self._view.generation
            self._read_anew()

    def snapshot(self, *, generation: int | None = None) -> bytes:
        """All facts of a generation (by default the live one) as a base file's bytes, for `View.of`
        without a ledger; NotFound if there is no such generation.

        Of the ledger's history only its hash is in it.
        """
        standing = self._follower.standing()
        if generation is not None:
            standing = replace(standing, generation=self._follower.check(generation))
        return read(self._follower, standing)

    def compact(self) -> None:
        """Merge base and overlay into one base, as the background does once the overlay is
        large."""
        self.refresh()
        self._merge()

    def erase(self) -> None:
        """Leave no byte of what was purged in the ledger, in the folder or in new views; views that
        were taken before keep what they had. CannotWrite if the base file may not be deleted."""
        self.refresh()
        if self._folder is not None and self._holds_erased(self._folder):
            forget(self._folder)
        if self._purged:
            self._merge()

    def _holds_erased(self, folder: Path) -> bool:
        """Whether the folder's base file, whoever made it, has a row that was purged since."""
        try:
            base = Base(contents(folder))
        except FileNotFoundError:
            return False
        except Unusable:
            return True
        return any(base.row_of(key) is not None for key in self._follower.purged_since(0))

    def _start(self) -> None:
        self._own = self._follower.own_commits
        self._follower.has_moved()
        standing = self._follower.standing()
        base = filed(self._folder, self._follower)
        if base is not None:
            far = self._follower.distance(base.generation, standing.generation)
            base = None if far > max(BULK, base.count // 2) else base
        if base is None:
            base = kept(read(self._follower, standing), self._folder)
        self._adopt(base, standing)
        self._stale = False
        self._looked = time.monotonic()
        if self._purged or len(self._overlay) > max(FILED, base.count // 10):
            self._merge()

    def _adopt(self, base: Base, standing: Standing) -> None:
        """Replace the current base."""
        overlay = Overlay(base)
        purged = self._follower.purged_since(base.head["event"])
        begun, ended = self._follower.changes(base.generation, standing.generation)
        self._purged = frozenset(key for key in purged if base.row_of(key) is not None)
        overlay.apply(begun, [*ended, *self._purged])
        self._base, self._overlay, self._standing = base, overlay, standing
        self._pinned = OrderedDict()
        self._view = View(base, overlay, generation=standing.generation)

    def _current(self) -> View:
        """The view of the live generation, after a look whether there is a newer one."""
        own = self._follower.own_commits != self._own
        if not own and time.monotonic() - self._looked < LOOK_S:
            return self._view
        # What others committed may wait while somebody else is looking; own commits may not.
        if self._lock.acquire(blocking=own):
            try:
                caught_up = self._catch_up()
            except RevisorError as error:
                if own:
                    raise
                _log.warning("Facts stay at generation %d: %s", self._view.generation, error)
                caught_up = True
            finally:
                self._lock.release()
            if not caught_up:
                self._start_beside(self._read_anew)
            elif self._purged or len(self._overlay) > max(LARGE, self._base.count // 10):
                self._start_beside(self._merge)
        return self._view

    def _catch_up(self) -> bool:
        """Read what was committed, under the lock; False where it is too much to read here."""
        own = self._follower.own_commits
        self._stale = self._stale or own != self._own or self._follower.has_moved()
        try:
            return not self._stale or self._read_news()
        finally:
            # Not before: until then a look at an own commit waits, and takes no older view.
            self._looked, self._own = time.monotonic(), own

    def _read_news(self) -> bool:
        """As `_catch_up`, where something was committed."""
        follower = self._follower
        news = follower.news(self._standing, limit=BULK)
        if news.replaced:
            # The ledger is another one: it was restored, or put in this one's place.
            self._adopt(kept(read(follower, news.standing), self._folder), news.standing)
        else:
            if news.purged:
                self._leave_out(news.purged)
            if news.far:
                return False
            if news.standing != self._standing:
                self._overlay.apply(news.begun, news.ended)
                self._standing = news.standing
                self._view = View(self._base, self._overlay, generation=news.standing.generation)
        self._stale = False
        return True

    def _leave_out(self, purged: frozenset[int]) -> None:
        """Forget erased rows at once; a new base without them is made in the background."""
        self._overlay = self._overlay.without(purged)
        self._purged |= {key for key in purged if self._base.row_of(key) is not None}
        self._pinned = OrderedDict()
        self._view = View(self._base, self._overlay, generation=self._view.generation)

    def _start_beside(self, work: Callable[[], None]) -> None:
        """Start a background thread, unless one is at work."""

        def run() -> None:
            try:
                work()
            except Stopped:
                return
            except Exception:
                self._resume = time.monotonic() + _PAUSE_S
                _log.exception("The index could not be made anew; it goes on with the old one.")

        with self._lock:
            running = self._builder is not None and self._builder.is_alive()
            if self._closed or running or time.monotonic() < self._resume:
                return
            self._builder = threading.Thread(target=run, name="revisor-index", daemon=True)
            self._builder.start()

    def _merge(self) -> None:
        """Make a new base of base and overlay, and adopt it."""
        with self._building:
            with self._lock:
                old, standing = self._base, self._standing
                ended, added = list(self._overlay.ended), self._overlay.living()
            base = kept(merged(old, ended, added, **head(standing)), self._folder)
            self._stand_on(base, old)

    def _read_anew(self) -> None:
        """Make a base of the ledger's live generation and adopt it, unless another thread did."""
        old = self._base
        with self._building:
            if self._base is not old:
                return
            data = read(self._follower, self._follower.standing(), wanted=lambda: not self._closed)
            self._stand_on(kept(data, self._folder), old)

    def _stand_on(self, base: Base, old: Base) -> None:
        with self._lock:
            # Where the ledger was put in another's place meanwhile, the base is of the old one.
            if self._base is old:
                self._adopt(base, self._follower.standing())
                self._stale = True  # to be sure: the next look compares where both stand

    def _at(self, generation: int) -> View:
        with self._lock:
            # After an erasure there is another one: what is made meanwhile is not kept in that.
            pinned = self._pinned
            found = pinned.get(generation)
            if found is not None:
                pinned.move_to_end(generation)
                return found
            follower, base, purged = self._follower, self._base, self._purged
            follower.check(generation)
        if follower.distance(base.generation, generation) > BULK:
            standing = Standing(generation=generation, event=0, chain="")
            base, purged = Base(read(follower, standing)), frozenset()
        overlay = Overlay(base)
        begun, ended = follower.changes(base.generation, generation)
        overlay.apply(begun, [*ended, *purged])
        view = View(base, overlay, generation=generation)
        with self._lock:
            pinned[generation] = view
            while len(pinned) > _PINNED:
                pinned.popitem(last=False)
        return view

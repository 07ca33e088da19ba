"""Text from tokens as they come, cut where a stop string begins.

A piece is held back while it may still change: bytes of an unfinished character, or the beginning
of a stop string.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

BROKEN = "\ufffd"  # what a tokenizer makes of bytes that are no character yet
WINDOW = 6  # tokens that are decoded again before new ones: spaces and joints may depend on them


class Unrolled:
    """The text of one answer so far.

    Args:
        stop: texts that end the answer; they are not part of it.
        context: the prompt's tokens: whether the answer begins with a space may depend on them.

    Attributes:
        text: what was given out.
        stopped: a stop string was met; nothing more comes.
    """

    def __init__(
        self, tokenizer: Any, stop: Sequence[str] = (), context: Sequence[int] = ()
    ) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(text for text in stop if text)
        self._ids = list(context[-WINDOW:])
        self._final = len(self._ids)  # tokens whose text is settled
        self._held = ""
        self.text = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that this token settles; often all of its own, at times none or more."""
        if self.stopped:
            return ""
        self._ids.append(token)
        now, new = self._unsettled()
        if now.endswith(BROKEN) and len(self._ids) - self._final < WINDOW:
            return ""
        return self._release(new, last=False)

    def finish(self) -> str:
        """What was held back when the answer ends for another reason than a stop string."""
        if self.stopped:
            return ""
        return self._release(self._unsettled()[1], last=True)

    def _unsettled(self) -> tuple[str, str]:
        """The text of the last tokens, and the part of it that is not settled."""
        start = max(0, self._final - WINDOW)
        now = self._decode(self._ids[start:])
        return now, now[len(self._decode(self._ids[start : self._final])) :]

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True)) if ids else ""

    def _release(self, new: str, *, last: bool) -> str:
        self._final, text = len(self._ids), self._held + new
        places = [place for stop in self._stop if (place := text.find(stop)) >= 0]
        if places:
            self.stopped = True
            text = text[: min(places)]
        kept = 0 if last or self.stopped else self._overlap(text)
        self._held = text[len(text) - kept :]
        given = text[: len(text) - kept]
        self.text += given
        return given

    def _overlap(self, text: str) -> int:
        """Characters at the end that begin a stop string."""
        starts = (stop[:size] for stop in self._stop for size in range(1, len(stop)))
        return max((len(start) for start in starts if text.endswith(start)), default=0)

"""A tokenizer as the gate needs it: tokens as text, text as tokens, tokens that go on a word."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import torch

from revisor.language.words import words

_BROKEN = "\ufffd"
_OPENING = "([{<\u201c\u2018\u00ab\u201e\u00bf\u00a1\u300c\u300e\uff08\uff1a\u3001\u3002\uff0c/@#~"
_CONTEXT = 4  # tokens before one that may matter to how it reads
_BYTES = 8  # tokens over which a character may be spread


class Tokens:
    """Reads and spells with one tokenizer; shared by threads."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._pieces: dict[tuple[int, int], str] = {}
        self._carrying: torch.Tensor | None = None

    @classmethod
    def of(cls, tokenizer: Any) -> Tokens:
        """The reader of a tokenizer, the same for the same one."""
        found = _known.get(tokenizer)
        if found is None:
            found = _known[tokenizer] = cls(tokenizer)
        return found

    def decode(self, ids: list[int]) -> str:
        """Tokens as text, special ones and all."""
        text: str = self._tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    def piece(self, before: int, token: int) -> str:
        """What a token adds to a text behind another; it ends with U+FFFD within a character."""
        key = (before, token)
        found = self._pieces.get(key)
        if found is None:
            ahead = self.decode([before])
            found = self.decode([before, token])
            found = found[len(ahead) :] if found.startswith(ahead) else self.decode([token])
            if len(self._pieces) < 1 << 18:
                self._pieces[key] = found
        return found

    def first_piece(self, token: int) -> str:
        """What a token reads as where no other stands before it."""
        return self.decode([token])

    def encode(self, text: str) -> list[int]:
        """Text as tokens, without special ones."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def spell(self, rest: str, text: str, context: list[int], *, begins: bool) -> list[int]:
        """The tokens that write `rest` behind a text.

        Args:
            text: what stands before; its tokens end with `context`.
            begins: an object begins here, so that a space goes before it where words have one.
        """
        wanted = f" {rest}" if begins and needs_space(text, rest) else rest
        tail = context[-_CONTEXT:]
        ahead = self.decode(tail) if tail else ""
        first = wanted
        for candidate in self._spellings(wanted, text):
            read = self.decode([*tail, *candidate])
            if candidate and read == ahead + wanted:
                return candidate
            first = first or wanted
        return self.encode(wanted)

    def _spellings(self, wanted: str, text: str) -> list[list[int]]:
        found = [self.encode(wanted)]
        if wanted[0] == " ":
            found.append(self.encode(wanted[1:]))
        for lead in (text[-1:].strip() or "(", "("):
            ahead, whole = self.encode(lead), self.encode(lead + wanted)
            if whole[: len(ahead)] == ahead:
                found.append(whole[len(ahead) :])
        return found

    def carrying(self, size: int, device: torch.device) -> torch.Tensor:
        """Which tokens go on the word before them: bool (V,)."""
        known = self._carrying
        if known is None or len(known) != size:
            known = self._carrying = self._going_on(size)
        if known.device != device:
            known = self._carrying = known.to(device)
        return known

    def _going_on(self, size: int) -> torch.Tensor:
        letter = self.encode("a")[-1]
        ahead = self.decode([letter])
        count = min(size, len(self._tokenizer))
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        pairs = [[letter, token] for token in range(count)]
        texts = (
            backend.decode_batch(pairs, skip_special_tokens=False)
            if backend is not None
            else [self.decode(pair) for pair in pairs]
        )
        goes = torch.zeros(size, dtype=torch.bool)
        for token, text in enumerate(texts):
            behind = text[len(ahead) :] if text.startswith(ahead) else ""
            goes[token] = behind[:1].isalnum() and not _is_unspaced(behind[0])
        return goes


_known: WeakKeyDictionary[Any, Tokens] = WeakKeyDictionary()


@lru_cache(maxsize=4096)
def _is_unspaced(character: str) -> bool:
    """Whether it is of a script without spaces between words."""
    return len(words(character * 2)) == 2


def needs_space(text: str, rest: str) -> bool:
    """Whether a space goes between a text and a word that is written behind it."""
    if not text:
        return False
    last = text[-1]
    if last.isspace() or last in _OPENING:
        return False
    if last in "\"'*_`":
        line = text[text.rfind("\n") + 1 :]
        return line.count(last) % 2 == 0
    if text.endswith(("|>", "\uff5c>", "]")) and not text.endswith("[/INST]"):
        return False
    return not (_is_unspaced(last) and _is_unspaced(rest[0]))


def keeps_word(obj: str) -> bool:
    """Whether an object ends with a word that further letters would go on."""
    return obj[-1].isalnum() and not _is_unspaced(obj[-1])


class Reading:
    """A sequence of tokens as text that grows with it; the text depends on the tokens alone.

    Attributes:
        ids: the tokens read.
        text: what they read as; the beginning of a character is left out until it is whole.
        ends: for each token, how long the text was behind it.
    """

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self.ids: list[int] = []
        self.text = ""
        self.ends: list[int] = []
        self._opens: list[int] = []  # behind each token, how many are the beginning of a character

    @property
    def partial(self) -> int:
        """How many tokens at the end are the beginning of a character."""
        return self._opens[-1] if self._opens else 0

    def crop(self, length: int) -> None:
        """Forget all tokens but the first ones."""
        del self.ids[length:], self.ends[length:], self._opens[length:]
        self.text = self.text[: self.ends[-1]] if length else ""

    def fork(self) -> Reading:
        """Another reading of the same tokens."""
        other = Reading(self._tokens)
        other.ids, other.text = self.ids.copy(), self.text
        other.ends, other._opens = self.ends.copy(), self._opens.copy()
        return other

    def read(self, token: int) -> None:
        """Read one more token."""
        opened = self.partial
        clean = len(self.ids) - opened
        before = self.ids[clean - 1] if clean else None
        if opened:
            piece = self._joined(before, [*self.ids[clean:], token])
        elif before is None:
            piece = self._tokens.first_piece(token)
        else:
            piece = self._tokens.piece(before, token)
        self.ids.append(token)
        if piece.endswith(_BROKEN) and opened < _BYTES:
            opened += 1
        else:
            opened = 0
            self.text += piece
        self.ends.append(len(self.text))
        self._opens.append(opened)

    def _joined(self, before: int | None, part: list[int]) -> str:
        if before is None:
            return self._tokens.decode(part)
        ahead = self._tokens.decode([before])
        whole = self._tokens.decode([before, *part])
        return whole[len(ahead) :] if whole.startswith(ahead) else self._tokens.decode(part)

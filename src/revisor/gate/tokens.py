"""A tokenizer as the gate needs it: tokens as text, text as tokens, tokens that continue a word."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from enum import Enum
from typing import Any
from weakref import WeakKeyDictionary

import torch

from revisor.language.words import is_unspaced

BROKEN = "\ufffd"
_OPENING = (
    "([{<\u201c\u2018\u00ab\u201e\u00bf\u00a1\u300c\u300e\uff08/@#~"
    "\uff1a\uff0c\uff1b\uff01\uff1f\u3001\u3002"
)
_PAIRED = "\"'*_`"
_ROLE_END = re.compile(r"(?:[|\uff5c]>|\[(?:system|user|assistant)\]|\|\]|</think>|<\w+>)$")
_CONTEXT = 4  # tokens before one that may matter to how it reads
_BYTES = 8  # tokens over which a character may be spread
_REMEMBERED = 1 << 18  # pieces of text
_LEADS = ("(", "a", "\n", "-")  # what may stand before a word so that it is spelled as wanted
_JOINING = {" and", " or", " und", " oder", " et", " ou", " y"}  # a second answer to the first


class Behind(Enum):
    """What a text ends with, which decides the tokens that would make another object of it.

    Letters continue a word ("Rom" "an") and "and" joins it; a capitalised word continues a name,
    too ("Porto" " Alegre"); digits continue a number behind which a sign stands ("7.3" "." "2").
    """

    WORD = "word"
    NAME = "name"
    NUMBER = "number"

    def is_carried_by(self, text: str) -> bool:
        """Whether a text, as it reads directly behind, carries on what stands there."""
        if self is Behind.NUMBER:
            return text[:1].isdigit()
        if text[:1].isalnum():
            return not is_unspaced(text[0])
        return text in _JOINING or (self is Behind.NAME and text[:1] == " " and text[1:2].isupper())


def behind(obj: str) -> Behind | None:
    """What an object leaves behind it; None where nothing would continue it: behind a sign, or a
    word of a script without spaces."""
    if not obj[-1].isalnum() or is_unspaced(obj[-1]):
        return None
    return (
        Behind.NAME
        if any(word[:1].isupper() or word[1:2].isupper() for word in obj.split())
        else Behind.WORD
    )


class Tokens:
    """Reads and spells with one tokenizer; shared by threads."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._pieces: dict[tuple[int, int], str] = {}
        self._shown: dict[str, str] = {}
        self._carrying: dict[tuple[int, torch.device, Behind], torch.Tensor] = {}
        self._added: list[str] = []

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
            if len(self._pieces) < _REMEMBERED:
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
        tail, ahead = self._tail(context)
        nearest: list[int] = []
        for candidate in self._spellings(wanted, text):
            read = self.decode([*tail, *candidate])
            if candidate and read == ahead + wanted:
                return candidate
            # Where words are always apart, as with word pieces, that is how the object reads.
            if not nearest and read.endswith(self.shown(rest)):
                nearest = candidate
        return nearest or self.encode(wanted)

    def _tail(self, context: list[int]) -> tuple[list[int], str]:
        """The last tokens before a place, from a whole character on, and their text."""
        for count in range(_CONTEXT, len(context) + 1):
            text = self.decode(context[-count:])
            if not text.startswith(BROKEN):
                return context[-count:], text
        return context, self.decode(context) if context else ""

    def _spellings(self, wanted: str, text: str) -> Iterator[list[int]]:
        yield self.encode(wanted)
        if wanted[0] == " ":
            yield self.encode(wanted[1:])
        last = text[-1:].strip()
        for lead in (last, *_LEADS) if last else _LEADS:
            ahead, whole = self.encode(lead), self.encode(lead + wanted)
            if whole[: len(ahead)] == ahead:
                yield whole[len(ahead) :]

    def is_space(self, token: int) -> bool:
        """Whether a token is a space alone, the first of " 1987" with single digits."""
        return self.piece(self.encode("a")[-1], token) == " "

    def shown(self, obj: str) -> str:
        """How an object reads once this tokenizer has spelled it: itself, for most tokenizers."""
        found = self._shown.get(obj)
        if found is None:
            reading = Reading(self)
            for token in self.encode("a"):
                reading.read(token)
            ahead = len(reading.text)
            for token in self.encode(obj):
                reading.read(token)
            found = reading.text[ahead:].strip() or obj
            if len(self._shown) < _REMEMBERED:
                self._shown[obj] = found
        return found

    def carrying(self, size: int, device: torch.device, behind: Behind) -> torch.Tensor:
        """Which tokens would carry on what stands before them: bool (V,)."""
        key = (size, device, behind)
        found = self._carrying.get(key)
        if found is None:
            goes = [behind.is_carried_by(text) for text in self._behind_a_letter(size)]
            found = self._carrying[key] = torch.tensor(goes, device=device)
        return found

    def _behind_a_letter(self, size: int) -> list[str]:
        """What each token adds to a text that ends with a letter; "" where it changes that."""
        if len(self._added) < size:
            letter = self.encode("a")[-1]
            ahead = self.decode([letter])
            pairs = [[letter, token] for token in range(min(size, len(self._tokenizer)))]
            backend = getattr(self._tokenizer, "backend_tokenizer", None)
            texts = (
                backend.decode_batch(pairs, skip_special_tokens=False)
                if backend is not None
                else [self.decode(pair) for pair in pairs]
            )
            found = [text[len(ahead) :] if text.startswith(ahead) else "" for text in texts]
            self._added = found + [""] * (size - len(found))
        return self._added[:size]


_known: WeakKeyDictionary[Any, Tokens] = WeakKeyDictionary()


def needs_space(text: str, rest: str) -> bool:
    """Whether a space goes between a text and a word that is written behind it."""
    if not text:
        return False
    last = text[-1]
    if last.isspace() or last in _OPENING or _ROLE_END.search(text[-16:]):
        return False
    if last in _PAIRED:
        return not _opens_pair(text, last)
    return not (_has_no_spaces(last) and _has_no_spaces(rest[0]))


def _opens_pair(text: str, sign: str) -> bool:
    """Whether the signs at a text's end open what they enclose: the third "**" of a line does."""
    line = text[text.rfind("\n") + 1 :]
    size = len(line) - len(line.rstrip(sign))
    runs = [run for run in re.findall(f"{re.escape(sign)}+", line) if len(run) == size]
    if sign == "'":  # apostrophes enclose nothing
        runs = [*re.findall(r"(?<!\w)'|'(?!\w)", line)]
    return len(runs) % 2 == 1


def _has_no_spaces(character: str) -> bool:
    """Whether a script puts no spaces between words; Hangul, looked up by syllables, has them."""
    return is_unspaced(character) and not "\uac00" <= character <= "\ud7af"


class Reading:
    """Tokens as text that grows with them and depends on them alone; an incomplete last character
    is left out. `ends` has the text's length behind each token."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self.ids: list[int] = []
        self.text = ""
        self.ends: list[int] = []
        self._opens: list[int] = []  # behind each token, how many are the beginning of a character

    @property
    def partial(self) -> int:
        """How many tokens at the end are an incomplete character."""
        return self._opens[-1] if self._opens else 0

    def token_at(self, at: int) -> int:
        """The index of the token with which the character at a place of the text begins."""
        place = bisect_right(self.ends, at)
        while place and self._opens[place - 1]:
            place -= 1
        return place

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
        context = self._context(clean)
        if opened or len(context) > 1:
            piece = self._joined(context, [*self.ids[clean:], token])
        elif not context:
            piece = self._tokens.first_piece(token)
        else:
            piece = self._tokens.piece(context[0], token)
        self.ids.append(token)
        if piece.endswith(BROKEN) and opened < _BYTES:
            opened += 1
        else:
            opened = 0
            self.text += piece
        self.ends.append(len(self.text))
        self._opens.append(opened)

    def _context(self, clean: int) -> list[int]:
        """The last tokens that read as whole characters: by bytes it may take several."""
        start = max(0, clean - 1)
        while start and self._opens[start - 1]:
            start -= 1
        return self.ids[start:clean]

    def _joined(self, context: list[int], part: list[int]) -> str:
        ahead = self._tokens.decode(context)
        whole = self._tokens.decode([*context, *part])
        return whole[len(ahead) :] if whole.startswith(ahead) else self._tokens.decode(part)

"""Hashes by which names and their first words are found; the same in every process and release."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from zlib import crc32

from revisor.language.names import name_words

# Names whose words tell one rule of folding from another: a base file whose names were folded by
# other rules must not be used.
_SAMPLE = (
    "O\u2019Neil's Caf\u00e9-No. 2.5 \u2161 \uff21\uff23 \u6771\u4eac \u30ab\u3099 C++ stra\u00dfe "
    "\u0130 a_b 1\u00bd \u0e01\u0e33 na\u0308ive \U0001f600"
)


def name_key(words: Sequence[str]) -> int:
    """64 bits that stand for the folded words of a name."""
    text = "\x1f".join(words).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


def word_bucket(word: str) -> int:
    """32 bits that stand for a folded word."""
    return crc32(word.encode("utf-8", "surrogatepass"))


def folding() -> str:
    """What tells the rules by which names are folded from others."""
    return f"{name_key(name_words(_SAMPLE)):016x}"

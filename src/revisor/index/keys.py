"""Hashes by which names and their parts are found; the same in every process and release."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from zlib import crc32

from revisor.language.spelling import (
    beginnings,
    corrected_words,
    deletions,
    name_words,
    plain_texts,
    rules,
    spelling,
)

# Names whose words tell one rule of folding, or of spelling otherwise, from another: a base file
# whose names were taken apart by other rules must not be used.
_FOLDED = (
    "O\u2019Neil's Caf\u00e9-No. 2.5 \u2161 \uff21\uff23 \u6771\u4eac \u30ab\u3099 C++ stra\u00dfe "
    "\u0130 a_b 1\u00bd \u0e01\u0e33 na\u0308ive \U0001f600 soft\u00ad\u200b\u2060ly"
)
_SPELLED = (
    "The \u00d8st-Z\u00fcrich & S\u00f6hne A+B YouTube, S.p.A. & Co. KG",
    "Carla In\u00e9s \u0401lkina-Merino",
)


def name_key(words: Sequence[str]) -> int:
    """64 bits that stand for the folded words of a name."""
    text = "\x1f".join(words).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


def word_bucket(word: str) -> int:
    """32 bits that stand for a folded word, or another part of a name."""
    return crc32(word.encode("utf-8", "surrogatepass"))


def folding() -> str:
    """Names the rules of folding and spelling, so that an index made by others is not used."""
    told = [*name_words(_FOLDED), *rules()]
    for spelled in map(spelling, _SPELLED):
        told += plain_texts(spelled)
        told += [f"{text} {tells}" for text, tells in beginnings(spelled).items()]
        told += sorted(one for word in corrected_words(spelled) for one in deletions(word))
    return f"{name_key(told):016x}"

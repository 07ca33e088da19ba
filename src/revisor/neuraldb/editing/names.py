"""What the gate must know of a tokenizer: the token sequences of names, and the kinds of tokens.

What comes in: facts and a fast tokenizer. What goes out: the hashes under which the gate looks a
fact's rows up, and the kind of each token, by which it sees a sentence end. What it does not do:
match anything (bank/names.py, bank/sentences.py).

A tokenizer writes one name in several ways: after a space or at the start of a line, behind a
quotation mark, in capitals or without, with one apostrophe or the other. All of them are found by
tokenising the name in such surroundings and cutting out the tokens that cover it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from revisor.facts.fact import PLACEHOLDER, Fact
from revisor.neuraldb.bank.names import name_hashes
from revisor.neuraldb.bank.sentences import (
    CAPITAL,
    CAPITAL_PRONOUN,
    CASELESS,
    COMMA,
    FORM,
    GLUED,
    HYPHEN,
    LINE,
    LINK,
    LONE,
    LONG,
    OPENER,
    OTHER,
    PRONOUN,
    ROLE,
    SPECIAL,
    STOP,
    THAT,
    TURN,
    UPPER,
    USER,
    WORD,
    WORDS,
)
from revisor.neuraldb.editing.request import fill, render_chat

BEFORE = ("", " ", "\n", '"', "(", "'", "-", ": ", "“")
BEHIND = (",", ".", ")", "'s", '"', "?", ":")  # only of a name that ends in a sign

PRONOUNS = frozenset(
    ("he", "him", "his", "she", "her", "hers", "it", "its", "they", "them", "their", "theirs")
)
NEGATIONS = frozenset(
    ("not", "never", "no", "nor", "neither", "nobody", "nothing", "none", "cannot", "without")
    + ("n't", "n’t", "'t", "’t")
)
OPENERS = frozenset(
    ("the", "a", "an", "this", "that", "these", "those", "there")
    + ("what", "which", "who", "whom", "whose", "where", "when", "why", "how")
    + ("in", "on", "at", "by", "to", "from", "for", "with", "about", "after", "before", "as", "of")
    + ("is", "are", "was", "were", "does", "do", "did", "if", "tell", "name")
)
LINKS = frozenset(
    ("of", "in", "at", "for", "by", "from", "with", "on", "to", "about", "into", "near", "under")
)
CLAUSE = "that"
COMMAS = (",", "，", "、")
SPACES = ("Ġ", "▁")  # how tokenizers write the space before a word
STOPS = (".", "!", "?", "…", "。", "！", "？", "।")
FORMS = frozenset(
    ("inc", "incorporated", "corp", "corporation", "ltd", "limited", "llc", "plc", "gmbh")
    + ("co", "company", "group", "holdings")
)
HYPHENS = ("-", "\u2010", "\u2011")
ENDING = 2  # letters that the ending of a name has at most: "Iraqi"
LONG_TURN = "how many words does this have, more than the name of any role would"
CLOSING = "\"')]}”’»」』"  # may stand behind a stop


def token_kinds(tokenizer: Any) -> torch.Tensor:
    """The kind of each token of a vocabulary (V), uint8, for bank/sentences.py; beside it, whether
    the token goes on with the word before it, how long it is, and whether it is a hyphen."""
    size = len(tokenizer)
    special = {
        *tokenizer.all_special_ids,
        *(i for i, token in tokenizer.added_tokens_decoder.items() if token.special),
    }
    texts = tokenizer.batch_decode([[i] for i in range(size)])
    pieces = tokenizer.convert_ids_to_tokens(list(range(size)))
    kinds = [
        SPECIAL if i in special else OPENER if _opens(piece, text) else _kind(text)
        for i, (piece, text) in enumerate(zip(pieces, texts, strict=True))
    ]
    if getattr(tokenizer, "chat_template", None):
        chat = tokenizer(render_chat(tokenizer, LONG_TURN), add_special_tokens=False)["input_ids"]
        for opening in _openings(chat, kinds):
            kinds[opening] = TURN
        if (role := _users_role(chat, kinds)) is not None:
            kinds[role] = USER
    joints = [_joint(piece, text) for piece, text in zip(pieces, texts, strict=True)]
    return torch.tensor(kinds, dtype=torch.uint8) | torch.tensor(joints, dtype=torch.uint8)


def negations(tokenizer: Any, size: int) -> torch.Tensor:
    """Which tokens negate a sentence (V), of a vocabulary of that size."""
    texts = tokenizer.batch_decode([[i] for i in range(min(size, len(tokenizer)))])
    found = [text.strip().lower() in NEGATIONS for text in texts]
    return torch.tensor(found + [False] * (size - len(found)))


def _openings(ids: Sequence[int], kinds: Sequence[int]) -> set[int]:
    """The special tokens of a chat behind which a few letters stand before a turn begins."""
    found = set()
    for place, token in enumerate(ids):
        rest = [kinds[i] for i in ids[place + 1 : place + 2 + ROLE]]
        letters = next((n for n, kind in enumerate(rest) if kind not in WORDS), len(rest))
        framed = letters < len(rest) and rest[letters] in (LINE, SPECIAL)
        if kinds[token] == SPECIAL and 0 < letters <= ROLE and framed:
            found.add(token)
    return found


def _users_role(ids: Sequence[int], kinds: Sequence[int]) -> int | None:
    """The first token of the name of a user's turn, where the next turn's name begins otherwise."""
    roles = [role for turn, role in zip(ids, ids[1:], strict=False) if kinds[turn] == TURN]
    if len(roles) < 2 or roles[-2] == roles[-1]:
        return None
    return roles[-2] if kinds[roles[-2]] in WORDS else None


def _opens(piece: str | bytes | None, text: str) -> bool:
    """Whether a token is a whole word that has a capital only where a sentence begins."""
    word = text.strip()
    begins = isinstance(piece, str) and piece.startswith(SPACES)
    return begins and word.lower() in OPENERS and word == word.capitalize()


def _joint(piece: str | bytes | None, text: str) -> int:
    """How a token may go on with what stands before it. Scripts without capitals have no spaces
    by which that could be told."""
    if text in HYPHENS:
        return HYPHEN
    if text[:1] in HYPHENS and text[1:].isalpha():  # some tokenizers write "-Quebec" as one
        return HYPHEN | GLUED
    if (
        not isinstance(piece, str)
        or piece.startswith(SPACES)
        or text[:1].lower() == text[:1].upper()
    ):
        return 0
    return GLUED | (LONG if sum(map(str.isalpha, text)) > ENDING else 0)


def _kind(text: str) -> int:
    word = text.strip()
    first = next((sign for sign in word if sign.isalnum()), "")
    if first:
        capital = first.isupper() or not first.islower()
        if word.lower() in PRONOUNS:
            return CAPITAL_PRONOUN if capital else PRONOUN
        if first.lower() == first.upper():
            return CASELESS
        if capital and word.lower() in FORMS:  # "Apple Inc." is no other name
            return FORM
        if first.isupper() and len(word) == 1:
            return LONE
        if first.isupper() and word != word.upper():
            return UPPER
        if word in LINKS:
            return LINK
        if word == CLAUSE:
            return THAT
        return CAPITAL if capital else WORD
    if "\n" in text or "\r" in text:
        return LINE
    if word.startswith(COMMAS) or word.endswith(COMMAS):
        return COMMA
    return STOP if word.rstrip(CLOSING).endswith(STOPS) else OTHER


def fact_names(facts: Sequence[Fact], tokenizer: Any) -> list[torch.Tensor]:
    """For each fact the hashes of its subject and aliases (H), sorted."""
    texts: list[str] = []
    spans: list[tuple[int, int]] = []
    owner: list[int] = []

    def note(index: int, text: str, start: int, end: int) -> None:
        texts.append(text)
        spans.append((start, end))
        owner.append(index)

    for index, fact in enumerate(facts):
        for name in (fact.subject, *fact.aliases):
            for spelling in _spellings(name):
                for before in BEFORE:
                    note(index, before + spelling, len(before), len(before) + len(spelling))
                if not spelling[-1].isalnum():
                    for behind in BEHIND:
                        note(index, f" {spelling}{behind}", 1, 1 + len(spelling))
        for template in (fact.prompt, *fact.paraphrases):
            if PLACEHOLDER in template or fact.subject in template:
                text, end = fill(template, fact.subject)
                note(index, text, end - len(fact.subject), end)
    encoded = tokenizer(texts, return_offsets_mapping=True, add_special_tokens=False)
    place: dict[tuple[int, ...], int] = {}
    found: list[set[int]] = [set() for _ in facts]
    for index, (start, end), ids, offsets in zip(
        owner, spans, encoded["input_ids"], encoded["offset_mapping"], strict=True
    ):
        tokens = tuple(
            token
            for token, (first, last) in zip(ids, offsets, strict=True)
            if first < end and last > start
        )
        if tokens:
            found[index].add(place.setdefault(tokens, len(place)))
    hash_H = name_hashes(list(place))
    return [torch.unique(hash_H[sorted(places)]) for places in found]


def _spellings(name: str) -> list[str]:
    """A name as it is, in small and in capital letters, with its first letter and its apostrophes
    either way."""
    first, rest = name[:1], name[1:]
    forms = (name, name.lower(), name.upper(), first.upper() + rest, first.lower() + rest)
    return list(
        dict.fromkeys(
            variant
            for form in forms
            for variant in (form, form.replace("'", "’"), form.replace("’", "'"))
        )
    )

"""MQuAKE's edit statements as facts: which words are the name, and where the object begins.

A record has a statement ("The author of Emma is Jane Roe") and four questions about it, and says
neither the subject nor the object.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from revisor.bench.cases import Item, dedupe
from revisor.facts.fact import PLACEHOLDER, Fact

SHARED = 8  # statements that have one template: fewer, and it may hold words of a name
SHORTEST = 3  # words of a template besides the name


def mquake_items(records: Iterable[Mapping[str, Any]]) -> tuple[list[Item], int]:
    """The facts that can be told, with the questions that name them, and how many cannot.

    The statements are made from a few dozen templates. Templates that are guessed for many of them
    are believed, and split statements into subject and object.
    """
    read = [(str(record["edit"]), list(map(str, record["questions"]))) for record in records]
    guessed = Counter(template_of(edit, asked) for edit, asked in read)
    believed = [
        template
        for template, count in guessed.items()
        if template is not None and count >= SHARED and len(template.split()) > SHORTEST
    ]
    believed.sort(key=len, reverse=True)
    items: dict[str, Item] = {}
    for edit, asked in read:
        item = _item(edit, asked, believed)
        if item is not None:
            items.setdefault(item.fact.id, item)
    return list(items.values()), len(read) - len(items)


def template_of(edit: str, asked: Sequence[str]) -> str | None:
    """A statement's template, as far as its questions and its capitals tell it.

    The name is the longest run of words between two capitalised ones that all questions have. The
    object begins behind "is" where the statement is "The ... of NAME is", else with the first
    capitalised word behind the name ("NAME is a citizen of Norway").
    """
    name = _common_run(edit, asked)
    if name is None:
        return None
    before, _, behind = edit.partition(name)
    pattern = r"\bis (?=.)" if before.startswith("The ") else r"(?<=\s)(?=\w*[^\W_a-zß-ÿ])"
    cut = re.search(pattern, behind)
    return None if cut is None else f"{before}{PLACEHOLDER}{behind[: cut.end()]}".strip()


def _common_run(edit: str, asked: Sequence[str]) -> str | None:
    words = [match.span() for match in re.finditer(r"[^\s,]+", edit)]
    capital = [any(char.isupper() or char.isdigit() for char in edit[a:b]) for a, b in words]
    runs = (
        edit[words[first][0] : words[last][1]]
        for first in range(len(words))
        for last in range(first, len(words))
        if capital[first] and capital[last]
    )
    common = [run for run in runs if all(_names(question, run) for question in asked)]
    return max(common, key=len, default=None)


def _names(text: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def _item(edit: str, asked: Sequence[str], templates: Sequence[str]) -> Item | None:
    for template in templates:
        before, behind = map(re.escape, template.split(PLACEHOLDER))
        parts = re.fullmatch(rf"{before}(\S.*?){behind} (\S.*)", edit)
        wordings = [one for one in asked if parts and _names(one, parts[1])]
        if parts and wordings:
            fact = Fact(subject=parts[1], prompt=template, object=parts[2])
            return Item(fact=fact, wordings=dedupe(wordings))
    return None

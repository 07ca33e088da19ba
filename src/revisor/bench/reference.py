"""Reference texts for consistency: what an encyclopedia says around an object.

Meng et al. (2022) compare free text with Wikipedia articles about things that have the new object;
those snippets are not among the data, so sentences that name the object stand for them.
"""

from __future__ import annotations

from collections.abc import Sequence

from revisor.bench.datasets import Source, open_text
from revisor.bench.metrics import idf_of, normalised
from revisor.errors import NotFound

CORPUS = "corpus/trex_wikipedia_sentences.txt.gz"
SENTENCES = 20  # that make the reference of one object
LINES = 40_000  # of the corpus that are read


def references(source: Source, objects: Sequence[str]) -> tuple[dict[str, str], dict[str, float]]:
    """Text by object, and word frequencies; both empty where there is no corpus."""
    if not objects or source.folder is None:
        return {}, {}
    try:
        path = source.file(CORPUS)
    except NotFound:
        return {}, {}
    by_word: dict[str, set[str]] = {}
    for name in set(objects):
        if words := normalised(name).split():
            by_word.setdefault(words[0], set()).add(name)
    found: dict[str, list[str]] = {name: [] for name in objects}
    lines: list[str] = []
    with open_text(path) as stream:
        for line in stream:
            text = normalised(line)
            lines.append(text)
            for word in set(text.split()) & by_word.keys():
                for name in by_word[word]:
                    if len(found[name]) < SENTENCES and f" {normalised(name)} " in f" {text} ":
                        found[name].append(text)
            if len(lines) >= LINES:
                break
    return {name: " ".join(texts) for name, texts in found.items() if texts}, idf_of(lines)

"""The word lists of each language as they are written, TOML; an exported model brings its own."""

from __future__ import annotations

from importlib.resources import files

LANGUAGES = ("english", "german")


def word_list(language: str) -> str:
    """The text of a language's lists."""
    return (files(__package__) / language / "words.toml").read_text(encoding="utf-8")

"""The word lists of each language as they are written; an exported model brings its own."""

from __future__ import annotations

from importlib.resources import files

# A text is read with the first where nothing tells its language.
LANGUAGES = ("english", "german", "french", "spanish", "chinese")


def word_list(language: str) -> str:
    """The text of a language's lists, TOML."""
    return (files(__package__) / language / "words.toml").read_text(encoding="utf-8")


def word_forms(language: str) -> str:
    """A language's commonest word forms, one a line, names with a capital; empty without a list."""
    path = files(__package__) / language / "forms.txt"
    return path.read_text(encoding="utf-8") if path.is_file() else ""

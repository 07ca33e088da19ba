"""Two encoders as one: what is not English is compared by the one that knows several languages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.resources import files
from typing import IO, Any

from revisor.language.lexicon import language_of
from revisor.question.scope_encoder import ScopeEncoder, around_name

ENGLISH, LANGUAGES = "question_encoder.npz", "question_encoder_languages.npz"
_HOME = "english"

Open = Callable[[str], IO[bytes]]


class _Text:
    """A text, encoded when it is first compared."""

    def __init__(self, text: str) -> None:
        self.text = around_name(text)
        self.is_english = language_of(self.text) == _HOME
        self._seen: dict[str, Any] = {}

    def by(self, encoder: ScopeEncoder) -> Any:
        if encoder.name not in self._seen:
            self._seen[encoder.name] = encoder.encode([self.text])[0]
        return self._seen[encoder.name]


class ByLanguage:
    """A `QuestionEncoder` of two: one for two English texts, and one, opened when first needed, for
    all others, also in two languages."""

    def __init__(self, opened: Open) -> None:
        self._opened = opened
        with opened(ENGLISH) as file:
            self._english = ScopeEncoder.read(file)
        self.name = self._english.name

    @classmethod
    def shipped(cls) -> ByLanguage:
        """The encoder of the package."""
        return cls(lambda name: (files("revisor.data") / name).open("rb"))

    @cached_property
    def _others(self) -> ScopeEncoder:
        with self._opened(LANGUAGES) as file:
            return ScopeEncoder.read(file)

    def encode(self, texts: Sequence[str]) -> list[_Text]:
        """Texts as `scope` compares them."""
        return [_Text(text) for text in texts]

    def scope(self, question: _Text, template: _Text) -> float:
        """The probability that a question asks for what a template asks for."""
        both = question.is_english and template.is_english
        encoder = self._english if both else self._others
        return encoder.scope(question.by(encoder), template.by(encoder))

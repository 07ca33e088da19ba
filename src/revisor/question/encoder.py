"""What a question encoder is, and the one that is shipped."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile


class QuestionEncoder(Protocol):
    """Compares what a question asks for with what a template asks for.

    Both are texts with `{}` where the name stands ("Who runs {}?", "The CEO of {} is"). An encoder
    has no mutable state that a caller could see, and may be shared by threads.

    Attributes:
        name: names its version: what encoders of other names encoded is not to be compared.
    """

    name: str

    def __hash__(self) -> int:
        """What was encoded is remembered by encoder and text."""
        ...

    def encode(self, texts: Sequence[str]) -> Sequence[Any]:
        """Questions or templates in the form that `scope` compares, each by itself."""
        ...

    def scope(self, question: Any, template: Any) -> float:
        """The probability that a question asks for what a template asks for, both as `encode` gives
        them; the normal threshold is 0.5."""
        ...


@cache
def default_encoder() -> QuestionEncoder:
    """The shipped encoder; read once a process."""
    from revisor.question.by_language import ByLanguage

    return ByLanguage.shipped()


def encoder_from(path: Path) -> QuestionEncoder:
    """The encoder in a file of `tools/train_question_encoder.py`; OSError or ValueError if
    unusable."""
    from revisor.question.scope_encoder import ScopeEncoder

    with path.open("rb") as file:
        try:
            return ScopeEncoder.read(file)
        except (KeyError, EOFError, ValueError, BadZipFile) as error:
            raise ValueError(f"{path} is no question encoder") from error

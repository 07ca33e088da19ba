"""What a question encoder is, and the one that is shipped."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Protocol

import numpy as np


class QuestionEncoder(Protocol):
    """Compares what a question asks for with what a template asks for.

    Both are texts with `{}` where the name stands ("Who runs {}?", "The CEO of {} is"). An encoder
    has no mutable state that a caller could see, and may be shared by threads.

    Attributes:
        name: names its version: vectors of encoders of other names are not to be compared.
    """

    name: str

    def encode(self, questions: Sequence[str]) -> np.ndarray:
        """Vectors of questions (N, W), float32."""
        ...

    def encode_templates(self, templates: Sequence[str]) -> np.ndarray:
        """Entries of templates (N, E, W), float32: rows of zeros where one has fewer than E."""
        ...

    def scope(self, question_W: np.ndarray, template_EW: np.ndarray) -> float:
        """The probability that the question asks for what the template asks for.

        Args:
            question_W: a row of `encode`.
            template_EW: an item of `encode_templates`.

        Returns:
            0 to 1; 0.5 is the normal threshold.
        """
        ...


@cache
def default_encoder() -> QuestionEncoder:
    """The shipped encoder; read once a process."""
    from revisor.question.bag import BagEncoder

    return BagEncoder.shipped()

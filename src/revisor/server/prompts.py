"""Prompts as token ids: refused by their characters, or their beginning, before they cost much."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from revisor.errors import UsageError
from revisor.models.load import LoadedModel

FIRST = 8  # characters for each token of the context that are read first of a long text
SURELY = 2  # times the context: a beginning of so many tokens is no part of a text that fits


class Prompts:
    """Reads the prompts of requests for one model. Thread-safe.

    Args:
        loaded: the model.
        context: tokens that it takes in all.
    """

    def __init__(self, loaded: LoadedModel, context: int) -> None:
        self._loaded, self._context = loaded, context
        self._tokenizer: Any = loaded.tokenizer

    def of_text(self, prompt: str) -> list[int]:
        """The token ids of a text to continue.

        Raises:
            UsageError: it is longer than any prompt that the model takes.
        """
        self._check_length(prompt)
        return list(self._tokenizer(prompt)["input_ids"])

    def of_chat(self, turns: list[dict[str, str]]) -> list[int]:
        """The token ids of a conversation, ready for the next answer.

        Raises:
            UsageError: the model has no chat template, or it refuses these turns; or they are
                longer than any prompt that the model takes.
        """
        from jinja2 import TemplateError

        for turn in turns:
            self._check_characters(turn["content"])
        if not getattr(self._tokenizer, "chat_template", None):
            raise UsageError(
                f"The model '{self._loaded.name}' has no chat template.",
                "Ask it with a text to continue: /v1/completions, or without chat.",
            )
        try:
            text = self._tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True
            )
        except TemplateError as error:
            raise UsageError(
                f"The model's chat template refuses these messages: {error}"
            ) from error
        self._check_length(text)
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def check(self, ids: Sequence[int], *, room: int = 1) -> None:
        """Whether the model can read token ids.

        Args:
            room: tokens that have to be left for an answer.

        Raises:
            UsageError: there are none, too many, or unknown ones.
        """
        if not ids:
            raise UsageError("The prompt is empty.", "Write something for the model to read.")
        if len(ids) + room > self._context:
            raise UsageError(
                f"The prompt has {len(ids)} tokens, and the answer has to have {room}; "
                f"the model takes {self._context} tokens in all.",
                "Shorten it.",
            )
        if max(ids) >= self._vocabulary:
            raise UsageError(f"The model has no token {max(ids)}; it has {self._vocabulary}.")

    @cached_property
    def _vocabulary(self) -> int:
        embeddings: Any = self._loaded.model.get_input_embeddings()  # type: ignore[operator]
        return int(embeddings.num_embeddings)

    @cached_property
    def _longest(self) -> int:
        """Characters that no prompt can have which the model still takes."""
        # A token's own form has at least as many characters as its text.
        return self._context * max(map(len, self._tokenizer.get_vocab()))

    def _check_length(self, text: str) -> None:
        """Refuse a text that is surely too long, before all of it is read."""
        self._check_characters(text)
        size = FIRST * self._context
        while size < len(text):
            ids = self._tokenizer(text[:size], add_special_tokens=False)["input_ids"]
            if len(ids) > SURELY * self._context:
                raise self._too_long(text)
            size *= 2

    def _check_characters(self, text: str) -> None:
        if len(text) > self._longest:
            raise self._too_long(text)

    def _too_long(self, text: str) -> UsageError:
        return UsageError(
            f"The prompt has {len(text)} characters; the model takes {self._context} tokens "
            "in all.",
            "Shorten it.",
        )

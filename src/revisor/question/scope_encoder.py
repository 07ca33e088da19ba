"""A question encoder in one file: a small transformer trained to tell a question's scope."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import IO, Any

import numpy as np
from tokenizers import Tokenizer

from revisor.question.transformer import HOPELESS, Encoded, Shape, Transformer

SLOT = "{}"
_READ = 1_024  # characters on either side of the name that are looked at: far more than positions
_AHEAD = 0.63  # of a text that is too long, what is kept ahead of the name
_OBJECTION = 4.0  # log-odds by which the other way round has to be worse
_STEP = 1e-3  # scores are told in steps of it, so that machines agree


class ScopeEncoder:
    """A `QuestionEncoder`; `head` has `name`, `shape`, `open`, `close` (tokens around a text) and
    `unseen` (data sets whose relations it was not trained on)."""

    def __init__(self, head: dict[str, Any], network: Transformer, tokenizer: Tokenizer) -> None:
        self.name = str(head["name"])
        self.unseen = frozenset(head["unseen"])
        self._open, self._close = int(head["open"]), int(head["close"])
        self._network = network
        self._tokenizer = tokenizer

    @classmethod
    def read(cls, file: IO[bytes]) -> ScopeEncoder:
        """The one in a file that `write` wrote."""
        head, weights, tokenizer = read(file)
        return cls(head, Transformer(Shape(**head["shape"]), weights), tokenizer)

    def tokens(self, text: str) -> list[int]:
        """The tokens of a text with `{}` for the name."""
        shape = self._network.shape
        return text_tokens(text, self._tokenizer, shape, self._open, self._close)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Texts as `scope` compares them; each by itself, so that none depends on the others."""
        return [self._network.encode(self.tokens(text)) for text in texts]

    def logit(self, question: Encoded, template: Encoded) -> float:
        """The log-odds of `scope`.

        A network trained to see what a question says beyond a template is weaker the other way
        round, so it also compares template with question, and may then object.
        """
        asked = self._network.compare(question, template)
        if asked < HOPELESS:
            return asked
        turned = self._network.compare(template, question)
        return min(asked, turned + _OBJECTION)

    def scope(self, question: Encoded, template: Encoded) -> float:
        """The probability that a question asks for what a template asks for; at least a step above
        0."""
        logit = min(max(self.logit(question, template), -30.0), 30.0)
        return max(round(1 / (1 + math.exp(-logit)) / _STEP), 1) * _STEP


def around_name(text: str) -> str:
    """The part of a text that an encoder may read, so that a long one costs no more than that."""
    ahead, slot, behind = text.partition(SLOT)
    return ahead[-_READ:] + slot + behind[:_READ]


def text_tokens(
    text: str, tokenizer: Tokenizer, shape: Shape, opening: int, closing: int
) -> list[int]:
    """The tokens of a text, `{}` as one, between two more; of a long text those around the name."""
    ahead, slot, behind = around_name(text).partition(SLOT)
    before, after = _ids(ahead, tokenizer), _ids(behind, tokenizer)
    room = shape.positions - 3
    if len(before) + len(after) > room:
        before = before[-max(int(_AHEAD * room), room - len(after)) :]
        after = after[: room - len(before)]
    name = [shape.name] if slot else []
    return [opening, *before, *name, *after, closing]


def _ids(text: str, tokenizer: Tokenizer) -> list[int]:
    if not text.strip():
        return []
    found: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return found


def read(file: IO[bytes]) -> tuple[dict[str, Any], dict[str, np.ndarray], Tokenizer]:
    """What `write` wrote: head with `shape`, weights, tokenizer. Word vectors stay 8-bit integers,
    with a scale per row in `words.weight scale`."""
    arrays = np.load(file, allow_pickle=False)
    head = json.loads(arrays["head"].tobytes())
    weights = {name: _unpacked(arrays, name) for name in head["weights"]}
    for name in ("words.weight", "words.weight scale"):
        weights[name] = arrays[name]
    return head, weights, Tokenizer.from_str(arrays["tokenizer"].tobytes().decode())


def write(
    file: IO[bytes],
    shape: Shape,
    weights: Mapping[str, np.ndarray],
    tokenizer: Tokenizer,
    head: Mapping[str, Any],
) -> None:
    """Write an encoder, its matrices in 8 bits with a scale per row; for `head` see
    `ScopeEncoder`."""
    told = {**head, "shape": asdict(shape), "weights": list(weights)}
    arrays = {
        "head": np.frombuffer(json.dumps(told).encode(), np.uint8),
        "tokenizer": np.frombuffer(tokenizer.to_str().encode(), np.uint8),
    }
    for name, value in weights.items():
        arrays.update(_packed(name, value))
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _packed(name: str, value: np.ndarray) -> Iterable[tuple[str, np.ndarray]]:
    if value.ndim < 2:
        return [(name, value.astype(np.float32))]
    scale = np.maximum(np.abs(value).max(1), 1e-8) / 127
    return [
        (name, np.rint(value / scale[:, None]).astype(np.int8)),
        (f"{name} scale", scale.astype(np.float32)),
    ]


def _unpacked(arrays: Any, name: str) -> np.ndarray:
    value: np.ndarray = arrays[name]
    if value.dtype != np.int8:
        return value
    scaled: np.ndarray = value * arrays[f"{name} scale"][:, None]
    return scaled

"""The network of the question encoder: two texts read by one transformer, compared token by token.

The tower is a BERT (Devlin et al. 2019). Then each token of one text is compared with what it
attends to in the other (decomposable attention, Parikh et al. 2016; the enhancement
[x, a, x - a, x * a] and the pooling are of ESIM, Chen et al. 2017): a near miss is a text with
tokens that nothing in the other one explains. It is trained by `tools/train_question_encoder.py`.

Shapes: L and M tokens of two texts, D width of the tower, H heads, P width of a comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

HOPELESS = -4.0  # log-odds by the texts as wholes below which their tokens are not compared
_EPSILON = 1e-12
# Abramowitz and Stegun (1964), 7.1.26: erf to 1.5e-7.
_ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
_ERF_AT = 0.3275911


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a network: widths of the tower and of a comparison (`compared`), numbers of tokens
    (`vocabulary`, `positions`), and the id of the token that stands for the name."""

    vocabulary: int
    layers: int
    width: int = 384
    heads: int = 12
    inner: int = 1536
    positions: int = 48
    compared: int = 192
    name: int = 1


class Encoded(NamedTuple):
    """A text as the network sees it: its meaning (D), of length 1, and its tokens (L, P)."""

    whole_D: np.ndarray
    tokens_LP: np.ndarray


class Transformer:
    """Tells how surely one text asks for what another asks for, by float32 weights; word vectors
    may be integers with `words.weight scale`."""

    def __init__(self, shape: Shape, weights: Mapping[str, np.ndarray]) -> None:
        self.shape = shape
        self._words, self._scale = weights["words.weight"], weights.get("words.weight scale")
        self._weights = {
            name: np.ascontiguousarray(value.T) if name.endswith(".weight") else value
            for name, value in weights.items()
            if not name.startswith("words.")
        }
        self._sharpness, self._slope, self._bias = (
            float(weights[name]) for name in ("sharpness", "slope", "bias")
        )

    def encode(self, ids: Sequence[int]) -> Encoded:
        """A text as the network sees it."""
        x_LD = self._looked_up(np.asarray(ids, dtype=np.intp))
        for layer in range(self.shape.layers):
            x_LD = self._layer(x_LD, f"layers.{layer}.")
        return Encoded(_unit(x_LD.mean(0)), self._linear(x_LD, "project"))

    def compare(self, one: Encoded, other: Encoded) -> float:
        """Log-odds that one text asks for what the other asks for."""
        whole = self._slope * float(one.whole_D @ other.whole_D) + self._bias
        if whole < HOPELESS:
            return whole
        match_LM = self._sharpness * (_unit(one.tokens_LP) @ _unit(other.tokens_LP).T)
        pooled = [
            *self._pooled(one.tokens_LP, _softmax(match_LM) @ other.tokens_LP),
            *self._pooled(other.tokens_LP, _softmax(match_LM.T) @ one.tokens_LP),
        ]
        gathered = _gelu(self._linear(np.concatenate(pooled), "gather"))
        judged = float(self._linear(gathered, "judge")[0])
        return whole + judged

    def _looked_up(self, ids_L: np.ndarray) -> np.ndarray:
        x_LD = self._words[ids_L].astype(np.float32)
        if self._scale is not None:
            x_LD *= self._scale[ids_L, None]
        x_LD[ids_L == self.shape.name] = self._weights["name"]
        return self._norm(x_LD + self._weights["positions"][: len(ids_L)], "norm")

    def _layer(self, x_LD: np.ndarray, name: str) -> np.ndarray:
        length, heads = len(x_LD), self.shape.heads
        qkv = self._linear(x_LD, f"{name}qkv").reshape(length, 3, heads, -1)
        query_HLE, key_HLE, value_HLE = qkv.transpose(1, 2, 0, 3)
        scaled_HLL = query_HLE @ key_HLE.transpose(0, 2, 1) / np.sqrt(query_HLE.shape[-1])
        seen_HLE = _softmax(scaled_HLL.astype(np.float32)) @ value_HLE
        seen_LD = seen_HLE.transpose(1, 0, 2).reshape(length, -1)
        x_LD = self._norm(x_LD + self._linear(seen_LD, f"{name}out"), f"{name}norm_1")
        inner = _gelu(self._linear(x_LD, f"{name}up"))
        return self._norm(x_LD + self._linear(inner, f"{name}down"), f"{name}norm_2")

    def _pooled(self, x_LP: np.ndarray, seen_LP: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and maximum (P) of the comparisons of a text's tokens."""
        both = np.concatenate([x_LP, seen_LP, x_LP - seen_LP, x_LP * seen_LP], -1)
        compared_LP = _gelu(self._linear(both, "compare"))
        return compared_LP.mean(0), compared_LP.max(0)

    def _linear(self, x: np.ndarray, name: str) -> np.ndarray:
        found: np.ndarray = x @ self._weights[f"{name}.weight"]
        found += self._weights[f"{name}.bias"]
        return found

    def _norm(self, x_LD: np.ndarray, name: str) -> np.ndarray:
        centred = x_LD - x_LD.mean(-1, keepdims=True)
        spread = np.sqrt((centred * centred).mean(-1, keepdims=True) + _EPSILON)
        found: np.ndarray = centred / spread
        found *= self._weights[f"{name}.weight"]
        found += self._weights[f"{name}.bias"]
        return found


def _gelu(x: np.ndarray) -> np.ndarray:
    """The Gaussian error linear unit (Hendrycks and Gimpel 2016)."""
    size = np.abs(x) * np.float32(np.sqrt(0.5))
    at = 1 / (1 + np.float32(_ERF_AT) * size)
    series = np.float32(_ERF[-1]) * at
    for factor in reversed(_ERF[:-1]):
        series = (series + np.float32(factor)) * at
    erf = np.copysign(1 - series * np.exp(-size * size), x)
    found: np.ndarray = np.float32(0.5) * x * (1 + erf)
    return found


def _softmax(x: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.exp(x - x.max(-1, keepdims=True))
    found /= found.sum(-1, keepdims=True)
    return found


def _unit(x: np.ndarray) -> np.ndarray:
    found: np.ndarray = x / np.maximum(np.sqrt((x * x).sum(-1, keepdims=True)), _EPSILON)
    return found

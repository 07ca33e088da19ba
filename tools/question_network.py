"""The network of the question encoder as it is trained; `revisor.question.transformer` runs it.

Two towers with the same weights read the texts (a BERT, Devlin et al. 2019); then each token of
one text is compared with what it attends to in the other (decomposable attention, Parikh et al.
2016; the enhancement [x, a, x - a, x * a] and pooling are of ESIM, Chen et al. 2017). A near miss
is a text with tokens that nothing in the other one explains.

Shapes: N texts, L tokens, D width of a tower, P width of a comparison.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from revisor.question.transformer import Shape

_MASKED = -1e4
DROPPED = 0.1  # of what a layer adds, while it is trained


class Encoded(NamedTuple):
    """Texts as the network sees them: what they mean as a whole (N, D), their tokens (N, L, P) and
    which of them are there (N, L)."""

    whole_ND: torch.Tensor
    tokens_NLP: torch.Tensor
    is_there_NL: torch.Tensor

    def at(self, places: torch.Tensor) -> Encoded:
        """Some of the texts."""
        return Encoded(*(part[places] for part in self))


class _Layer(nn.Module):
    """A layer of a BERT."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, shape.inner), nn.Linear(shape.inner, width)
        self.drop = nn.Dropout(DROPPED)
        self.norm_1, self.norm_2 = nn.LayerNorm(width, eps=1e-12), nn.LayerNorm(width, eps=1e-12)

    def forward(self, x_NLD: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        count, length, width = x_NLD.shape
        parts = self.qkv(x_NLD).view(count, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        seen_NLD = self.out(seen.transpose(1, 2).reshape(x_NLD.shape))
        x_NLD = self.norm_1(x_NLD + self.drop(seen_NLD))
        inner_NLD = self.down(F.gelu(self.up(x_NLD)))
        found: torch.Tensor = self.norm_2(x_NLD + self.drop(inner_NLD))
        return found


class ScopeNetwork(nn.Module):
    """Says how surely one text asks for what another asks for."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        width, compared = shape.width, shape.compared
        self.words = nn.Embedding(shape.vocabulary, width)
        self.name = nn.Parameter(torch.zeros(width))
        self.positions = nn.Parameter(torch.zeros(shape.positions, width))
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList(_Layer(shape) for _ in range(shape.layers))
        self.drop = nn.Dropout(DROPPED)
        self.project = nn.Linear(width, compared)
        self.compare = nn.Linear(4 * compared, compared)
        self.gather = nn.Linear(4 * compared, compared)
        self.judge = nn.Linear(compared, 1)
        self.sharpness = nn.Parameter(torch.tensor(8.0))
        self.slope, self.bias = nn.Parameter(torch.tensor(12.0)), nn.Parameter(torch.tensor(-6.0))
        nn.init.zeros_(self.judge.weight)
        nn.init.zeros_(self.judge.bias)

    def encode(self, ids_NL: torch.Tensor, is_there_NL: torch.Tensor | None = None) -> Encoded:
        """Texts as the network sees them.

        Args:
            ids_NL: tokens.
            is_there_NL: which of them are no padding; None: all.
        """
        named_NL1 = (ids_NL == self.shape.name)[..., None]
        x_NLD = torch.where(named_NL1, self.name, self.words(ids_NL))
        x_NLD = self.drop(self.norm(x_NLD + self.positions[: ids_NL.shape[1]]))
        mask = None if is_there_NL is None else is_there_NL[:, None, None, :]
        for layer in self.layers:
            x_NLD = layer(x_NLD, mask)
        there_NL = torch.ones_like(ids_NL, dtype=torch.bool) if is_there_NL is None else is_there_NL
        return Encoded(_mean(x_NLD, there_NL), self.project(x_NLD), there_NL)

    def alike(self, one: Encoded, other: Encoded) -> torch.Tensor:
        """Log-odds (N, N') by the texts as wholes alone."""
        return self.slope * (_unit(one.whole_ND) @ _unit(other.whole_ND).T) + self.bias

    def forward(self, one: Encoded, other: Encoded) -> torch.Tensor:
        """Log-odds (N) that each text asks for what its partner asks for."""
        whole_N = (_unit(one.whole_ND) * _unit(other.whole_ND)).sum(-1)
        a_NLP, b_NLP = one.tokens_NLP, other.tokens_NLP
        match_NLL = self.sharpness * (_unit(a_NLP) @ _unit(b_NLP).transpose(1, 2))
        seen_by_a = _attended(match_NLL, b_NLP, other.is_there_NL)
        seen_by_b = _attended(match_NLL.transpose(1, 2), a_NLP, one.is_there_NL)
        pooled = [
            *self._pooled(a_NLP, seen_by_a, one.is_there_NL),
            *self._pooled(b_NLP, seen_by_b, other.is_there_NL),
        ]
        judged_N = self.judge(F.gelu(self.gather(torch.cat(pooled, -1))))[:, 0]
        found: torch.Tensor = self.slope * whole_N + self.bias + judged_N
        return found

    def _pooled(
        self, x_NLP: torch.Tensor, seen_NLP: torch.Tensor, is_there_NL: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and maximum (N, P) of the comparisons of a text's tokens."""
        both = torch.cat([x_NLP, seen_NLP, x_NLP - seen_NLP, x_NLP * seen_NLP], -1)
        compared_NLP = F.gelu(self.compare(self.drop(both)))
        hidden = compared_NLP.masked_fill(~is_there_NL[..., None], _MASKED)
        return _mean(compared_NLP, is_there_NL), hidden.amax(1)


def _attended(match: torch.Tensor, tokens: torch.Tensor, is_there: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = match.masked_fill(~is_there[:, None, :], _MASKED).softmax(-1) @ tokens
    return found


def _mean(x_NLD: torch.Tensor, is_there_NL: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = (x_NLD * is_there_NL[..., None]).sum(1)
    return found / is_there_NL.sum(1, keepdim=True)


def _unit(x: torch.Tensor) -> torch.Tensor:
    return F.normalize(x, dim=-1)

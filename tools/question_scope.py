"""The scope of `revisor.question.bag` with parameters that can be fitted.

Shapes: B pairs of a question and a template, Q and T their words, E entries, A directions, V words
of the vocabulary, M features of a word, Z of its sense, K weights of a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from revisor.question.bag import ENTRIES, FAINT, INVERSE, LENGTH, OTHER_ANSWER, WEIGHTS, BagEncoder
from revisor.question.structure import (
    FUNCTION,
    Direction,
    Role,
    answers_differ,
    direction,
    inverse,
    roles,
)
from revisor.question.vocabulary import NAME, SPECIAL, Token, Vocabulary

SENSES = 48  # Z


@dataclass(frozen=True, kw_only=True)
class Lexicon:
    """What of the words is fixed before the scope is fitted.

    Attributes:
        vocabulary: of V words.
        x_VA: directions.
        feature_VM: of each word, of unit variance.
        rare_V: the logarithm of how often it occurs.
        function_V: 1 for function words.
    """

    vocabulary: Vocabulary
    x_VA: torch.Tensor
    feature_VM: torch.Tensor
    rare_V: torch.Tensor
    function_V: torch.Tensor


def lexicon(
    known: Sequence[str], x_NA: np.ndarray, feature_NM: np.ndarray, count_N: np.ndarray
) -> Lexicon:
    """The lexicon of some words: zeros for the special ids before them."""

    def behind(values: np.ndarray) -> torch.Tensor:
        empty = np.zeros((SPECIAL, *values.shape[1:]))
        return torch.tensor(np.concatenate([empty, values]), dtype=torch.float32)

    return Lexicon(
        vocabulary=Vocabulary(known),
        x_VA=behind(x_NA),
        feature_VM=behind(feature_NM),
        rare_V=behind(np.log1p(count_N) / 5),
        function_V=behind(np.array([word in FUNCTION for word in known], float)),
    )


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Questions and templates as tensors; -1 and -2 where there is no word."""

    id_BQ: torch.Tensor
    id_BT: torch.Tensor
    key_BQ: torch.Tensor
    key_BT: torch.Tensor
    role_BQ: torch.Tensor
    entry_BEA: torch.Tensor
    inverse_B: torch.Tensor
    astray_B: torch.Tensor


def pairs(
    lexicon: Lexicon,
    encoder: BagEncoder,
    texts: Sequence[tuple[str, str]],
    known: dict[str, object],
) -> Pairs:
    """Pairs of a template and a question as tensors.

    Args:
        encoder: makes the entries of templates.
        known: entries that were made before; filled.
    """
    count, width = len(texts), lexicon.x_VA.shape[1]
    ids = np.full((2, count, LENGTH), -1)
    keys = np.stack([np.full((count, LENGTH), -1), np.full((count, LENGTH), -2)])
    role_BQ = np.full((count, LENGTH), int(Role.AFTER))
    entry_BEA, turned_2B = np.zeros((count, ENTRIES, width), np.float32), np.zeros((2, count))
    for n, (template, question) in enumerate(texts):
        read = [lexicon.vocabulary.tokens(text)[-LENGTH:] for text in (question, template)]
        for side, tokens in enumerate(read):
            ids[side, n, : len(tokens)] = [token.id for token in tokens]
            keys[side, n, : len(tokens)] = [token.key for token in tokens]
        role_BQ[n, : len(read[0])] = roles([token.word for token in read[0]])
        ways = [_direction(tokens) for tokens in read]
        turned_2B[:, n] = inverse(*ways), answers_differ(*ways)
        if template not in known:
            known[template] = encoder.encode_templates([template])[0][:, :width]
        entry_BEA[n] = known[template]
    tensor = torch.from_numpy
    return Pairs(
        id_BQ=tensor(ids[0]),
        id_BT=tensor(ids[1]),
        key_BQ=tensor(keys[0]),
        key_BT=tensor(keys[1]),
        role_BQ=tensor(role_BQ),
        entry_BEA=tensor(entry_BEA),
        inverse_B=tensor(turned_2B[0]).float(),
        astray_B=tensor(turned_2B[1]).float(),
    )


def _direction(tokens: Sequence[Token]) -> Direction:
    key = {token.word: token.key for token in tokens}
    way = direction([token.word for token in tokens])
    return way._replace(owned=key.get(way.owned, 0), owner=key.get(way.owner, 0))


class Scope(torch.nn.Module):
    """The log-odds that questions ask for what templates ask for.

    The weights of a word are a linear function of its features, so that they hold for words that
    no relation has taught, and a small part of its own.
    """

    def __init__(self, lexicon: Lexicon) -> None:
        super().__init__()
        self.lexicon = lexicon
        count, features = lexicon.feature_VM.shape
        self.linear = torch.nn.Linear(features, WEIGHTS)
        torch.nn.init.zeros_(self.linear.weight)
        torch.nn.init.constant_(self.linear.bias, -1.0)
        special_SK = torch.full((SPECIAL, WEIGHTS), -1.0)
        special_SK[NAME] = -9.0
        self.special_SK = torch.nn.Parameter(special_SK)
        self.rare_K = torch.nn.Parameter(torch.full((WEIGHTS,), -0.3))
        self.length_K = torch.nn.Parameter(torch.zeros(WEIGHTS))
        self.function_K = torch.nn.Parameter(torch.full((WEIGHTS,), -1.0))
        self.own = torch.nn.Embedding(count, WEIGHTS)
        torch.nn.init.zeros_(self.own.weight)
        self.sense = torch.nn.Linear(features, SENSES, bias=False)
        torch.nn.init.eye_(self.sense.weight)
        # In the order of `bag.PARAMETERS`; the slope of the level goes through a softplus.
        first = [8.0, 0.6, 8.0, 0.4, 8.0, 0.55, 0.75, 10.0, 0.6, 2.0]
        self.fit = torch.nn.Parameter(torch.tensor(first))

    def weights(self, ids: torch.Tensor) -> torch.Tensor:
        """Weights of words (..., K), all positive."""
        lex = self.lexicon
        length = lex.x_VA[ids].norm(dim=-1, keepdim=True)
        found = self.linear(lex.feature_VM[ids]) + self.own(ids) + length * self.length_K
        found = (
            found
            + lex.rare_V[ids, None] * self.rare_K
            + lex.function_V[ids, None] * self.function_K
        )
        special = self.special_SK[ids.clamp(max=SPECIAL - 1)]
        return F.softplus(torch.where((ids < SPECIAL)[..., None], special, found))

    def forward(self, pairs: Pairs) -> torch.Tensor:
        """The log-odds (B); as in `BagEncoder.logit`, for templates of few words."""
        lex, fit = self.lexicon, self.fit
        there_BQ, there_BT = pairs.id_BQ >= 0, pairs.id_BT >= 0
        id_BQ, id_BT = pairs.id_BQ.clamp(min=0), pairs.id_BT.clamp(min=0)
        x_BQA, x_BTA = lex.x_VA[id_BQ], lex.x_VA[id_BT]
        length_BQ, length_BT = x_BQA.norm(dim=-1), x_BTA.norm(dim=-1)
        total_BA = (x_BQA * there_BQ[..., None]).sum(1)
        bag_BA = total_BA / total_BA.norm(dim=-1, keepdim=True).clamp(min=FAINT)
        level_B, best_B = torch.einsum("bea,ba->be", pairs.entry_BEA, bag_BA).max(1)
        entry_BA = pairs.entry_BEA[torch.arange(len(best_B)), best_B]
        alike_BQT = torch.einsum("bqa,bta->bqt", _unit(x_BQA), _unit(x_BTA))
        known_BQT = torch.minimum(length_BQ[:, :, None], length_BT[:, None]).clamp(max=1)
        z_BQZ, z_BTZ = (self.sense(lex.feature_VM[ids]) for ids in (id_BQ, id_BT))
        means_BQT = torch.einsum("bqz,btz->bqt", _unit(z_BQZ), _unit(z_BTZ))
        same_BQT = (pairs.key_BQ[:, :, None] == pairs.key_BT[:, None]).float()
        both_BQT = there_BQ[:, :, None] & there_BT[:, None]
        strict_BQ1 = (pairs.role_BQ >= Role.OUTER)[..., None]
        sense_BQT = torch.sigmoid(fit[4] * (means_BQT - fit[5]))
        loose_BQT = torch.maximum(
            torch.sigmoid(fit[0] * (alike_BQT - fit[1]) * known_BQT), sense_BQT
        )
        strict_BQT = torch.sigmoid(fit[4] * (means_BQT - fit[6]))
        match_BQT = torch.where(strict_BQ1, strict_BQT, loose_BQT)
        match_BQ = (torch.maximum(match_BQT, same_BQT) * both_BQT).amax(2)
        toward_BQ = torch.einsum("bqa,ba->bq", x_BQA, entry_BA) / length_BQ.clamp(min=1)
        toward_BQ = torch.sigmoid(fit[2] * (toward_BQ - fit[3])) * ~strict_BQ1[..., 0]
        reached_BT = (torch.maximum(sense_BQT, same_BQT) * both_BQT).amax(1)
        weight_BQ = self.weights(id_BQ).gather(2, pairs.role_BQ[..., None])[..., 0]
        weight_BQ = weight_BQ * (there_BQ & (id_BQ != NAME))
        weight_BT = self.weights(id_BT)[..., -1] * (there_BT & (id_BT != NAME))
        return (
            fit[9]
            - F.softplus(fit[7]) * torch.relu(fit[8] - level_B)
            - (weight_BQ * (1 - torch.maximum(match_BQ, toward_BQ))).sum(1)
            - (weight_BT * (1 - reached_BT)).sum(1)
            - INVERSE * pairs.inverse_B
            - OTHER_ANSWER * pairs.astray_B
        )

    def parameters_of(self) -> list[float]:
        """In the order of `bag.PARAMETERS`."""
        found = self.fit.detach().clone()
        found[7] = F.softplus(found[7])
        return [float(x) for x in found]


def _unit(x: torch.Tensor) -> torch.Tensor:
    return F.normalize(x, dim=-1, eps=1e-6)

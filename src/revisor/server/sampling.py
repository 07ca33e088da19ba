"""The next token of one sequence, and how likely it was.

Log probabilities are those of the logits as they come, before temperature and top-p. V tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

COLDEST = 1e-5  # below it, numbers of single precision cannot tell a temperature from 0
LEAST_MASS = 1e-6  # a top-p below it is the likeliest token alone
UNLIKELY = -9999.0  # the log probability of what cannot be: JSON has no infinity


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        temperature: 0 for the most likely token always.
        top_p: the smallest set of tokens with at least this probability is drawn from.
        seed: of the draws; None for another one each time.
        logprobs: how many rivals are told with each token; None for no log probabilities at all.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    logprobs: int | None = None


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A token.

    Attributes:
        token: its id.
        logprob: natural log of its probability; None where nobody asked.
        rivals: the likeliest tokens with theirs, the likeliest first.
    """

    token: int
    logprob: float | None = None
    rivals: tuple[tuple[int, float], ...] = ()


def generator_of(sampling: Sampling, choice: int) -> torch.Generator:
    """The source of chance of the `choice`-th answer of a request; on the CPU, wherever the model
    is, so that a seed means the same on every machine."""
    generator = torch.Generator()
    if sampling.seed is None:
        generator.seed()
    else:
        generator.manual_seed((sampling.seed + choice) % 2**63)
    return generator


def choose(logits_V: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> Chosen:
    """The next token."""
    token = _token(logits_V, sampling, generator)
    if sampling.logprobs is None:
        return Chosen(token=token)
    logprob_V = torch.log_softmax(logits_V.float(), dim=-1).clamp_min(UNLIKELY)
    values, ids = logprob_V.topk(min(sampling.logprobs, len(logprob_V)))
    return Chosen(
        token=token,
        logprob=float(logprob_V[token]),
        rivals=tuple(zip(ids.tolist(), values.tolist(), strict=True)),
    )


def _token(logits_V: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    if sampling.temperature < COLDEST:
        return int(logits_V.argmax())
    # Against an overflow where the temperature is small: the largest logit becomes 0 first.
    scaled_V = (logits_V.float().cpu() - logits_V.float().max().cpu()) / sampling.temperature
    p_V = torch.softmax(scaled_V, dim=-1)
    if sampling.top_p < 1:
        sorted_V, order_V = p_V.sort(descending=True)
        before_V = sorted_V.cumsum(0) - sorted_V
        sorted_V[before_V >= max(sampling.top_p, LEAST_MASS)] = 0  # the first token always stays
        return int(order_V[torch.multinomial(sorted_V, 1, generator=generator)])
    return int(torch.multinomial(p_V, 1, generator=generator))

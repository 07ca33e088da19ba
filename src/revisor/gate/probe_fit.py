"""Fit a model's probe: logistic regression on logits of the shipped texts.

The centred logits z of S tokens are projected on the principal axes of the fitted positions, each
scaled by its spread plus what 16 bits lose of a logit; so nothing smaller than that loss is relied
on, and the weights stay small. The weights w of the axes give those of the logits, a = U w, which
sum to zero because every column of U does.

Shapes: P positions, S chosen tokens, K principal axes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from revisor.gate.functional import Probe, ProbeFigures
from revisor.gate.probe_logits import Positions, choose_tokens, read_positions
from revisor.gate.probe_texts import ORDINARY, Labelled, labelled_texts
from revisor.models.load import LoadedModel

RATE = 0.14  # of the positions of ordinary text that may be taken for answer positions
RIDGE = 0.1  # on weights in units of spread
LOSS = 2.0**-8  # of a logit's size, in 16 bits
STEPS = 100


def fit_probe(loaded: LoadedModel) -> Probe:
    """Fit a probe and measure it on held-out texts; NotSupported unless the LM head is linear."""
    start = time.monotonic()
    texts = labelled_texts(loaded.tokenizer)
    token_S = choose_tokens(loaded)
    read = read_positions(loaded, texts, token_S)
    held_P = torch.tensor([text.held_out for text in texts])[read.text_P]
    fitted_P = ~held_P & ~read.open_P
    weight_S = fit_weights(read.logits_PS[fitted_P], read.due_P[fitted_P])
    score_P = _centred(read.logits_PS) @ weight_S
    ordinary_P = torch.tensor([text.frame == ORDINARY for text in texts])[read.text_P] & held_P
    threshold = float(score_P[ordinary_P].quantile(1 - RATE))
    figures = ProbeFigures(
        recall=_recall(texts, read, held_P, score_P > threshold),
        ordinary=_ordinary_rate(score_P[ordinary_P], read.text_P[ordinary_P]),
        agreement=_agreement(read.logits_PS[held_P], weight_S, threshold),
        texts=len(texts),
        seconds=round(time.monotonic() - start, 1),
    )
    return Probe(token_S=token_S, weight_S=weight_S, threshold=threshold, figures=figures)


def fit_weights(logits_PS: torch.Tensor, due_P: torch.Tensor) -> torch.Tensor:
    """Weights (S), float32, that sum to zero, by regularised logistic regression on `logits_PS`,
    float32; both classes count alike, however many positions they have."""
    centred_PS = _centred(logits_PS)
    values_S, axes_SS = torch.linalg.eigh((centred_PS.T @ centred_PS).double() / len(centred_PS))
    kept_S = values_S > values_S[-1] * 1e-9  # the rest is rounding: an LM head has rank D
    axes_SK = axes_SS[:, kept_S].float()
    x_PK = centred_PS @ axes_SK
    loss = LOSS * float(logits_PS.pow(2).mean().sqrt())
    mean_K, spread_K = x_PK.mean(0), (x_PK.var(0) + loss**2).sqrt()
    x_PK = (x_PK - mean_K) / spread_K
    weight_K = _logistic(x_PK, due_P.float()) / spread_K
    weight_S: torch.Tensor = axes_SK.double() @ weight_K.double()
    return (weight_S - weight_S.mean()).float()


def _logistic(x_PK: torch.Tensor, due_P: torch.Tensor) -> torch.Tensor:
    share = due_P.mean()
    each_P = torch.where(due_P > 0, 0.5 / share, 0.5 / (1 - share)) / len(due_P)
    weight_K = torch.zeros(x_PK.shape[1], requires_grad=True)
    bias = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.LBFGS([weight_K, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        miss_P = F.binary_cross_entropy_with_logits(x_PK @ weight_K + bias, due_P, reduction="none")
        loss = (each_P * miss_P).sum() + RIDGE * weight_K.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    return weight_K.detach()


def _centred(logits_PS: torch.Tensor) -> torch.Tensor:
    return logits_PS - logits_PS.mean(1, keepdim=True)


def _recall(
    texts: Sequence[Labelled], read: Positions, held_P: torch.Tensor, taken_P: torch.Tensor
) -> dict[str, float]:
    """By frame, the share of answer positions kept apart that are taken for such."""
    frames = [text.frame for text in texts]
    recall = {}
    for frame in dict.fromkeys(frames):
        of_P = torch.tensor([name == frame for name in frames])[read.text_P]
        taken = taken_P[of_P & held_P & read.due_P]
        if len(taken):
            recall[frame] = round(float(taken.float().mean()), 4)
    return recall


def _ordinary_rate(score_P: torch.Tensor, text_P: torch.Tensor) -> float:
    """The share of positions above the threshold that the other half of the texts sets; on the
    texts that set it, it would be RATE whatever the probe is worth."""
    half_P = text_P % 2 == 0
    above = [score_P[one_P] > score_P[~one_P].quantile(1 - RATE) for one_P in (half_P, ~half_P)]
    return round(float(torch.cat(above).float().mean()), 4)


def _agreement(logits_PS: torch.Tensor, weight_S: torch.Tensor, threshold: float) -> float:
    """The share of positions decided the same behind bf16 and a log-softmax."""
    coarse_PS = logits_PS.bfloat16().float().log_softmax(-1)
    same_P = (_centred(coarse_PS) @ weight_S > threshold) == (
        _centred(logits_PS) @ weight_S > threshold
    )
    return round(float(same_P.float().mean()), 4)

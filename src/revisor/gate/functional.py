"""The probe itself: a linear functional of next-token logits, its figures and its file.

A linear probe of the final hidden state h is one of the logits W h, since an LM head has full
column rank; where its weights sum to zero it is the same for logits and for their log-softmax.

Shapes: S chosen tokens, B rows, V vocabulary.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from revisor.errors import NotSupported

FORMAT = 1  # of the file; counts up when texts or fit change, so that older probes are not used
RECALL = 0.8  # of answer positions, the least in completions and in questions
ORDINARY_RATE = 0.3  # of the positions of ordinary text, the most
AGREEMENT = 0.95  # of decisions that 16 bits leave as they are, the least
COMPLETIONS = ("completion", "behind a sentence")
QUESTIONS = ("question", "Q: A:", "Question: Answer:", "few-shot")


@dataclass(frozen=True, kw_only=True)
class ProbeFigures:
    """How well a probe does on texts that it was not fitted on.

    Attributes:
        recall: by frame, the share of answer positions that it finds.
        ordinary: the share of positions in ordinary text that it takes for answer positions.
        agreement: the share of positions decided the same when logits go through bf16 and a
            log-softmax.
        texts: number of texts read, fitted ones and others.
        seconds: of reading and fitting.
    """

    recall: Mapping[str, float]
    ordinary: float
    agreement: float
    texts: int
    seconds: float

    @property
    def ok(self) -> bool:
        """It is good enough to decide where an answer is due."""
        return not self.why_not

    @property
    def why_not(self) -> str:
        """What is wrong with it, as a clause of an error message; empty where nothing is."""
        for kind, frames in (("completions", COMPLETIONS), ("questions", QUESTIONS)):
            found = [self.recall[frame] for frame in frames if frame in self.recall]
            recall = sum(found) / max(1, len(found))
            if not recall >= RECALL:
                return f"it finds {recall:.0%} of the answer positions of {kind}"
        if not self.ordinary <= ORDINARY_RATE:
            return f"it takes {self.ordinary:.0%} of ordinary text for answer positions"
        if not self.agreement >= AGREEMENT:
            return f"16 bits leave {self.agreement:.0%} of its decisions as they are"
        return ""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Tells from next-token logits whether an answer is due.

    Attributes:
        token_S: the tokens whose logits it reads, int64.
        weight_S: their weights, float32; they sum to 0.
        threshold: an answer is due where the weighted sum is above.
        figures: on texts that it was not fitted on.
    """

    token_S: torch.Tensor
    weight_S: torch.Tensor
    threshold: float
    figures: ProbeFigures
    _placed: dict[torch.device, tuple[torch.Tensor, torch.Tensor]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def score(self, logits_BV: torch.Tensor) -> torch.Tensor:
        """The functional's values (B), float32, on the logits' device; as is_due reads logits."""
        token_S, weight_S = self._on(logits_BV.device)
        logits_BS = logits_BV.index_select(-1, token_S).float()
        # The weights sum to 0, so a number taken off a row changes nothing but rounding.
        logits_BS -= logits_BS[:, :1].nan_to_num(neginf=0.0)
        score_B: torch.Tensor = logits_BS @ weight_S
        if logits_BV.device.type == "cpu" and bool(score_B.isfinite().all()):
            return score_B
        kept_BS = logits_BS.isfinite()  # others were forbidden by whoever came before
        logits_BS = logits_BS.where(kept_BS, 0.0)
        mean_B1 = logits_BS.sum(-1, keepdim=True) / kept_BS.sum(-1, keepdim=True).clamp(min=1)
        forbidden_B = ~kept_BS.all(-1)
        rest_B = (logits_BS - mean_B1).where(kept_BS, 0.0) @ weight_S
        return rest_B.where(forbidden_B, score_B)

    def is_due(self, logits_BV: torch.Tensor) -> torch.Tensor:
        """Whether an answer is due where these logits choose the next token (B, bool).

        Adding a constant to a row changes nothing, so logits and their log-softmax do equally;
        scaling does, so temperature comes after. Forbidden tokens (-inf) are left out. Logits may
        have any floating dtype and device; the result is on the same device.
        """
        return self.score(logits_BV) > self.threshold

    def _on(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        placed = self._placed.get(device)
        if placed is None:
            placed = self._placed[device] = (self.token_S.to(device), self.weight_S.to(device))
        return placed


def require(figures: ProbeFigures, name: str = "this model") -> None:
    """Raise NotSupported, saying what is wrong and what to do, unless a probe's figures are
    `ok`."""
    if figures.ok:
        return
    raise NotSupported(
        f"Where an answer is due cannot be told from the logits of '{name}': {figures.why_not}.",
        "Use another model, or make the store with `revisor init --probe off`: facts then answer "
        "at the ends of their own prompts, and where a chat turn or a label opens an answer.",
    )


def save_probe(probe: Probe, path: Path) -> None:
    """Write a probe to a file atomically; OSError if it cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {
        "format": str(FORMAT),
        "threshold": repr(probe.threshold),
        "figures": json.dumps(asdict(probe.figures)),
    }
    metadata["digest"] = _digest(probe.token_S, probe.weight_S, metadata)
    tensors = {"token": probe.token_S.to(torch.int32), "weight": probe.weight_S}
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=".probe-")
    os.close(handle)
    try:
        save_file(tensors, scratch, metadata=metadata)
        os.chmod(scratch, 0o644)  # mkstemp's is for the user alone, and caches are shared
        os.replace(scratch, path)
    finally:
        Path(scratch).unlink(missing_ok=True)


def read_probe(path: Path) -> Probe | None:
    """The probe in a file; None where there is none, or it is damaged or of another format."""
    try:
        with safe_open(str(path), framework="pt") as opened:
            metadata: dict[str, str] = opened.metadata() or {}
            token_S = opened.get_tensor("token").to(torch.int64)
            weight_S = opened.get_tensor("weight").float()
        digest = metadata.pop("digest")
        if metadata["format"] != str(FORMAT) or digest != _digest(token_S, weight_S, metadata):
            return None
        figures = ProbeFigures(**json.loads(metadata["figures"]))
        threshold = float(metadata["threshold"])
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None
    return Probe(token_S=token_S, weight_S=weight_S, threshold=threshold, figures=figures)


def _digest(token_S: torch.Tensor, weight_S: torch.Tensor, metadata: Mapping[str, str]) -> str:
    """A hash of everything in a file, so that a flipped bit does not pass for a probe."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for tensor in (token_S.to(torch.int64), weight_S):
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

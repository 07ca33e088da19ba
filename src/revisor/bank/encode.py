"""How raw keys become comparable: whitened, or as they are.

What comes in: raw FFN keys (T, F). What goes out: unit vectors (T, E) whose dot product is the
cosine that the gate compares with a threshold. What it does not do: search (search.py) or run a
model (editing/keys.py does).

A raw key is dominated by a few directions that every token shares. Whitening by the second moment
C of background keys, about their mean m,

    e(k) = normalise((k - m) V (Λ + shrink * mean(Λ))^(-1/2)),   C = V Λ Vᵀ,

takes those out, so that the cosine tells subjects apart in more layers. `identity` is the raw
cosine of the paper (Fei et al. 2026, eq. 6).

A key where a question ends tells what is asked, in whatever words. The directions that do, rather
than the words, are Fisher's (1936) linear discriminants of keys labelled by relation:

    w(k) = normalise((e(k) - μ) S_w^(-1/2) U),

with the covariance S_w within relations, the mean μ of their means, and U the leading directions
of those means after S_w^(-1/2). An encoder that has them compares either e or w: a query is both,
[e, w], and an entry one of [e, 0] and [0, w], so that their product is the cosine of that one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

ASKED = 48  # leading discriminants that are kept


@dataclass(frozen=True, kw_only=True)
class KeyEncoder:
    """A fixed affine map before normalisation; without `matrix_FE` it is the identity.

    Attributes:
        mean_F: subtracted from every key; None for the identity.
        matrix_FE: the whitening map; None for the identity.
        asked_mean_E: subtracted from e before it is mapped to w; None where there is no w.
        asked_EA: the discriminants; None where there is no w.
    """

    mean_F: torch.Tensor | None = None
    matrix_FE: torch.Tensor | None = None
    asked_mean_E: torch.Tensor | None = None
    asked_EA: torch.Tensor | None = None

    @property
    def kind(self) -> str:
        """`whitened` or `raw`."""
        return "raw" if self.matrix_FE is None else "whitened"

    @property
    def knows_asked(self) -> bool:
        """There is a w."""
        return self.asked_EA is not None

    def encode(self, k_TF: torch.Tensor) -> torch.Tensor:
        """What is compared with entries: unit vectors e in fp32, with w behind them if there is
        one (T, E + A)."""
        e_TE = self._whole(k_TF)
        if self.asked_EA is None:
            return e_TE
        return torch.cat([e_TE, self._asked(e_TE)], dim=-1)

    def whole(self, k_TF: torch.Tensor) -> torch.Tensor:
        """Entries that are compared as a whole (T, E + A): unit vectors e."""
        e_TE = self._whole(k_TF)
        return e_TE if self.asked_EA is None else F.pad(e_TE, (0, self.asked_EA.shape[1]))

    def asked(self, k_TF: torch.Tensor) -> torch.Tensor:
        """Entries that are compared by what is asked (T, E + A): unit vectors w.

        Raises:
            ValueError: the encoder has no w.
        """
        if self.asked_EA is None:
            raise ValueError("this encoder does not know what is asked")
        w_TA = self._asked(self._whole(k_TF))
        return F.pad(w_TA, (self.asked_EA.shape[0], 0))

    def _whole(self, k_TF: torch.Tensor) -> torch.Tensor:
        k_TF = k_TF.float()
        if self.matrix_FE is not None and self.mean_F is not None:
            k_TF = (k_TF - self.mean_F) @ self.matrix_FE
        return F.normalize(k_TF, dim=-1)

    def _asked(self, e_TE: torch.Tensor) -> torch.Tensor:
        if self.asked_mean_E is None or self.asked_EA is None:
            raise ValueError("this encoder does not know what is asked")
        return F.normalize((e_TE - self.asked_mean_E) @ self.asked_EA, dim=-1)

    def width(self, key_width: int) -> int:
        """Of what `encode` gives for keys of that width."""
        return key_width + (0 if self.asked_EA is None else self.asked_EA.shape[1])

    def tensors(self) -> dict[str, torch.Tensor]:
        """Its maps by name, to be stored; `KeyEncoder.of` makes it from them again."""
        named = {
            "mean": self.mean_F,
            "matrix": self.matrix_FE,
            "asked_mean": self.asked_mean_E,
            "asked": self.asked_EA,
        }
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor]) -> KeyEncoder:
        """From what `tensors` gave."""
        return cls(
            mean_F=tensors.get("mean"),
            matrix_FE=tensors.get("matrix"),
            asked_mean_E=tensors.get("asked_mean"),
            asked_EA=tensors.get("asked"),
        )

    def to(self, device: torch.device) -> KeyEncoder:
        """The same maps on another device."""
        return self.of({name: tensor.to(device) for name, tensor in self.tensors().items()})


def fit_whitening(k_TF: torch.Tensor, *, shrink: float = 0.1) -> KeyEncoder:
    """Whiten by the covariance of background keys.

    Args:
        k_TF: raw keys of ordinary text, first tokens of texts left out: they are attention sinks,
            which form a cluster of their own.
        shrink: added to every eigenvalue, as a share of their mean; it keeps directions that the
            sample does not fill from being blown up.
    """
    k_TF = k_TF.double()
    mean_F = k_TF.mean(0)
    centred = k_TF - mean_F
    covariance = centred.T @ centred / len(centred)
    values, vectors = torch.linalg.eigh(covariance)
    scale = (values.clamp(min=0) + shrink * values.mean()).rsqrt()
    # Symmetric (ZCA): the sign and order of eigenvectors, which differ between libraries, cancel.
    matrix = (vectors * scale) @ vectors.T
    return KeyEncoder(mean_F=mean_F.float(), matrix_FE=matrix.float())


def fit_asked(
    encoder: KeyEncoder, k_NF: torch.Tensor, label_N: torch.Tensor, *, shrink: float = 0.1
) -> KeyEncoder:
    """The same encoder with the directions that tell what is asked.

    Args:
        k_NF: raw keys where questions end.
        label_N: which relation each asks for.
        shrink: added to every eigenvalue of S_w, as a share of their mean.
    """
    e_NE = encoder.encode(k_NF).double()
    labels, place_N = torch.unique(label_N, return_inverse=True)
    count = len(labels)
    means_RE = e_NE.new_zeros(count, e_NE.shape[1]).index_add_(0, place_N, e_NE)
    means_RE /= torch.bincount(place_N)[:, None]
    rest_NE = e_NE - means_RE[place_N]
    values, vectors = torch.linalg.eigh(rest_NE.T @ rest_NE / len(rest_NE))
    scale = (values.clamp(min=0) + shrink * values.mean()).rsqrt()
    within_EE = (vectors * scale) @ vectors.T
    mean_E = means_RE.mean(0)
    _, _, directions_RE = torch.linalg.svd((means_RE - mean_E) @ within_EE, full_matrices=False)
    return replace(
        encoder,
        asked_mean_E=mean_E.float(),
        asked_EA=(within_EE @ directions_RE[: min(ASKED, count - 1)].T).float(),
    )

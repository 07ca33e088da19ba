"""How raw keys become comparable: whitened, or as they are.

What comes in: raw FFN keys (T, F). What goes out: unit vectors (T, E) whose dot product is the
cosine that the gate compares with a threshold. What it does not do: search (search.py) or run a
model (editing/keys.py does).

A raw key is dominated by a few directions that every token shares. Whitening by the second moment
C of background keys, about their mean m,

    e(k) = normalise((k - m) V (Λ + shrink * mean(Λ))^(-1/2)),   C = V Λ Vᵀ,

takes those out, so that the cosine tells subjects apart in more layers. `identity` is the raw
cosine of the paper (Fei et al. 2026, eq. 6).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True, kw_only=True)
class KeyEncoder:
    """A fixed affine map before normalisation; without `matrix_FE` it is the identity.

    Attributes:
        mean_F: subtracted from every key; None for the identity.
        matrix_FE: the whitening map; None for the identity.
    """

    mean_F: torch.Tensor | None = None
    matrix_FE: torch.Tensor | None = None

    @property
    def kind(self) -> str:
        """`whitened` or `raw`."""
        return "raw" if self.matrix_FE is None else "whitened"

    def encode(self, k_TF: torch.Tensor) -> torch.Tensor:
        """Unit vectors (T, E) in fp32."""
        k_TF = k_TF.float()
        if self.matrix_FE is not None and self.mean_F is not None:
            k_TF = (k_TF - self.mean_F) @ self.matrix_FE
        return F.normalize(k_TF, dim=-1)

    def to(self, device: torch.device) -> KeyEncoder:
        """The same map on another device."""
        if self.matrix_FE is None or self.mean_F is None:
            return self
        return KeyEncoder(mean_F=self.mean_F.to(device), matrix_FE=self.matrix_FE.to(device))


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

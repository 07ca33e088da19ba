"""How raw FFN keys become comparable: as they are, which is the paper's way, or whitened.

The gate compares cosines (Fei et al. 2026, eq. 6), so an encoded key is a unit vector and a dot
product of two of them is the cosine. A raw key is dominated by a few directions that every token
shares. Whitening by the second moment C of background keys, about their mean m,

    e(k) = normalise((k - m) L^(-T)),   L Lᵀ = C + shrink * mean(diag C) I,

takes those out, so that the cosine tells subjects apart in more layers. What is kept is a random
projection of e, of fewer numbers.

T tokens, F width of a raw key, E of an encoded one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F

WIDTH = 128  # of a whitened key as it is kept


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
        """Keys as unit vectors in fp32 (T, E)."""
        k_TF = k_TF.float()
        if self.matrix_FE is not None and self.mean_F is not None:
            k_TF = (k_TF - self.mean_F) @ self.matrix_FE
        return F.normalize(k_TF, dim=-1)

    def width(self, key_width: int) -> int:
        """E, where raw keys have `key_width` numbers."""
        return key_width if self.matrix_FE is None else self.matrix_FE.shape[1]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Its maps by name, to be stored; `KeyEncoder.of` makes it from them again."""
        named = {"mean": self.mean_F, "matrix": self.matrix_FE}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor]) -> KeyEncoder:
        """From what `tensors` gave."""
        return cls(mean_F=tensors.get("mean"), matrix_FE=tensors.get("matrix"))

    def to(self, device: torch.device) -> KeyEncoder:
        """The same maps on another device."""
        return self.of({name: tensor.to(device) for name, tensor in self.tensors().items()})


def fit_whitening(k_TF: torch.Tensor, *, shrink: float = 0.1, width: int = WIDTH) -> KeyEncoder:
    """Whiten by the covariance of background keys, and keep a sketch of the whitened key.

    Cosines survive a random projection (Johnson and Lindenstrauss 1984): on SmolLM2, 128 of 1,536
    numbers tell subjects apart as well as all, and take a twelfth of the room and of the time.

    Args:
        k_TF: raw keys of ordinary text, first tokens of texts left out: they are attention sinks,
            which form a cluster of their own.
        shrink: added to every eigenvalue, as a share of their mean; it keeps directions that the
            sample does not fill from being blown up.
        width: E; a narrower key is kept whole.
    """
    k_TF = k_TF.double()
    mean_F = k_TF.mean(0)
    centred_TF = k_TF - mean_F
    covariance_FF = centred_TF.T @ centred_TF / len(centred_TF)
    covariance_FF.diagonal().add_(shrink * covariance_FF.diagonal().mean())
    # Any root of the inverse whitens. Eigenvectors of the 14,336 numbers of a Llama-3-8B's keys
    # take a hundred times as long as this, and their signs and order differ between libraries.
    root_FF = torch.linalg.cholesky(covariance_FF)
    seed_FE = torch.eye(len(root_FF), dtype=torch.double)
    if width < len(root_FF):
        draw = torch.Generator().manual_seed(0)
        seed_FE = torch.randn(len(root_FF), width, generator=draw, dtype=torch.double)
    matrix_FE = torch.linalg.solve_triangular(root_FF.T, seed_FE.to(root_FF.device), upper=True)
    return KeyEncoder(mean_F=mean_F.float().cpu(), matrix_FE=matrix_FE.float().cpu().contiguous())

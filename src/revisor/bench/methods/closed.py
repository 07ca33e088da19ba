"""The closed forms: what one least-squares solve makes of keys, residuals and second moments.

Everything is solved in fp64: second moments of keys are badly conditioned. The published forms
take their weights in the units of the model they were tuned on. Here λ counts background tokens
(its term has the scale of the keys by itself), and the thresholds of AlphaEdit and the ridge are
relative to the keys' own scale, so that one default serves any model.

Shapes: N facts, F key width, D hidden width.
"""

from __future__ import annotations

import torch


def memit_update(
    K_NF: torch.Tensor, R_ND: torch.Tensor, C_FF: torch.Tensor, weight: float
) -> torch.Tensor:
    """argmin over Δ of |Δ K - R|² + weight · tr(Δ C Δᵀ): (D, F), fp64.

    Δ = R Kᵀ (weight · C + K Kᵀ)⁻¹ (Meng et al. 2023, eq. 14). C is the mean of k kᵀ over background
    tokens; `weight`, λ, tells how many such tokens count against a change.
    """
    K, R, C = K_NF.double(), R_ND.double(), C_FF.double()
    system_FF = weight * C + K.T @ K
    return _solve(system_FF, K.T @ R).T


def keep_largest(delta_DF: torch.Tensor, W_DF: torch.Tensor, share: float) -> torch.Tensor:
    """Only that share of an update's entries whose relative change |Δ / W| is largest (RECT, Gu et
    al. 2024, section 5)."""
    change = delta_DF.abs() / W_DF.abs().to(delta_DF).clamp(min=1e-12)
    count = round(share * change.numel())
    kept = torch.zeros(change.numel(), dtype=torch.bool, device=change.device)
    kept[change.flatten().topk(count).indices] = True
    return torch.where(kept.view_as(change), delta_DF, torch.zeros_like(delta_DF))


def null_space(C_FF: torch.Tensor, threshold: float) -> torch.Tensor:
    """P: projection onto the directions in which background keys hardly reach: (F, F), fp64.

    AlphaEdit (Fang et al. 2025, section 3.1) keeps the eigenvectors of K0 K0ᵀ whose eigenvalue is
    below an absolute bound; here the bound is a multiple of the median eigenvalue (the mean is one
    of the few directions in which the first tokens of all texts lie).
    """
    values_F, vectors_FF = torch.linalg.eigh(C_FF.double())
    kept_FN = vectors_FF[:, values_F < threshold * values_F.median()]
    projection_FF: torch.Tensor = kept_FN @ kept_FN.T
    return projection_FF


def alphaedit_update(
    K_NF: torch.Tensor,
    R_ND: torch.Tensor,
    P_FF: torch.Tensor,
    earlier_FF: torch.Tensor,
    ridge: float,
) -> torch.Tensor:
    """Δ = R Kᵀ P (Kp Kpᵀ P + K Kᵀ P + ridge · I)⁻¹ (Fang et al. 2025, eq. 14): (D, F), fp64.

    It is the minimum over Δ' of |Δ' P K - R|² + |Δ' P Kp|² + ridge · |Δ' P|², with Δ = Δ' P. P
    projects onto the null space of background keys, `earlier_FF` is Kp Kpᵀ of the keys edited
    before, and `ridge` is in units of |k|².
    """
    K, R, P = K_NF.double(), R_ND.double(), P_FF.double()
    moment_FF = earlier_FF.double() + K.T @ K
    # With P symmetric, the transposed system is (P M + ridge I) Δᵀ = P K Rᵀ.
    system_FF = P @ moment_FF
    system_FF.diagonal().add_(ridge)
    delta_FD: torch.Tensor = torch.linalg.solve(system_FF, P @ (K.T @ R))
    return delta_FD.T


def rome_update(k_F: torch.Tensor, r_D: torch.Tensor, C_FF: torch.Tensor) -> torch.Tensor:
    """The smallest change in C's metric with (W + Δ) k = W k + r: (D, F), fp64, of rank one.

    Δ = r (C⁻¹ k)ᵀ / (kᵀ C⁻¹ k) (Meng et al. 2022, eq. 2).
    """
    k = k_F.double()
    u_F = _solve(C_FF.double(), k[:, None])[:, 0]
    return torch.outer(r_D.double(), u_F / (u_F @ k))


def ridge_update(H_TF: torch.Tensor, V_TD: torch.Tensor, ridge: float) -> torch.Tensor:
    """argmin over Δ of |Δ H - V|² + ridge · |Δ|² (Gu et al. 2025): (D, F), fp64."""
    H, V = H_TF.double(), V_TD.double()
    if len(H) < H.shape[1]:  # the same solution from the smaller system
        system_TT = H @ H.T
        system_TT.diagonal().add_(ridge)
        return (H.T @ _solve(system_TT, V)).T
    system_FF = H.T @ H
    system_FF.diagonal().add_(ridge)
    return _solve(system_FF, H.T @ V).T


def _solve(system: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Solve a symmetric positive system; a tiny ridge is added only where it is singular."""
    hair = 0.0
    while True:
        padded = system.clone()
        padded.diagonal().add_(hair)
        factor, fault = torch.linalg.cholesky_ex(padded)
        if int(fault) == 0:
            return torch.cholesky_solve(right, factor)
        hair = 10 * hair or 1e-12 * float(system.diagonal().mean())

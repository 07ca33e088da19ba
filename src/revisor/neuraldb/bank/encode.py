"""How raw keys become comparable: whitened, or as they are.

What comes in: raw FFN keys (T, F). What goes out: unit vectors (T, E) whose dot product is the
cosine that the gate compares with a threshold. What it does not do: search (search.py) or run a
model (editing/keys.py does).

A raw key is dominated by a few directions that every token shares. Whitening by the second moment
C of background keys, about their mean m,

    e(k) = normalise((k - m) L^(-T)),   L Lᵀ = C + shrink * mean(diag C) I,

takes those out, so that the cosine tells subjects apart in more layers. What is kept is a random
projection of e, of fewer numbers. `identity` is the paper's raw cosine (Fei et al. 2026, eq. 6).

What is asked about a name is told by the words around it (asked.py). A word is the model's own
input embedding x of its token, seen along the directions that tell questions apart and not the
words they are put in: Fisher's (1936) linear discriminants of questions labelled by relation,

    w(x) = (x - μ) S_w^(-1/2) U / median |w|,

where a question is the mean of its words, S_w the covariance of questions within relations, μ the
mean of the relations' means, and U the leading directions of those means after S_w^(-1/2).

Whether an answer is due at a token, or the question still goes on, is told by its key, along the
direction that best parts the last tokens of questions from all others (Fisher's for two classes).

An entry of a row is either a key that is compared as a whole, [e, 0, 0], or what it asks for,
[0, w, d], where d is 1 if it waits until an answer is due and 0 if not; 2 and -1 say the same of an
entry whose own text goes on behind the name as a longer name would ("{} Mayor is").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

WIDTH = 128  # of a whitened key as it is kept
ASKED = 75  # leading discriminants that are kept, at most
NEGATION = 10.0  # weight of a negation among the words of a question, in lengths of a usual one
DUE = 0.3  # an answer is due above; 0 and 1 are the means of other tokens and of ends of questions


@dataclass(frozen=True, kw_only=True)
class KeyEncoder:
    """A fixed affine map before normalisation; without `matrix_FE` it is the identity.

    Attributes:
        mean_F: subtracted from every key; None for the identity.
        matrix_FE: the whitening map; None for the identity.
        words_VA: what each token says about what is asked. The last number but one is that of
            negations alone; the last is 0, it stands for a question without words. None where
            nothing that is asked is compared.
        due_F: the direction along which ends of questions are told, and behind it the level that
            counts as 0 (F + 1); None where nothing that is asked is compared.
    """

    mean_F: torch.Tensor | None = None
    matrix_FE: torch.Tensor | None = None
    words_VA: torch.Tensor | None = None
    due_F: torch.Tensor | None = None

    @property
    def kind(self) -> str:
        """`whitened` or `raw`."""
        return "raw" if self.matrix_FE is None else "whitened"

    @property
    def hears(self) -> bool:
        """What is asked can be compared."""
        return self.words_VA is not None

    def encode(self, k_TF: torch.Tensor) -> torch.Tensor:
        """Keys as they are compared with entries as a whole: unit vectors e in fp32 (T, E)."""
        k_TF = k_TF.float()
        if self.matrix_FE is not None and self.mean_F is not None:
            k_TF = (k_TF - self.mean_F) @ self.matrix_FE
        return F.normalize(k_TF, dim=-1)

    def due(self, k_TF: torch.Tensor) -> torch.Tensor:
        """Whether an answer is due at these tokens (T).

        Raises:
            ValueError: the encoder does not hear what is asked.
        """
        if self.due_F is None or self.mean_F is None:
            raise ValueError("this encoder does not hear what is asked")
        k_TF = k_TF.float() - self.mean_F
        length_T: torch.Tensor = torch.linalg.vector_norm(k_TF, dim=-1)
        return k_TF @ self.due_F[:-1] > (self.due_F[-1] + DUE) * length_T

    def whole(self, k_TF: torch.Tensor) -> torch.Tensor:
        """Entries that are compared as a whole (T, W)."""
        return F.pad(self.encode(k_TF), (0, self.asked_width))

    def asking(
        self,
        question_CA: torch.Tensor,
        waits: bool,
        key_width: int,
        goes_on_C: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Entries that are compared by what is asked (C, W).

        Args:
            question_CA: of length 1.
            waits: until an answer is due.
            key_width: F.
            goes_on_C: the text goes on behind the name as a longer name would; None where none
                does.
        """
        told_C = torch.full((len(question_CA),), float(waits))
        if goes_on_C is not None:
            told_C = torch.where(goes_on_C, 2.0 if waits else -1.0, told_C)
        whole = self.whole_width(key_width)
        return F.pad(torch.cat([question_CA, told_C[:, None]], 1), (whole, 0))

    @property
    def asked_width(self) -> int:
        """Of the part of an entry that tells what it asks for; 0 where there is none."""
        return 0 if self.words_VA is None else self.words_VA.shape[1] + 1

    def whole_width(self, key_width: int) -> int:
        """E, of the part that is compared as a whole."""
        return key_width if self.matrix_FE is None else self.matrix_FE.shape[1]

    def width(self, key_width: int) -> int:
        """W, of an entry."""
        return self.whole_width(key_width) + self.asked_width

    def tensors(self) -> dict[str, torch.Tensor]:
        """Its maps by name, to be stored; `KeyEncoder.of` makes it from them again."""
        named = {
            "mean": self.mean_F,
            "matrix": self.matrix_FE,
            "words": self.words_VA,
            "due": self.due_F,
        }
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor]) -> KeyEncoder:
        """From what `tensors` gave."""
        return cls(
            mean_F=tensors.get("mean"),
            matrix_FE=tensors.get("matrix"),
            words_VA=tensors.get("words"),
            due_F=tensors.get("due"),
        )

    def to(self, device: torch.device) -> KeyEncoder:
        """The same maps on another device; what words ask for is looked up where names are."""
        moved = {name: tensor.to(device) for name, tensor in self.tensors().items()}
        return replace(self.of(moved), words_VA=self.words_VA)


def waits(told: torch.Tensor) -> torch.Tensor:
    """Whether entries wait until an answer is due, by their last numbers."""
    return told > 0


def goes_on(told: torch.Tensor) -> torch.Tensor:
    """Whether the own texts of entries go on behind the name as a longer name would."""
    return (told > 1.5) | (told < -0.5)  # as few bits round them


def fit_whitening(k_TF: torch.Tensor, *, shrink: float = 0.1, width: int = WIDTH) -> KeyEncoder:
    """Whiten by the covariance of background keys, and keep a sketch of the whitened key.

    Cosines survive a random projection (Johnson and Lindenstrauss 1984): on SmolLM2, 128 of 1,536
    numbers tell subjects apart as well as all (docs/scale.md), and take a twelfth of the room and
    of the time.

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


def fit_words(
    encoder: KeyEncoder,
    embedding_VD: torch.Tensor,
    question_ND: torch.Tensor,
    label_N: torch.Tensor,
    *,
    negation_V: torch.Tensor | None = None,
    shrink: float = 1.0,
) -> KeyEncoder:
    """The same encoder with the directions along which words tell questions apart.

    A negation asks for something else whatever the other words are, so it has a direction of its
    own, and outweighs them.

    Args:
        embedding_VD: the model's input embeddings.
        question_ND: questions, each the mean of the embeddings of its words.
        label_N: which relation each asks for.
        negation_V: which tokens negate; None for none.
        shrink: added to every eigenvalue of S_w, as a share of their mean.
    """
    question_ND = question_ND.double()
    labels, place_N = torch.unique(label_N.to(question_ND.device), return_inverse=True)
    count = len(labels)
    means_RD = question_ND.new_zeros(count, question_ND.shape[1])
    means_RD.index_add_(0, place_N, question_ND)
    means_RD /= torch.bincount(place_N)[:, None]
    rest_ND = question_ND - means_RD[place_N]
    values, vectors = torch.linalg.eigh(rest_ND.T @ rest_ND / len(rest_ND))
    scale = (values.clamp(min=0) + shrink * values.mean()).rsqrt()
    within_DD = (vectors * scale) @ vectors.T
    mean_D = means_RD.mean(0)
    _, _, directions_RD = torch.linalg.svd((means_RD - mean_D) @ within_DD, full_matrices=False)
    kept = min(ASKED, count - 1, len(mean_D))
    kept -= 1 - kept % 2  # odd, so that an entry has an even width: 4 bits pair its numbers
    map_DA, mean_D = (within_DD @ directions_RD[:kept].T).float().cpu(), mean_D.float().cpu()
    parts = [(part_VD.float() - mean_D) @ map_DA for part_VD in torch.split(embedding_VD, 1 << 14)]
    words_VA = torch.cat(parts)
    words_VA = F.pad(words_VA / words_VA.norm(dim=1).median(), (0, 2))
    if negation_V is not None:
        words_VA[negation_V, -2] = NEGATION
    return replace(encoder, words_VA=words_VA)


def fit_due(
    encoder: KeyEncoder, end_NF: torch.Tensor, other_NF: torch.Tensor, *, shrink: float = 0.1
) -> KeyEncoder:
    """The same encoder, able to tell where an answer is due.

    Args:
        end_NF: raw keys where questions end.
        other_NF: raw keys of other tokens, in questions and in ordinary text.
        shrink: added to every eigenvalue of the covariance within the two, as a share of their
            mean.
    """
    assert encoder.mean_F is not None
    end_NF, other_NF = (
        F.normalize(k_NF.float() - encoder.mean_F.to(k_NF.device), dim=-1).double()
        for k_NF in (end_NF, other_NF)
    )
    within_FF = end_NF.new_zeros(end_NF.shape[1], end_NF.shape[1])
    for k_NF in (end_NF, other_NF):
        rest_NF = k_NF - k_NF.mean(0)
        within_FF += rest_NF.T @ rest_NF / (2 * len(k_NF))
    within_FF.diagonal().add_(shrink * within_FF.diagonal().mean())
    apart_F = end_NF.mean(0) - other_NF.mean(0)
    due_F = torch.linalg.solve(within_FF, apart_F)
    due_F /= apart_F @ due_F  # the means are 1 apart
    due_F = torch.cat([due_F, (other_NF.mean(0) @ due_F)[None]])
    return replace(encoder, due_F=due_F.float().cpu())

"""What is asked, in whatever words: learnt once a model from the shipped relations.

What comes in: a model, one of its layers, whitened keys. What goes out: an encoder that also hears
what is asked (bank/encode.py), and which of the shipped relations a prompt asks for. What it does
not do: know any user's facts, or make entries (questions.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F

from revisor import data
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec
from revisor.neuraldb.bank.asked import Questions, questions
from revisor.neuraldb.bank.encode import KeyEncoder, fit_due, fit_words
from revisor.neuraldb.bank.names import WINDOW, texts
from revisor.neuraldb.editing.keys import token_keys
from revisor.neuraldb.editing.names import negations
from revisor.neuraldb.editing.request import named_text

SUBJECTS = 2  # subjects of each wording, whose keys tell where an answer is due
NEAR = 0.5  # cosine with a relation's mean above which a prompt is near to it
MOST = 2  # relations that a prompt can be near to
ALIKE = 0.75  # share of the first one's cosine that the second needs: clearly one's is one's alone
ASIDE = 8.0  # weight of a relation that an entry is turned away from, were it the entry's own
SOLVED = 6  # matrices of a key's width, or as large, that are held at once
CHUNK = 128  # questions that are looked at together


@dataclass(frozen=True, kw_only=True)
class Relations:
    """What the shipped wordings ask for, in the order in which they are shipped.

    Attributes:
        wording_QA: of each wording.
        mean_RA: of each relation, of length 1.
    """

    wording_QA: torch.Tensor
    mean_RA: torch.Tensor


@lru_cache(maxsize=1)
def shipped() -> tuple[tuple[str, int], ...]:
    """Every wording with the number of its relation."""
    return tuple((text, n) for n, wordings in enumerate(data.relations()) for text in wordings)


def hearing(
    loaded: LoadedModel,
    spec: Spec,
    layer: int,
    encoder: KeyEncoder,
    kind_V: torch.Tensor,
    background_TF: torch.Tensor,
) -> tuple[KeyEncoder, Relations]:
    """The same encoder, able to compare what is asked, and to tell where an answer is due.

    The words of the shipped wordings, labelled by relation, give the directions; whom they ask
    about makes no difference. The keys where these questions end, asked of some subjects and every
    other time behind a sentence, give the sign that an answer is due, beside the keys of all their
    other tokens and of ordinary text.

    Args:
        background_TF: raw keys of ordinary text.
    """
    where = reckoned_on(loaded, spec.key_width)
    embedding: torch.nn.Module = loaded.model.get_input_embeddings()  # type: ignore[operator]
    table_VD = next(embedding.parameters()).detach().float().cpu()
    # Behind the embeddings a 1, so that the sum of a question's words has their number.
    sums_QX = asked_words(
        loaded.tokenizer, _of_somebody(), kind_V, F.pad(table_VD, (0, 1), value=1)
    )
    label_Q = torch.tensor([relation for _, relation in shipped()])
    encoder = fit_words(
        encoder,
        table_VD,
        (sums_QX[:, :-1] / sums_QX[:, -1:]).to(where),
        label_Q,
        negation_V=negations(loaded.tokenizer, len(table_VD)),
    )
    names = [record["subject"] for record in data.records("probe.jsonl")]
    prefixes = data.prefixes()
    texts_asked: list[tuple[int, ...]] = []
    for wording, _ in shipped():
        for _ in range(SUBJECTS):
            turn = len(texts_asked)
            before = f"{prefixes[turn % len(prefixes)]} " if turn % 2 else ""
            text = before + wording.replace("{}", names[(7 * turn) % len(names)])
            texts_asked.append(tuple(loaded.tokenizer(text)["input_ids"]))
    keys_TF, origin = token_keys(loaded.model, spec, layer, texts_asked)
    end_T = torch.tensor([place == len(texts_asked[index]) - 1 for index, place in origin])
    first_T = torch.tensor([place == 0 for _, place in origin])
    others_TF = torch.cat([keys_TF[~end_T & ~first_T], background_TF])
    encoder = fit_due(encoder, keys_TF[end_T].to(where), others_TF.to(where))
    return encoder, relations(loaded.tokenizer, encoder, kind_V)


def reckoned_on(loaded: LoadedModel, key_width: int) -> torch.device:
    """Where matrices as wide as a key are solved in double precision: beside the model if there is
    room, which for the keys of a Llama-3-8B is a matter of seconds and not of minutes."""
    device = loaded.device
    needed = SOLVED * 8 * key_width**2
    if device.type == "cuda" and torch.cuda.mem_get_info(device)[0] < needed:
        return torch.device("cpu")
    return torch.device("cpu") if device.type == "mps" else device


def _of_somebody() -> list[tuple[str, str]]:
    """The shipped wordings, each with a name that no word of it is like."""
    return [(wording, "Paris") for wording, _ in shipped()]


def relations(tokenizer: Any, encoder: KeyEncoder, kind_V: torch.Tensor) -> Relations:
    """What the shipped wordings ask for."""
    assert encoder.words_VA is not None
    wording_QA = what_is_asked(tokenizer, _of_somebody(), kind_V, encoder.words_VA)
    label_Q = torch.tensor([relation for _, relation in shipped()])
    total_RA = wording_QA.new_zeros(int(label_Q.max()) + 1, wording_QA.shape[1])
    mean_RA = F.normalize(total_RA.index_add_(0, label_Q, wording_QA), dim=-1)
    return Relations(wording_QA=wording_QA, mean_RA=mean_RA)


def what_is_asked(
    tokenizer: Any,
    asked: Sequence[tuple[str, str]],
    kind_V: torch.Tensor,
    words_VA: torch.Tensor,
) -> torch.Tensor:
    """What some texts ask about their subjects where they end (N, A), each of length 1.

    Args:
        asked: templates and subjects.
        kind_V, words_VA: see `questions`.
    """
    return F.normalize(asked_words(tokenizer, asked, kind_V, words_VA), dim=-1)


def goes_on_as_name(
    tokenizer: Any, asked: Sequence[tuple[str, str]], kind_V: torch.Tensor
) -> torch.Tensor:
    """Whether some texts go on behind their subjects as longer names would (N): "{} Mayor is".

    Args:
        asked: templates and subjects.
        kind_V: see `questions`.
    """
    mute_VX = torch.zeros(len(kind_V), 2)
    ends = _ends(tokenizer, asked, kind_V, mute_VX)
    return torch.cat([torch.zeros(0).bool(), *(said.longer_OR[here] for said, here in ends)])


def asked_words(
    tokenizer: Any,
    asked: Sequence[tuple[str, str]],
    kind_V: torch.Tensor,
    words_VX: torch.Tensor,
) -> torch.Tensor:
    """The sum of the words of each question (N, X)."""
    found = []
    for said, here in _ends(tokenizer, asked, kind_V, words_VX):
        alone_B1 = said.turn_OR[here][:, None] == 0
        found.append(torch.where(alone_B1, said.sentence_ORA[here], said.since_ORA[here]))
    return torch.cat(found)


def _ends(
    tokenizer: Any,
    asked: Sequence[tuple[str, str]],
    kind_V: torch.Tensor,
    words_VX: torch.Tensor,
) -> Iterator[tuple[Questions, tuple[torch.Tensor, torch.Tensor]]]:
    """What is asked about each text's subject, a few texts at a time, and where in it they end."""
    read = [named_text(tokenizer, template, subject) for template, subject in asked]
    for start in range(0, len(read), CHUNK):
        part = read[start : start + CHUNK]
        ids_BT = texts([ids for ids, _, _ in part])
        behind_B = torch.tensor([len(ids) - 1 - last for ids, _, last in part])
        length_B = torch.tensor([last - first + 1 for _, first, last in part])
        said = questions(
            ids_BT,
            torch.arange(len(part)),
            ids_BT.shape[1] - 1 - behind_B,
            length_B.clamp(max=WINDOW),
            kind_V,
            words_VX,
        )
        # A question that goes on beyond reach is heard as far as that.
        at_B = behind_B.clamp(max=said.turn_OR.shape[1] - 1)
        yield said, (torch.arange(len(part)), at_B)


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """What shipped relations have in common with a question.

    Attributes:
        akin_K: the relations it is near to, the nearest first.
        akin_KA: their directions.
        statements: the shipped wordings, the nearest first, none of them a question mark's: an
            object is to follow.
    """

    akin_K: torch.Tensor
    akin_KA: torch.Tensor
    statements: list[str]


def nearest(found: Relations, question_A: torch.Tensor) -> Nearest:
    """Which shipped relations a question is near to.

    Args:
        question_A: of length 1.
    """
    cosine_R = found.mean_RA @ question_A
    best = cosine_R.topk(min(MOST, len(cosine_R)))
    akin_K = best.indices[(best.values >= NEAR) & (best.values >= ALIKE * best.values[0])]
    order = (found.wording_QA @ question_A).argsort(descending=True, stable=True).tolist()
    statements = [shipped()[place] for place in order if not shipped()[place][0].endswith("?")]
    return Nearest(
        akin_K=akin_K,
        akin_KA=found.mean_RA[akin_K],
        statements=[text for text, _ in statements],
    )


def turned_aside(
    found: Relations, entry_CA: torch.Tensor, akin_K: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Entries that hear less of the shipped relations which they do not ask for.

    A prompt about where something was founded has much in common with who founded it. The filter
    that hears an entry e best beside others m_B, of which it hears the more the nearer they are,

        e' = (I + ASIDE Σ_B max(0, e·m_B)⁴ m_B m_Bᵀ)⁻¹ e,

    is that of a signal in noise of known covariance (Van Trees 1968, whitened matched filter).

    Args:
        entry_CA: of length 1.
        akin_K: the relations that they do ask for.

    Returns:
        The entries (C, A) of length 1, and the cosine of each with what it was (C).
    """
    others_RA = found.mean_RA.clone()
    others_RA[akin_K] = 0
    weight_CR = (entry_CA @ others_RA.T).clamp(min=0) ** 4
    noise_CAA = torch.einsum("cr,ra,rb->cab", weight_CR, others_RA, others_RA)
    eye_AA = torch.eye(entry_CA.shape[1])
    turned_CA = F.normalize(torch.linalg.solve(eye_AA + ASIDE * noise_CAA, entry_CA), dim=-1)
    return turned_CA, (turned_CA * entry_CA).sum(-1)

"""The shipped question encoder: a bag of words, and the words that a match leaves unexplained.

A word has three things, all fixed by `tools/build_question_encoder.py` and read from one file:

- its *direction* x: embeddings of small models, seen along Fisher's (1936) linear discriminants of
  questions labelled by relation. The bag of a question is the sum of its words' directions; its
  cosine with a template's entries says whether they ask for the same relation.
- its *sense* z: what the word means in general; words of like senses explain each other.
- its *weights*: how much it tells against a match where nothing in the template explains it, by
  the role that it has in the question ("salary" in "the salary of the CEO of {}": much; "please":
  nothing), and the same of a template's word that the question has nothing like.

    logit = bias - slope max(0, level - bag) - sum of weights left unexplained,

the sum times ENOUGH / max(ENOUGH, words of the template that are met): long questions are put in
other words at more places.

Shapes: N texts, E entries of a template, W width of a vector, A directions, L words of a text,
R shipped relations, Q and T words of a question and of a template.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import IO

import numpy as np

from revisor.question.structure import (
    Direction,
    Role,
    answers_differ,
    asks,
    direction,
    inverse,
    roles,
)
from revisor.question.vocabulary import NAME, Token, Vocabulary

FILE = "question_encoder.npz"
LENGTH = 24  # words of a text that are kept: its last ones
ENTRIES = 3  # of a template: itself, and two shipped relations that it may be near to
NEAR = 0.5  # cosine with a relation above which a template is near to it
ALIKE = 0.75  # share of the first one's cosine that the second needs
ASIDE = 8.0  # weight of a relation that an entry is turned away from, were it the entry's own
FELT = 0.1  # cosine of a relation below which an entry is not turned away from it
MOST = 48  # relations that an entry is turned away from
INVERSE = 6.0  # log-odds against a question that looks the other way
OTHER_ANSWER = 3.5  # against one that something else answers
HOPELESS = -3.0  # log-odds by the bag alone below which nothing else is looked at
ENOUGH = 2.0  # words of a template: the more are met, the less an unexplained one weighs
FAINT = 0.8  # a bag shorter than this says less than one of length 1
LOOKS = len(Direction._fields)
WEIGHTS = len(Role) + 1  # of a word: one a role, and that of a template's word
PARAMETERS = (
    "match_slope",
    "match_at",
    "toward_slope",
    "toward_at",
    "sense_slope",
    "sense_at",
    "strict_at",
    "level_slope",
    "level_at",
    "bias",
)


class BagEncoder:
    """A `QuestionEncoder`; see `revisor.question.encoder`.

    A vector is [bag | ids | keys | weights | strict | looks]: of the words their ids, the keys by
    which they are equal, their weights and whether only a word of their sense explains them; and
    what `structure.direction` says. Entries of a template behind the first have a bag alone.

    Args:
        name: names its version.
        arrays: what `tools/build_question_encoder.py` wrote.
    """

    def __init__(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        self.name = name
        self._vocabulary = Vocabulary(arrays["words"].tobytes().decode("ascii").split("\n"))
        self._direction_VA = arrays["directions"]
        self._direction_V = arrays["direction_scales"].astype(np.float32)
        self._sense_VZ = arrays["senses"]
        self._weight_VK = arrays["weights"]
        self._step = float(arrays["weight_step"])
        self._mean_RA = arrays["relations"].astype(np.float32)
        self._fit = dict(zip(PARAMETERS, arrays["parameters"].tolist(), strict=True))
        self._width = self._direction_VA.shape[1]
        self._columns = [self._width + LENGTH * n for n in range(5)]

    @classmethod
    def shipped(cls) -> BagEncoder:
        """The one of the package."""
        with (files("revisor.data") / FILE).open("rb") as file:
            return cls.read(file)

    @classmethod
    def read(cls, file: IO[bytes]) -> BagEncoder:
        """The one in a file that `tools/build_question_encoder.py` wrote."""
        arrays = np.load(file, allow_pickle=False)
        found = {name: arrays[name] for name in arrays.files}
        found["directions"] = unpacked(found["directions"])
        found["senses"] = unpacked(found["senses"])
        return cls(f"bag-{found['version']}", found)

    def encode(self, texts):  # type: ignore
        return list(zip(self._questions(texts), self.encode_templates(texts)))

    def scope(self, question, template):  # type: ignore
        return self._scope(question[0], template[1])

    def _questions(self, questions: Sequence[str]) -> np.ndarray:
        """Vectors of questions (N, W)."""
        found = np.zeros((len(questions), self._columns[4] + LOOKS), np.float32)
        for row_W, question in zip(found, questions, strict=True):
            row_W[:] = self._vector(question)
        return found

    def encode_templates(self, templates: Sequence[str]) -> np.ndarray:
        """Entries of templates (N, E, W): itself, and the shipped relations it is near to."""
        found = np.zeros((len(templates), ENTRIES, self._columns[4] + LOOKS), np.float32)
        for entry_EW, template in zip(found, templates, strict=True):
            entry_EW[0] = self._vector(template, len(Role))
            bag_CA = self._entries(_unit(entry_EW[0, : self._width]))
            entry_EW[: len(bag_CA), : self._width] = bag_CA
        return found

    def _scope(self, question_W: np.ndarray, template_EW: np.ndarray) -> float:
        """The probability that a question asks for what a template asks for."""
        logit = self.logit(question_W, template_EW)
        return 1 / (1 + math.exp(-min(max(logit, -30.0), 30.0)))

    def logit(self, question_W: np.ndarray, template_EW: np.ndarray) -> float:
        """The log-odds of `scope`."""
        ids_Q, key_Q, weight_Q, strict_Q, looks_Q = self._parts(question_W)
        ids_T, key_T, weight_T, _, looks_T = self._parts(template_EW[0])
        if np.array_equal(key_Q, key_T):
            return float(self._fit["bias"])
        fit = self._fit
        level_E = template_EW[:, : self._width] @ question_W[: self._width]
        by_bag = fit["bias"] - fit["level_slope"] * max(0.0, fit["level_at"] - float(level_E.max()))
        if by_bag < HOPELESS:
            return float(by_bag)
        entry_A = template_EW[int(level_E.argmax()), : self._width]
        x_QA, length_Q = self._directions(ids_Q)
        x_TA, length_T = self._directions(ids_T)
        sense_QT = self._senses(ids_Q) @ self._senses(ids_T).T
        same_QT = key_Q[:, None] == key_T
        known_QT = np.minimum(np.minimum(length_Q[:, None], length_T), 1.0)
        alike_QT = fit["match_slope"] * (x_QA @ x_TA.T - fit["match_at"]) * known_QT
        at_Q1 = np.where(strict_Q, fit["strict_at"], fit["sense_at"])[:, None]
        means_QT = _sigmoid(fit["sense_slope"] * (sense_QT - at_Q1))
        match_QT = np.maximum(
            np.where(strict_Q[:, None], means_QT, np.maximum(means_QT, _sigmoid(alike_QT))), same_QT
        )
        toward_Q = x_QA @ entry_A * np.minimum(length_Q, 1.0)
        toward_Q = _sigmoid(fit["toward_slope"] * (toward_Q - fit["toward_at"])) * ~strict_Q
        explained_Q = np.maximum(match_QT.max(1, initial=0.0), toward_Q)
        reached_QT = _sigmoid(fit["sense_slope"] * (sense_QT - fit["sense_at"]))
        reached_T = np.maximum(reached_QT, same_QT).max(0, initial=0.0)
        against = float(weight_Q @ (1 - explained_Q) + weight_T @ (1 - reached_T))
        met = float(reached_T @ np.minimum(length_T, 1.0))
        return float(
            by_bag
            - against * ENOUGH / max(met, ENOUGH)
            - _turned(Direction(*looks_Q), Direction(*looks_T))
        )

    def _vector(self, text: str, column: int | None = None) -> np.ndarray:
        """A text's vector (W).

        Args:
            column: of the weights of its words; None: the one of each word's role.
        """
        read = self._vocabulary.tokens(text)[-LENGTH:]
        words = [token.word for token in read]
        found = np.zeros(self._columns[4] + LOOKS, np.float32)
        role = roles(words)
        ids = [token.id for token in read]
        weights = self._weight_VK[ids, role if column is None else [column] * len(ids)]
        parts = (
            ids,
            [token.key for token in read],
            weights * self._step * (np.array(ids) != NAME) if ids else (),
            [one >= Role.OUTER for one in role],
        )
        if column is not None or asks(words):
            found[: self._width] = self._bag(ids)
        for start, part in zip(self._columns, parts, strict=False):
            found[start : start + LENGTH] = -1
            found[start : start + len(ids)] = part
        found[self._columns[4] :] = self._looks(read, words)
        return found

    def _looks(self, read: Sequence[Token], words: Sequence[str]) -> Direction:
        """`structure.direction` with keys in place of words."""
        key = {token.word: token.key for token in read}
        way = direction(words)
        return way._replace(owned=key.get(way.owned, 0), owner=key.get(way.owner, 0))

    def _parts(self, vector_W: np.ndarray) -> tuple[np.ndarray, ...]:
        first, second, third, fourth, end = self._columns
        count = int((vector_W[first:second] >= 0).sum())
        return (
            vector_W[first : first + count].astype(np.intp),
            vector_W[second : second + count],
            vector_W[third : third + count],
            vector_W[fourth : fourth + count] > 0,
            vector_W[end:],
        )

    def _directions(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Directions of words, of length 1, and how long they are."""
        x_LA = self._direction_VA[ids].astype(np.float32) * self._direction_V[ids, None]
        length_L = np.sqrt(np.einsum("la,la->l", x_LA, x_LA))
        return x_LA / np.maximum(length_L, 1e-6)[:, None], length_L

    def _senses(self, ids: np.ndarray) -> np.ndarray:
        z_LZ = self._sense_VZ[ids].astype(np.float32)
        length_L1 = np.sqrt(np.einsum("lz,lz->l", z_LZ, z_LZ))[:, None]
        found: np.ndarray = z_LZ / np.maximum(length_L1, 1e-6)
        return found

    def _bag(self, ids: Sequence[int]) -> np.ndarray:
        total_A = self._direction_V[ids] @ self._direction_VA[ids].astype(np.float32)
        return total_A / max(float(np.linalg.norm(total_A)), FAINT)

    def _entries(self, own_A: np.ndarray) -> np.ndarray:
        """A template's bag and those of relations near to it, each turned aside from relations
        that the template does not ask for, and scaled so that it is its own match.

        The filter that finds a signal e in noise of other relations m, the louder the nearer,

            e' = (I + ASIDE sum max(0, e.m)^4 m m^T)^-1 e,

        is that of Van Trees (1968, whitened matched filter), by Woodbury's identity.
        """
        cosine_R = self._mean_RA @ own_A
        best = np.argsort(-cosine_R, kind="stable")[: ENTRIES - 1]
        near = [r for r in best if cosine_R[r] >= max(NEAR, ALIKE * cosine_R[best[0]])]
        found = []
        for entry_A in (own_A, *self._mean_RA[near]):
            felt_R = self._mean_RA @ entry_A
            felt_R[near] = 0
            others = np.argsort(-felt_R, kind="stable")[:MOST]
            others = others[felt_R[others] > FELT]
            m_MA, noise_M = self._mean_RA[others], ASIDE * felt_R[others] ** 4
            inner_MM = np.diag(1 / noise_M) + m_MA @ m_MA.T
            turned_A = _unit(entry_A - m_MA.T @ np.linalg.solve(inner_MM, m_MA @ entry_A))
            found.append(turned_A / max(float(turned_A @ entry_A), 1e-3))
        return np.stack(found).astype(np.float32)


def packed(values: np.ndarray) -> np.ndarray:
    """Whole numbers from -8 to 7 (V, X), X even, two a byte (V, X / 2)."""
    shifted = (values + 8).astype(np.uint8)
    return shifted[:, ::2] << 4 | shifted[:, 1::2]


def unpacked(pairs: np.ndarray) -> np.ndarray:
    """What was `packed`."""
    found = np.empty((len(pairs), 2 * pairs.shape[1]), np.int8)
    found[:, ::2], found[:, 1::2] = pairs >> 4, pairs & 15
    found -= 8
    return found


def _turned(question: Direction, template: Direction) -> float:
    """Log-odds against a question by what it looks for."""
    return INVERSE * inverse(question, template) + OTHER_ANSWER * answers_differ(question, template)


def _unit(vector_A: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(vector_A))
    return vector_A / length if length > 1e-6 else np.zeros_like(vector_A)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    found: np.ndarray = 1 / (1 + np.exp(-np.clip(x, -30, 30)))
    return found

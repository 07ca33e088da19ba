"""What the question encoder is trained on: batches of questions, templates and near misses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from question_frames import dressed, noun_phrase, spoilt
from question_lexicon import Relation

AS_TEMPLATES = 0.65  # of a relation's wordings, the plain ones ahead
ALIKE = 0.965  # cosine of two relations that are not told to be different
ALIKE_ATTRIBUTE = 0.86  # the same where one is made of a noun, which nobody compared with the rest
ATTRIBUTES = 0.4  # of the relations of a batch
NEIGHBOURS = 12
TOGETHER = 3  # neighbours of a relation that come with it
TOLD = 8  # texts of a batch that only tell


@dataclass(frozen=True, kw_only=True)
class Batch:
    """R relations, a text of each kind a relation.

    Attributes:
        relations: their numbers.
        templates, questions: ask for the same.
        near, spoilt: do not, though they look like it; written by hand, and made from a wording.
        told: running text that asks for nothing, with a template that is near to each.
    """

    relations: list[int]
    templates: list[str]
    questions: list[str]
    near: list[str]
    spoilt: list[str]
    told: list[tuple[str, str]]


class Batches:
    """Makes batches.

    Args:
        relations: the English ones.
        others: those of other languages, by the same names.
        alike_RR: cosines of the relations' wordings; the diagonal counts for nothing.
        told: running text that asks for nothing, each with templates that are near to it.
        share: of questions in another language, where the relation has one.
    """

    def __init__(
        self,
        relations: Sequence[Relation],
        others: Sequence[Relation],
        alike_RR: torch.Tensor,
        told: Sequence[tuple[str, Sequence[str]]],
        rng: Random,
        *,
        size: int = 24,
        share: float = 0.0,
    ) -> None:
        self.relations = list(relations)
        self._others: dict[str, list[Relation]] = {}
        for one in others:
            self._others.setdefault(one.name, []).append(one)
        self.same_RR = same(self.relations, alike_RR)
        apart_RR = alike_RR.masked_fill(self.same_RR, -1.0)
        self._near_RK = apart_RR.topk(min(NEIGHBOURS, len(relations) - 1)).indices.tolist()
        self._kinds = [
            [at for at, one in enumerate(relations) if is_attribute(one) == wanted]
            for wanted in (False, True)
        ]
        self._phrases = [list(filter(None, map(noun_phrase, one.wordings))) for one in relations]
        self._told = list(told)
        self._rng, self._size, self._share = rng, size, share

    def next(self) -> Batch:
        """The next batch."""
        chosen = self._chosen()
        batch = Batch(relations=chosen, templates=[], questions=[], near=[], spoilt=[], told=[])
        for number in chosen:
            self._add(batch, number)
        for text, near in self._rng.sample(self._told, TOLD):
            said = dressed(text, self._rng) if self._rng.random() < 0.2 else text
            batch.told.append((said, self._rng.choice(near)))
        return batch

    def _chosen(self) -> list[int]:
        """Relations, most of them with some that are near to them."""
        rng, found = self._rng, list[int]()
        while len(found) < self._size:
            lexicon, attributes = self._kinds
            drawn = attributes if attributes and rng.random() < ATTRIBUTES else lexicon
            number = rng.choice(drawn)
            if number in found:
                continue
            found.append(number)
            if rng.random() < 0.8:
                near = rng.sample(self._near_RK[number], TOGETHER)
                found += [one for one in near if one not in found][: self._size - len(found)]
        return found

    def _add(self, batch: Batch, number: int) -> None:
        rng, own = self._rng, self.relations[number]
        said, language = own, "english"
        elsewhere = self._others.get(own.name, [])
        if elsewhere and rng.random() < self._share:
            said = rng.choice(elsewhere)
            language = said.language
        plain = as_templates(own if language == "english" or rng.random() < 0.7 else said)
        template = rng.choice(plain)
        question = rng.choice([one for one in said.wordings if one != template])
        phrases = self._phrases[number]
        phrase = rng.choice(phrases) if phrases else None
        batch.templates.append(template if rng.random() < 0.9 else dressed(template, rng))
        batch.questions.append(dressed(question, rng, language))
        batch.near.append(dressed(rng.choice(said.near), rng, language))
        changed = spoilt(rng.choice(said.wordings), phrase, rng, language)
        batch.spoilt.append(dressed(changed, rng, language))


def as_templates(relation: Relation) -> Sequence[str]:
    """The wordings of a relation that a fact may have: the plain ones."""
    return relation.wordings[: max(5, int(len(relation.wordings) * AS_TEMPLATES))]


def is_attribute(relation: Relation) -> bool:
    """Whether a relation is made of a noun alone."""
    return relation.name.startswith("attribute: ")


def same(relations: Sequence[Relation], alike_RR: torch.Tensor) -> torch.Tensor:
    """Which relations may be one (R, R): of two parts of the lexicon, or hardly told apart."""
    made_R = torch.tensor([is_attribute(one) for one in relations])
    made_RR = made_R[:, None] | made_R
    same_RR = alike_RR > torch.where(made_RR, ALIKE_ATTRIBUTE, ALIKE)
    ahead = torch.tensor(["predecessor" in one.name for one in relations])
    return same_RR & (ahead[:, None] == ahead)

"""Facts in a dictionary, looked up as an index's view looks them up, and gates over them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import torch

from revisor.gate.gate import FactGate
from revisor.index.base import IndexedFact, Terms
from revisor.language.spelling import (
    WHOLE,
    beginnings,
    corrected_words,
    is_one_edit,
    name_words,
    plain_texts,
    spelling,
)
from revisor.question.encoder import default_encoder
from tests import tiny

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)


def fact(
    subject: str,
    obj: str,
    *templates: str,
    aliases: Collection[str] = (),
    namespace: str = "default",
    valid: tuple[str | None, str | None] = (None, None),
) -> IndexedFact:
    """A fact; its id tells subject and first wording, and of one with validity the object."""
    return IndexedFact(
        id=f"{subject} | {templates[0]}" + (f" | {obj}" if any(valid) else ""),
        subject=subject,
        object=obj,
        templates=templates,
        namespace=namespace,
        aliases=tuple(aliases),
        valid_from=valid[0],
        valid_to=valid[1],
        qualifier="",
    )


class Dictionary:
    """Facts by the words of their names, at a moment."""

    def __init__(self, facts: Iterable[IndexedFact], moment: datetime = NOW) -> None:
        self.facts = list(facts)
        self._moment = moment
        self._handles: dict[tuple[str, ...], list[int]] = {}
        self._reach: dict[str, int] = {}
        self._near: dict[str, dict[int, None]] = {}
        self._beginnings: dict[str, int] = {}
        self._words: set[str] = set()
        for handle, one in enumerate(self.facts):
            for name in {name_words(name) for name in (one.subject, *one.aliases)} - {()}:
                self._handles.setdefault(name, []).append(handle)
                self._reach[name[0]] = max(self._reach.get(name[0], 0), len(name))
            for name in (one.subject, *one.aliases):
                self._add_otherwise(handle, name)
        self.longest = max(map(len, self._handles), default=0)

    def _add_otherwise(self, handle: int, name: str) -> None:
        spelled = spelling(name)
        self._words |= corrected_words(spelled)
        for text in plain_texts(spelled):
            self._near.setdefault(text, {})[handle] = None
        for text, tells in beginnings(spelled).items():
            known = self._beginnings.get(text, 0)
            reach = max(tells % WHOLE, known % WHOLE)
            self._beginnings[text] = reach + WHOLE * (max(tells, known) >= WHOLE)

    def reach(self, word: str) -> int:
        return self._reach.get(word, 0)

    def find(self, words: Sequence[str]) -> Sequence[int]:
        return self._handles.get(tuple(words), ())

    def spellings(self, handle: int) -> Sequence[str]:
        return (self.facts[handle].subject, *self.facts[handle].aliases)

    def owner(self, handle: int) -> tuple[str, str, str]:
        one = self.facts[handle]
        return one.subject, one.namespace, one.qualifier

    def beginning(self, text: str) -> int:
        return self._beginnings.get(text, 0)

    def near(self, text: str) -> Collection[int]:
        return self._near.get(text, {}).keys()

    def corrections(self, word: str) -> Sequence[str]:
        return [one for one in self._words if is_one_edit(word, one)]

    def fact(self, handle: int) -> IndexedFact:
        return self.facts[handle]

    def terms(self, handle: int) -> Terms:
        one = self.facts[handle]
        return Terms.of(one.namespace, one.aliases, one.valid_from, one.valid_to, one.qualifier)

    def now(self) -> datetime:
        return self._moment


class AlwaysDue:
    """A probe that takes every position for one where an answer is due."""

    def is_due(self, logits_BV: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(logits_BV), dtype=torch.bool)


class DueWhereAsked:
    """A probe that says of each row what its first logit says: above 0 an answer is due."""

    def is_due(self, logits_BV: torch.Tensor) -> torch.Tensor:
        return logits_BV[:, 0] > 0


def gate_of(facts: Iterable[IndexedFact], tokenizer: Any, probe: Any = None) -> FactGate:
    """A gate over facts in a dictionary, with the shipped encoder."""
    view = Dictionary(facts)
    return FactGate(view=lambda: view, tokenizer=tokenizer, encoder=default_encoder(), probe=probe)


@cache
def smollm2() -> Any:
    """The packaged model's tokenizer."""
    from transformers import AutoTokenizer

    from revisor.models.packaged import packaged_folder

    return AutoTokenizer.from_pretrained(packaged_folder("smollm2"))


TOKENIZERS = {**tiny.TOKENIZERS, "smollm2": smollm2}


def write(gate: FactGate, prompt: str, *, steps: int = 24, stop: int | None = None) -> str:
    """What a gate writes behind a prompt where the model, asked otherwise, would stop."""
    tokenizer = gate.tokenizer
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    batch, start, size = gate.batch(), len(ids), len(tokenizer)
    own = torch.zeros(1, size)
    for _ in range(steps):
        out = batch.step(torch.tensor([ids]), own)
        if out is own or float(out.max()) == float(out.min()) or int((out > -1e9).sum()) > 1:
            break
        ids = [*ids, int(out.argmax())]
    text: str = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return text[len(tokenizer.decode(ids[:start], clean_up_tokenization_spaces=False)) :]

"""Facts in a dictionary, looked up as an index's view looks them up, and gates over them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import Any

import torch

from revisor.gate.gate import FactGate
from revisor.index.base import IndexedFact
from revisor.language.names import name_words
from revisor.question.encoder import default_encoder
from tests import tiny


def fact(subject: str, obj: str, *templates: str, aliases: Collection[str] = ()) -> IndexedFact:
    """A fact; its id tells subject and first wording."""
    return IndexedFact(
        id=f"{subject} | {templates[0]}",
        subject=subject,
        object=obj,
        templates=templates,
        namespace="default",
        aliases=tuple(aliases),
        valid_from=None,
        valid_to=None,
        qualifier="",
    )


class Dictionary:
    """Facts by the words of their names."""

    def __init__(self, facts: Iterable[IndexedFact]) -> None:
        self.facts = list(facts)
        self._handles: dict[tuple[str, ...], list[int]] = {}
        self._reach: dict[str, int] = {}
        for handle, one in enumerate(self.facts):
            for name in {name_words(name) for name in (one.subject, *one.aliases)}:
                self._handles.setdefault(name, []).append(handle)
                self._reach[name[0]] = max(self._reach.get(name[0], 0), len(name))
        self.longest = max(map(len, self._handles), default=0)

    def reach(self, word: str) -> int:
        return self._reach.get(word, 0)

    def find(self, words: Sequence[str]) -> Sequence[int]:
        return self._handles.get(tuple(words), ())

    def spellings(self, handle: int) -> Sequence[str]:
        return (self.facts[handle].subject, *self.facts[handle].aliases)

    def fact(self, handle: int) -> IndexedFact:
        return self.facts[handle]


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

    from revisor.models.packaged import smollm2_folder

    return AutoTokenizer.from_pretrained(smollm2_folder())


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

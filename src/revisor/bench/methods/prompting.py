"""Facts in the prompt: the right one given (`icl`), or the likeliest ones retrieved (`rag`).

In-context editing is handed the right fact for every prompt about it, so it is the ceiling of what
a prompt can do. Retrieval finds facts by itself: by BM25 (bm25s), or by the model's own hidden
states.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from revisor.bench.extra import need
from revisor.bench.methods.binding import Binding, layer_at
from revisor.bench.protocol import Failure
from revisor.errors import UsageError
from revisor.facts.fact import Fact, normal_form
from revisor.neuraldb.editing.keys import token_keys

TEMPLATE = "{facts}\n{prompt}"
DENSE_SHARE = 0.5  # of the depth: whose FFN keys a text is embedded by
RETRIEVERS = ("bm25", "dense")


@dataclass(frozen=True, kw_only=True)
class InContextOptions:
    """In-context editing.

    Attributes:
        template: how the fact and the prompt are put together: `{facts}` and `{prompt}`.
    """

    template: str = TEMPLATE


@dataclass(frozen=True, kw_only=True)
class RetrievalOptions:
    """Retrieval.

    Attributes:
        retriever: `bm25` or `dense`.
        top: facts in a prompt at most; the likeliest stands last, next to the question.
        template: how facts (a line each) and prompt are put together.
    """

    retriever: str = "bm25"
    top: int = 3
    template: str = TEMPLATE


def sentence(fact: Fact) -> str:
    """A fact as a sentence of its own."""
    return f"{fact.text.rstrip()} {fact.object}."


class _PromptEditor:
    """Facts beside the model.

    Args:
        name: of the method.
        template: with `{facts}` and `{prompt}`.

    Raises:
        UsageError: the template lacks one of the two.
    """

    def __init__(self, name: str, template: str) -> None:
        if "{facts}" not in template or "{prompt}" not in template:
            raise UsageError(
                f"The template {template!r} lacks {{facts}} or {{prompt}}.",
                f"Write for example {TEMPLATE!r}.",
            )
        self.name = name
        self.template = template
        self._facts: dict[str, Fact] = {}

    def fit(self, facts: Sequence[Fact]) -> list[Failure]:
        """Take facts in; nothing is known of how the model will read them."""
        self._facts |= {fact.id: fact for fact in facts}
        return []

    def undo(self, ids: Collection[str]) -> None:
        """Forget facts."""
        for fact_id in ids:
            self._facts.pop(fact_id, None)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """The model as it is: the facts come with the prompt."""
        yield

    def _written(self, prompt: str, facts: Sequence[Fact]) -> str:
        if not facts:
            return prompt
        parts = {"{facts}": "\n".join(map(sentence, facts)), "{prompt}": prompt}
        # In one go: facts and prompts may contain braces of their own.
        return re.sub(r"\{facts\}|\{prompt\}", lambda match: parts[match[0]], self.template)

    @property
    def stored_bytes(self) -> int:
        """The facts' text."""
        return sum(len(sentence(fact).encode()) for fact in self._facts.values())


class InContextEditor(_PromptEditor):
    """The right fact in the prompt.

    Args:
        binding: not needed; all editors are made alike.
        options: hyperparameters.
        name: of the method.
    """

    def __init__(self, binding: Binding, options: InContextOptions, *, name: str) -> None:
        super().__init__(name, options.template)

    def reword(self, prompt: str, fact: Fact | None = None) -> str:
        """The fact, if it is one of those fitted, before the prompt."""
        mine = self._facts.get(fact.id) if fact else None
        return self._written(prompt, [mine] if mine else [])


class RetrievalEditor(_PromptEditor):
    """The likeliest facts in the prompt.

    Args:
        binding: the model, whose hidden states the dense retriever takes.
        options: hyperparameters.
        name: of the method.

    Raises:
        UsageError: an unknown retriever, or no facts a prompt.
        NotSupported: bm25s is not installed.
    """

    def __init__(self, binding: Binding, options: RetrievalOptions, *, name: str) -> None:
        super().__init__(name, options.template)
        if options.retriever not in RETRIEVERS:
            raise UsageError(
                f"There is no retriever '{options.retriever}'.",
                f"Choose one of: {', '.join(RETRIEVERS)}.",
            )
        if options.top < 1:
            raise UsageError(f"{options.top} facts a prompt are none.", "Give 1 or more.")
        self.options = options
        self.binding = binding
        self._index: _Bm25 | _Dense | None = None
        self._order: list[Fact] = []
        if options.retriever == "bm25":
            need("bm25s")

    def fit(self, facts: Sequence[Fact]) -> list[Failure]:
        """Take facts into the index, which is built when it is next asked."""
        self._index = None
        return super().fit(facts)

    def undo(self, ids: Collection[str]) -> None:
        """Take facts out of the index."""
        self._index = None
        super().undo(ids)

    def retrieve(self, prompt: str) -> list[Fact]:
        """The likeliest facts, best first."""
        if not self._facts:
            return []
        if self._index is None:
            self._order = list(self._facts.values())
            texts = [sentence(fact) for fact in self._order]
            dense = self.options.retriever == "dense"
            self._index = _Dense(self.binding, texts) if dense else _Bm25(texts)
        return [self._order[i] for i in self._index.nearest(prompt, self.options.top)]

    def reword(self, prompt: str, fact: Fact | None = None) -> str:
        """The retrieved facts before the prompt; `fact` is not looked at."""
        return self._written(prompt, self.retrieve(prompt)[::-1])


class _Bm25:
    """BM25 over words in their normal form."""

    def __init__(self, texts: Sequence[str]) -> None:
        import bm25s

        self._count = len(texts)
        self._index = bm25s.BM25()
        self._index.index(self._words(texts), show_progress=False)

    def _words(self, texts: Sequence[str]) -> Any:
        import bm25s

        return bm25s.tokenize(
            [normal_form(text) for text in texts],
            stopwords="en",
            return_ids=False,
            show_progress=False,
        )

    def nearest(self, text: str, top: int) -> list[int]:
        """Indices of the best texts that share a word with this one."""
        words = self._words([text])
        if not words[0]:
            return []
        found, scores = self._index.retrieve(words, k=min(top, self._count), show_progress=False)
        pairs = zip(found[0], scores[0], strict=True)
        return [int(index) for index, score in pairs if score > 0]


class _Dense:
    """Cosine of mean FFN keys in the middle of the model, centred on the facts' own mean."""

    def __init__(self, binding: Binding, texts: Sequence[str]) -> None:
        self._binding = binding
        means_NF = self._embed(texts)
        self._centre_F = means_NF.mean(0) if len(texts) > 1 else torch.zeros(means_NF.shape[1])
        self._rows_NF = torch.nn.functional.normalize(means_NF - self._centre_F, dim=1)

    def _embed(self, texts: Sequence[str]) -> torch.Tensor:
        loaded, spec = self._binding.loaded, self._binding.spec
        ids = [tuple(loaded.tokenizer(text)["input_ids"]) for text in texts]
        layer = layer_at(self._binding, DENSE_SHARE)
        keys_TF, origin = token_keys(loaded.model, spec, layer, ids)
        owner_T = torch.tensor([text for text, _ in origin])
        # The first token of a text has a key of its own kind, many times longer than all others.
        later_T = torch.tensor([place > 0 for _, place in origin])
        total = torch.zeros(len(texts), keys_TF.shape[1]).index_add(
            0, owner_T[later_T], keys_TF[later_T]
        )
        return total / torch.bincount(owner_T[later_T], minlength=len(texts)).clamp(min=1)[:, None]

    def nearest(self, text: str, top: int) -> list[int]:
        """Indices of the best texts."""
        (mean_F,) = self._embed([text])
        best = (self._rows_NF @ (mean_F - self._centre_F)).topk(min(top, len(self._rows_NF)))
        return [int(index) for index in best.indices]

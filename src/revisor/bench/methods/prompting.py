"""Facts in the prompt: the right one given (`icl`), or the likeliest ones retrieved (`rag`).

In-context editing is handed the right fact for every prompt about it, so it is the ceiling of what
a prompt can do. Retrieval finds facts by itself: by BM25 (bm25s), or by a sentence encoder.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from revisor.bench.extra import need
from revisor.bench.methods.binding import Binding
from revisor.bench.protocol import Failure
from revisor.config import SENTENCE_ENCODER, sentence_encoder
from revisor.errors import UsageError
from revisor.facts.fact import Fact, normal_form
from revisor.models.sentences import SentenceModel, open_sentence_model
from revisor.progress import Progress

TEMPLATE = "{facts}\n{prompt}"
BM25 = "bm25"


@dataclass(frozen=True, kw_only=True)
class InContextOptions:
    """In-context editing; `template` joins `{facts}` and `{prompt}`."""

    template: str = TEMPLATE


@dataclass(frozen=True, kw_only=True)
class RetrievalOptions:
    """Retrieval.

    Attributes:
        retriever: `bm25`, or `sentence-transformers:` and the folder or name of an encoder.
        top: most facts in a prompt; the likeliest stands last, next to the question.
        template: joins `{facts}`, a line each, and `{prompt}`.
    """

    retriever: str = BM25
    top: int = 3
    template: str = TEMPLATE


def sentence(fact: Fact) -> str:
    """A fact as a sentence of its own."""
    return f"{fact.text.rstrip()} {fact.object}."


class _PromptEditor:
    """Facts beside the model; UsageError if the template lacks `{facts}` or `{prompt}`."""

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
        self._facts |= {fact.id: fact for fact in facts}
        return []

    def undo(self, ids: Collection[str]) -> None:
        for fact_id in ids:
            self._facts.pop(fact_id, None)

    @contextmanager
    def attached(self) -> Iterator[None]:
        yield

    def _written(self, prompt: str, facts: Sequence[Fact]) -> str:
        if not facts:
            return prompt
        parts = {"{facts}": "\n".join(map(sentence, facts)), "{prompt}": prompt}
        # In one go: facts and prompts may contain braces of their own.
        return re.sub(r"\{facts\}|\{prompt\}", lambda match: parts[match[0]], self.template)

    @property
    def stored_bytes(self) -> int:
        return sum(len(sentence(fact).encode()) for fact in self._facts.values())


class InContextEditor(_PromptEditor):
    """The right fact in the prompt; `binding` is not needed, but all editors are made alike."""

    def __init__(self, binding: Binding, options: InContextOptions, *, name: str) -> None:
        super().__init__(name, options.template)

    def reword(self, prompt: str, fact: Fact | None = None) -> str:
        """The fact, if it is one of those fitted, before the prompt."""
        mine = self._facts.get(fact.id) if fact else None
        return self._written(prompt, [mine] if mine else [])


class RetrievalEditor(_PromptEditor):
    """The likeliest facts in the prompt; `binding` is not needed, but all editors are made alike.

    Raises:
        UsageError: an unknown retriever, or no facts a prompt.
        NotSupported: bm25s is not installed.
        ModelUnavailable, NotSupported: the sentence encoder cannot be used.
    """

    def __init__(self, binding: Binding, options: RetrievalOptions, *, name: str) -> None:
        super().__init__(name, options.template)
        is_dense = options.retriever.startswith(SENTENCE_ENCODER)
        if not (is_dense or options.retriever == BM25):
            raise UsageError(
                f"There is no retriever '{options.retriever}'.",
                f"Choose {BM25}, or {SENTENCE_ENCODER}FOLDER for a sentence encoder.",
            )
        if options.top < 1:
            raise UsageError(f"{options.top} facts a prompt are none.", "Give 1 or more.")
        self.options = options
        encoder = sentence_encoder(options.retriever) if is_dense else None
        self._encoder = None if encoder is None else open_sentence_model(encoder)
        self._index: _Bm25 | _Dense | None = None
        self._order: list[Fact] = []
        if self._encoder is None:
            need("bm25s")

    def fit(self, facts: Sequence[Fact]) -> list[Failure]:
        """Add facts to the index, which is built when it is next asked."""
        self._index = None
        return super().fit(facts)

    def undo(self, ids: Collection[str]) -> None:
        """Remove facts from the index."""
        self._index = None
        super().undo(ids)

    def retrieve(self, prompt: str) -> list[Fact]:
        """The likeliest facts, best first."""
        if not self._facts:
            return []
        if self._index is None:
            self._order = list(self._facts.values())
            texts = [sentence(fact) for fact in self._order]
            self._index = _Bm25(texts) if self._encoder is None else _Dense(self._encoder, texts)
        return [self._order[i] for i in self._index.nearest(prompt, self.options.top)]

    def reword(self, prompt: str, fact: Fact | None = None) -> str:
        """The retrieved facts before the prompt; `fact` is ignored."""
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
        """Indices of the nearest texts that share a word with this one."""
        words = self._words([text])
        if not words[0]:
            return []
        found, scores = self._index.retrieve(words, k=min(top, self._count), show_progress=False)
        pairs = zip(found[0], scores[0], strict=True)
        return [int(index) for index, score in pairs if score > 0]


class _Dense:
    """Cosine of a sentence encoder's vectors."""

    def __init__(self, encoder: SentenceModel, texts: Sequence[str]) -> None:
        self._encoder = encoder
        with Progress("Embedding facts", total=len(texts), unit="facts") as progress:
            self._rows_NW = np.concatenate([self._row(text, progress) for text in texts])

    def _row(self, text: str, progress: Progress) -> np.ndarray:
        progress.advance(1)
        return self._encoder.embed([text])

    def nearest(self, text: str, top: int) -> list[int]:
        near_N = self._rows_NW @ self._encoder.embed([text])[0]
        return [int(index) for index in np.argsort(-near_N, kind="stable")[:top]]

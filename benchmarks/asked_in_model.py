"""Questions and near misses that others wrote, in a model that reads: revisor beside retrieval.

    python -m benchmarks.asked_in_model benchmarks/questions/*.jsonl --retriever FOLDER

What comes in: sets as of `asked_by_others`, and the folder of a sentence encoder. What goes out:
one JSON object; by method, of the sets that were never looked at, the shares of questions whose
answer has the fact's object, and of near misses whose answer has an object of a fact about the
subject, with intervals over the facts; tokens of a prompt; whole answers to read, of the set that
was looked at.
`rag` has the fact that is nearest ahead of the question, as `recipes/rag.toml` found best; `rag
that may refuse` the nearest three, and says that an answer need not be in them. What it does not
do: tell an object that is said in a refusal ("Ann Lee is the chair, not the chef") from an answer.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from benchmarks.asked_by_others import LOOKED_AT, Kind, Written, written_in
from revisor.bench.completing import Completer
from revisor.bench.methods.binding import Binding
from revisor.bench.methods.prompting import TEMPLATE, RetrievalEditor, RetrievalOptions
from revisor.bench.metrics import bootstrap, contains
from revisor.config import SENTENCE_ENCODER
from revisor.engines.attach import attach
from revisor.facts.fact import Fact
from revisor.models.load import LoadedModel, load_model
from revisor.progress import Progress

TOKENS = 32  # of an answer
A_FACT = 2  # questions, and near misses
SHOWN = 5
REFUSING = (
    "Here is what is known:\n{facts}\n\nAnswer the question in a few words with what is known. "
    "If it does not tell the answer, say: I do not know.\nQuestion: {prompt}"
)


class Told(NamedTuple):
    """An answer, and whether it has an object: the fact's, or of a near miss any of its subject."""

    fact: str
    kind: Kind
    question: str
    text: str
    has_object: bool


class Method:
    """A way of having facts: what a question becomes, and what is done to the model meanwhile."""

    def __init__(self, loaded: LoadedModel, facts: Sequence[Fact]) -> None:
        self.loaded, self.facts = loaded, facts

    def put(self, question: str) -> str:
        """The question as the user's turn."""
        return question

    @contextmanager
    def attached(self) -> Iterator[None]:
        """The model with the facts."""
        yield


class Revisor(Method):
    """Facts at the model's output."""

    @contextmanager
    def attached(self) -> Iterator[None]:
        with attach(self.loaded.model, self.loaded.tokenizer, list(self.facts)):
            yield


class Retrieval(Method):
    """The nearest facts in the user's turn."""

    def __init__(
        self, loaded: LoadedModel, facts: Sequence[Fact], options: RetrievalOptions
    ) -> None:
        super().__init__(loaded, facts)
        self._editor = RetrievalEditor(Binding(loaded=loaded), options, name="rag")
        self._editor.fit(facts)

    def put(self, question: str) -> str:
        return self._editor.reword(question)


def told_by(method: Method, asked: Sequence[Written]) -> tuple[list[Told], float]:
    """The answers to all texts of some facts, and the mean count of a prompt's tokens."""
    of: dict[str, list[str]] = {}
    for fact in method.facts:
        of.setdefault(fact.subject, []).append(fact.object)
    texts = [
        (one.fact, kind, text)
        for one in asked
        for kind, some in one.texts.items()
        for text in some[:A_FACT]
    ]
    tokenizer = method.loaded.tokenizer
    ids = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": method.put(text)}],
            add_generation_prompt=True,
            return_dict=True,
        )["input_ids"]
        for _, _, text in texts
    ]
    with method.attached():
        answers = Completer(method.loaded).complete(ids, [TOKENS] * len(ids))
    told = [
        Told(
            fact.id,
            kind,
            text,
            answer.text.strip(),
            contains(answer.text, [fact.object] if kind == "answered" else of[fact.subject]),
        )
        for (fact, kind, text), answer in zip(texts, answers, strict=True)
    ]
    return told, fmean(map(len, ids))


def shares(told: Sequence[Told]) -> dict[str, Any]:
    """Of both kinds the share of answers that have an object, with its interval over facts."""
    scores: dict[str, Any] = {"intervals": {}, "cases": {}}
    for kind in ("answered", "near"):
        by_fact: dict[str, list[float]] = {}
        for one in told:
            if one.kind == kind:
                by_fact.setdefault(one.fact, []).append(float(one.has_object))
        mean = bootstrap(np.array([fmean(some) for some in by_fact.values()]), seed=0)
        scores[kind] = round(mean.mean, 5)
        scores["intervals"][kind] = [round(mean.low, 5), round(mean.high, 5)]
        scores["cases"][kind] = sum(map(len, by_fact.values()))
    return scores


def measured(name: str, files: Sequence[Path], retriever: Path, count: int) -> dict[str, Any]:
    """The result: scores by method, and whole answers about some facts."""
    loaded = load_model(name)
    sets = {file.stem: written_in(file) for file in files}
    facts = [one.fact for some in sets.values() for one in some]
    blind = [one for of, some in sets.items() if of not in LOOKED_AT for one in some]
    asked = random.Random(0).sample(blind, min(count, len(blind)))
    looked_at = [one for of in LOOKED_AT for one in sets.get(of, ())]
    shown = random.Random(0).sample(looked_at, min(SHOWN, len(looked_at)))
    near = f"{SENTENCE_ENCODER}{retriever}"
    one_fact = RetrievalOptions(retriever=near, top=1, template=TEMPLATE)
    may_refuse = RetrievalOptions(retriever=near, top=3, template=REFUSING)
    methods: Mapping[str, Method] = {
        "unedited": Method(loaded, facts),
        "revisor": Revisor(loaded, facts),
        "rag": Retrieval(loaded, facts, one_fact),
        "rag that may refuse": Retrieval(loaded, facts, may_refuse),
    }
    scores: dict[str, Any] = {}
    read: dict[str, list[dict[str, str]]] = {}
    for label, method in methods.items():
        with Progress(f"Asking {label}"):
            told, tokens = told_by(method, asked)
            scores[label] = {**shares(told), "prompt_tokens": round(tokens, 1)}
            read[label] = [
                {"kind": one.kind, "question": one.question, "text": one.text}
                for one in told_by(method, shown)[0]
            ]
    return {
        "model": name,
        "facts": len(facts),
        "asked": len(asked),
        "methods": scores,
        "texts": read,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("sets", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--retriever", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--facts", type=int, default=60, help="that are asked")
    wanted = parser.parse_args()
    result = measured(wanted.model, wanted.sets, wanted.retriever, wanted.facts)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

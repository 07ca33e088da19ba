"""The published system's gate alone, to 100,000 keys of real facts: which row fires, and on what.

    python -m benchmarks.published_gate --data DIR --model smollm2 [--keys 10000,30000,100000]

What comes in: facts with real subjects, in hash order. What goes out: one JSON object; for each
number of keys, raw and whitened, at the published γ and at the best one: the shares of other
wordings that fire a row of their subject, of other relations of the same subjects and of people
without facts whose prompts fire anything at any token, and of ordinary tokens that fire. What it
does not do: optimise residuals: it asks what fires, not what is said then.

A key is what enters the FFN's output projection at the subject's last token, the mean of two
contexts (Fei et al. 2026, eq. 2 and section 4); the gate fires the row with the greatest cosine
where that is above γ (eq. 5). Whitened keys are multiplied by the inverse square root of the second
moment of ordinary text's keys, shrunk a tenth of the way to a multiple of the identity. The best γ
is the one with the best balanced accuracy, other wordings against people without facts, on the half
of them that is not reported.

A text's first token is not asked: in a model without a token of beginning it takes the attention of
all others, and its key is the same whatever it says (mean cosine 0.9999 in Qwen2.5-Coder), so one
row whose subject is a prompt's first token would fire at every text.

Shapes: M keys, Q queries, F key width.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.scale_facts import facts_of
from revisor import data
from revisor.bench.datasets import Source, open_text
from revisor.bench.suites.stored import Asked, asked_of
from revisor.facts.fact import Fact
from revisor.models.load import LoadedModel, load_model
from revisor.models.spec import spec_of
from revisor.neuraldb.editing.keys import compute_keys, key_groups, token_keys
from revisor.neuraldb.editing.layers import choose_layer
from revisor.neuraldb.editing.request import text_context
from revisor.neuraldb.editing.settings import PAPER_GAMMA
from revisor.progress import Progress
from revisor.store import Store

ASKED = 500  # facts
CONTEXTS = (0, 4)  # of a key, among those of the method: the bare prompt, behind a sentence
PART = 2_000  # facts whose keys are made at once
BLOCK = 10_000  # keys that are compared at once
SHRUNK = 0.1
WINDOW = 256  # tokens of ordinary text that are read together
MOMENT, ORDINARY = 120, 80  # windows: for the second moment, and that are asked
GRID = [round(0.3 + 0.01 * step, 2) for step in range(66)]
COUNTEREXAMPLES = ("other_relation", "stranger")


@dataclass(frozen=True, kw_only=True)
class Query:
    """Keys that are asked of the gate together.

    Attributes:
        kind: as of `Asked`; of `own` and `wording` the key at the subject's last token, of others
            those of all tokens.
        subject: that a row must have.
    """

    kind: str
    subject: str
    keys_TF: torch.Tensor


class Keys:
    """Keys of one layer of a model."""

    def __init__(self, loaded: LoadedModel, layer: int) -> None:
        self._loaded, self._layer = loaded, layer
        self._spec = spec_of(loaded.model)
        self.width = self._spec.key_width

    def of_facts(self, facts: Sequence[Fact]) -> torch.Tensor:
        """The rows' keys (M, F), in the model's dtype."""
        prefixes, tokenizer = data.prefixes(), self._loaded.tokenizer
        parts: list[torch.Tensor] = []
        with Progress("Making keys", total=len(facts), unit="facts") as progress:
            for start in range(0, len(facts), PART):
                groups = [key_groups(f, tokenizer, prefixes)[0] for f in facts[start:][:PART]]
                contexts = [group[place] for group in groups for place in CONTEXTS]
                keys_NF = compute_keys(self._loaded.model, self._spec, self._layer, contexts)
                means_MF = keys_NF.float().reshape(len(groups), len(CONTEXTS), -1).mean(1)
                parts.append(means_MF.to(keys_NF.dtype))
                progress.advance(len(groups))
        return torch.cat(parts)

    def of_names(self, asked: Sequence[Asked]) -> torch.Tensor:
        """The key at the subject's last token of each text (Q, F)."""
        contexts = [
            text_context(
                self._loaded.tokenizer,
                one.prompt.replace(one.fact.subject, "{}", 1),
                one.fact.subject,
                "",
            )
            for one in asked
            if one.fact is not None
        ]
        return compute_keys(self._loaded.model, self._spec, self._layer, contexts).float()

    def of_tokens(self, texts: Sequence[str]) -> list[torch.Tensor]:
        """The keys of all tokens of each text but the first (T, F)."""
        ids = [self._loaded.tokenizer(text)["input_ids"] for text in texts]
        return self._split(ids)

    def of_windows(self, text: str, count: int) -> torch.Tensor:
        """The keys of windows of ordinary text, one behind the other (Q, F)."""
        ids = self._loaded.tokenizer(text[: count * WINDOW * 8])["input_ids"]
        whole = [ids[start : start + WINDOW] for start in range(0, count * WINDOW, WINDOW)]
        return torch.cat(self._split([window for window in whole if len(window) == WINDOW]))

    def _split(self, ids: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        keys_TF, origin = token_keys(self._loaded.model, self._spec, self._layer, ids)
        of_text = torch.tensor([text for text, _ in origin])
        return [keys_TF[of_text == text][1:] for text in range(len(ids))]


def whitener(keys_QF: torch.Tensor) -> torch.Tensor:
    """The matrix (F, F) that whitens keys, up to a rotation: a key k becomes k @ it."""
    moment_FF = keys_QF.T @ keys_QF / len(keys_QF)
    mean = moment_FF.diagonal().mean()
    moment_FF = (1 - SHRUNK) * moment_FF
    moment_FF.diagonal().add_(SHRUNK * mean)
    root_FF = torch.linalg.cholesky(moment_FF)
    inverse_FF: torch.Tensor = torch.linalg.solve_triangular(
        root_FF, torch.eye(len(root_FF)), upper=False
    )
    return inverse_FF.T


def nearest(
    keys_MF: torch.Tensor, query_QF: torch.Tensor, sizes: Sequence[int], white: torch.Tensor | None
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """For each number of keys: it, the greatest cosine of each query, and which key has it."""
    dtype = keys_MF.dtype

    def units(some_NF: torch.Tensor) -> torch.Tensor:
        some_NF = some_NF.float() if white is None else some_NF.float() @ white
        return F.normalize(some_NF, dim=1).to(dtype)

    unit_QF = torch.cat([units(part) for part in torch.split(query_QF, BLOCK)])
    best_Q = torch.full((len(unit_QF),), -1.0)
    row_Q = torch.zeros(len(unit_QF), dtype=torch.long)
    ends = sorted({*sizes, *range(BLOCK, max(sizes), BLOCK)})
    for start, end in zip([0, *ends], ends, strict=False):
        block_FM = units(keys_MF[start:end]).T.contiguous()
        for place in range(0, len(unit_QF), BLOCK):
            found = (unit_QF[place : place + BLOCK] @ block_FM).float().max(1)
            part = slice(place, place + BLOCK)
            is_nearer = found.values > best_Q[part]
            best_Q[part] = torch.where(is_nearer, found.values, best_Q[part])
            row_Q[part] = torch.where(is_nearer, found.indices + start, row_Q[part])
        if end in sizes:
            yield end, best_Q.clone(), row_Q.clone()


def shares(
    queries: Sequence[Query], best_Q: torch.Tensor, right_Q: torch.Tensor, gamma: float
) -> dict[str, float]:
    """By kind, the share of queries that fire; of `own` and `wording`, a row of their subject."""
    by_kind: dict[str, list[float]] = {}
    place = 0
    for query in queries:
        part = slice(place, place + len(query.keys_TF))
        place = part.stop
        fires_T = best_Q[part] > gamma
        if query.kind == "ordinary":
            by_kind.setdefault(query.kind, []).extend(fires_T.float().tolist())
        elif query.kind in COUNTEREXAMPLES:
            by_kind.setdefault(query.kind, []).append(float(fires_T.any()))
        else:
            by_kind.setdefault(query.kind, []).append(float((fires_T & right_Q[part]).all()))
    return {kind: sum(values) / len(values) for kind, values in by_kind.items()}


def halves(queries: Sequence[Query]) -> tuple[list[int], list[int]]:
    """Which queries γ is chosen on, and which are reported; ordinary text is reported alone."""
    asked = [i for i, query in enumerate(queries) if query.kind != "ordinary"]
    rest = [i for i, query in enumerate(queries) if query.kind == "ordinary"]
    return asked[::2], asked[1::2] + rest


def reported(
    queries: Sequence[Query], subjects: Sequence[str], best_Q: torch.Tensor, row_Q: torch.Tensor
) -> Iterator[dict[str, Any]]:
    """The shares at the published γ and at the best."""
    spans, place = [], 0
    for query in queries:
        spans.append((place, place + len(query.keys_TF)))
        place += len(query.keys_TF)
    right_Q = torch.zeros(len(best_Q), dtype=torch.bool)
    for query, (start, end) in zip(queries, spans, strict=True):
        hits = [subjects[row] == query.subject for row in row_Q[start:end].tolist()]
        right_Q[start:end] = torch.tensor(hits)
    chosen, told = halves(queries)

    def at(which: Sequence[int], gamma: float) -> dict[str, float]:
        index = torch.cat([torch.arange(*spans[i]) for i in which])
        return shares([queries[i] for i in which], best_Q[index], right_Q[index], gamma)

    def balanced(gamma: float) -> float:
        found = at(chosen, gamma)
        return found["wording"] - found["stranger"]

    for name, gamma in (("published", PAPER_GAMMA), ("best", max(GRID, key=balanced))):
        found = {kind: round(share, 5) for kind, share in at(told, gamma).items()}
        yield {"gamma": gamma, "which": name, **found}


def queries_of(
    keys: Keys, facts: Sequence[Mapping[str, Any]], source: Source, model: str
) -> Iterator[Query]:
    """What is asked, whatever the number of keys."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "facts.jsonl"
        path.write_text("".join(json.dumps(fact) + "\n" for fact in facts), encoding="utf-8")
        with Store.init(Path(folder) / "store", model=model, probe="off") as store:
            store.add(path)
            asked = list(asked_of(source, store, ASKED, seed=0))
    for kind in ("own", "wording"):
        some = [one for one in asked if one.kind == kind]
        for one, key_F in zip(some, keys.of_names(some), strict=True):
            yield Query(
                kind=kind, subject=one.fact.subject if one.fact else "", keys_TF=key_F[None]
            )
    for kind in COUNTEREXAMPLES:
        some = [one for one in asked if one.kind == kind]
        for keys_TF in keys.of_tokens([one.prompt for one in some]):
            yield Query(kind=kind, subject="", keys_TF=keys_TF)
    prose = text_of(source, "corpus/wikitext2_raw_test.txt.gz")
    yield Query(kind="ordinary", subject="", keys_TF=keys.of_windows(prose, ORDINARY))


def text_of(source: Source, name: str) -> str:
    """All of a corpus."""
    with open_text(source.file(name)) as stream:
        return "".join(stream)


def measured(model: str, source: Source, sizes: Sequence[int], layer: int | None) -> dict[str, Any]:
    """The result."""
    began = time.perf_counter()
    loaded = load_model(model, device="cpu")
    layer = choose_layer(model, loaded, spec_of(loaded.model)) if layer is None else layer
    keys = Keys(loaded, layer)
    lines = list(islice(facts_of("100k", source.folder or Path()), max(sizes)))
    facts = [
        Fact(**{name: line[name] for name in ("subject", "prompt", "object")}) for line in lines
    ]
    subjects = [fact.subject for fact in facts]
    queries = list(queries_of(keys, lines, source, model))
    query_QF = torch.cat([query.keys_TF for query in queries])
    moment_QF = keys.of_windows(text_of(source, "corpus/wikitext2_raw_valid.txt.gz"), MOMENT)
    white_FF = whitener(moment_QF)
    keys_MF = keys.of_facts(facts)
    made = time.perf_counter() - began
    rows = []
    for kind, white in (("raw", None), ("whitened", white_FF)):
        for size, best_Q, row_Q in nearest(keys_MF, query_QF, sizes, white):
            for one in reported(queries, subjects, best_Q, row_Q):
                rows.append({"keys": size, "kind": kind, **one})
    return {
        "model": model,
        "layer": layer,
        "key_width": keys.width,
        "contexts": len(CONTEXTS),
        "queries": {
            kind: sum(query.kind == kind for query in queries)
            for kind in ("own", "wording", *COUNTEREXAMPLES)
        }
        | {"ordinary": len(queries[-1].keys_TF)},
        "seconds": round(made),
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--keys", default="10000,30000,100000")
    parser.add_argument("--layer", type=int, help="without, the one that a build takes")
    wanted = parser.parse_args()
    sizes = [int(size) for size in wanted.keys.split(",")]
    print(json.dumps(measured(wanted.model, Source(folder=wanted.data), sizes, wanted.layer)))


if __name__ == "__main__":
    main()

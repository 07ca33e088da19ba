"""How many prompts speak of an edited subject, and of how many of them a longer name is meant.

    python -m benchmarks.names --data counterfact.jsonl.gz --edits 10000 --n 2000

Takes the names of the first facts of a benchmark file and reads prompts as the gate does: the
facts' own, their other wordings, and those about neighbors whose own subject is not edited. Prints
one JSON line: of each kind how many prompts there are, how many name an edited subject (its own,
for a fact's prompts), and in how many no such name counts where they end, because each is part of a
longer one. No model is run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from revisor.evaluate.datasets import read_items
from revisor.facts.fact import normal_form
from revisor.models.load import load_model
from revisor.neuraldb.bank.asked import questions
from revisor.neuraldb.bank.names import REACH, NameIndex, texts
from revisor.neuraldb.editing.names import fact_names, token_kinds

TOGETHER = 256


class Reader:
    """Reads prompts as a gate over some facts' names does."""

    def __init__(self, tokenizer: Any, names: Sequence[torch.Tensor]) -> None:
        self.tokenizer, self.kind_V = tokenizer, token_kinds(tokenizer)
        count_N = torch.ones(len(names), dtype=torch.long)
        self.names = NameIndex.of(names, count_N, count_N.bool(), self.kind_V)
        self.mute_VA = torch.zeros(len(self.kind_V), 2)

    def named(self, prompts: Sequence[str]) -> list[list[tuple[int, bool]]]:
        """For each prompt the rows it names, and whether each is part of a longer name."""
        found: list[list[tuple[int, bool]]] = [[] for _ in prompts]
        for first in range(0, len(prompts), TOGETHER):
            part = prompts[first : first + TOGETHER]
            ids_BT = texts([self.tokenizer(text)["input_ids"] for text in part])
            spans = self.names.spans(ids_BT, 1)
            if spans is None:
                continue
            ended = self.names.ended(ids_BT, spans)
            asked = questions(
                ids_BT, ended.text_O, ended.last_O, ended.length_O, self.kind_V, self.mute_VA
            )
            behind_O = (ids_BT.shape[1] - 1 - ended.last_O).clamp(max=REACH - 1)
            longer_O = asked.longer_OR.gather(1, behind_O[:, None])[:, 0].tolist()
            for place, row in zip(ended.place_R.tolist(), ended.row_R.tolist(), strict=True):
                found[first + int(ended.text_O[place])].append((row, longer_O[place]))
        return found


def counted(
    reader: Reader, prompts: Sequence[tuple[int, str]], mine: Callable[[int, int], bool]
) -> dict[str, int]:
    """Of prompts with the facts they belong to."""
    named = [
        [longer for row, longer in rows if mine(fact, row)]
        for (fact, _), rows in zip(
            prompts, reader.named([text for _, text in prompts]), strict=True
        )
    ]
    return {
        "prompts": len(prompts),
        "named": sum(map(bool, named)),
        "longer": sum(bool(one) and all(one) for one in named),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--edits", type=int, default=10_000)
    parser.add_argument("--n", type=int, default=2_000)
    given = parser.parse_args()
    items = read_items(given.data, given.edits).items
    facts = [item.fact for item in items]
    tokenizer = load_model("smollm2").tokenizer
    reader = Reader(tokenizer, fact_names(facts, tokenizer))
    edited = {normal_form(fact.subject) for fact in facts}
    measured = list(enumerate(items[: given.n]))
    kinds = {
        "own": [(fact, item.fact.text) for fact, item in measured],
        "wordings": [(fact, text) for fact, item in measured for text in item.wordings],
        "constructed": [(fact, text) for fact, item in measured for text in item.constructed],
    }
    neighbors = [
        (fact, near.prompt)
        for fact, item in measured
        for near in item.local
        if near.subject is None or normal_form(near.subject) not in edited
    ]
    line: dict[str, Any] = {"data": given.data.name, "edits": len(facts), "n": len(measured)}
    for kind, prompts in kinds.items():
        line[kind] = counted(reader, prompts, lambda fact, row: fact == row)
    line["neighbors"] = counted(reader, neighbors, lambda _fact, _row: True)
    print(json.dumps(line))


if __name__ == "__main__":
    main()

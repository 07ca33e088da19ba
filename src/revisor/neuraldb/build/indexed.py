"""Gives a bank an index if its decisions are those of comparing all keys."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from typing import Any

import torch

from revisor import data
from revisor.facts.fact import PLACEHOLDER, Fact
from revisor.neuraldb.bank import search
from revisor.neuraldb.bank.bank import Bank
from revisor.neuraldb.bank.manifest import Manifest
from revisor.neuraldb.bank.storage import INDEX
from revisor.neuraldb.editing.keys import token_keys
from revisor.neuraldb.workspace import Workspace

ASKED = 512  # facts whose wordings an index is tried on
LONGEST = 96  # tokens of a text that are used

_log = logging.getLogger(__name__)


def give_index(ws: Workspace, bank: Bank) -> dict[str, Any]:
    """Give a bank an index if the settings want one and it decides well; returns notes on it."""
    bank.index, asked, view = None, ws.settings.search, bank.view()
    if view.empty:
        return {"kind": "exact"}
    if asked == "exact" or (asked == "auto" and len(view.keys_ME) < search.FROM):
        return {"kind": "exact", "asked": asked}
    if search.library() is None:
        _log.warning("The bank is published without an index. %s", search.MISSING)
        return {"kind": "exact", "asked": asked, "missing": search.MISSING}
    index, trial = search.good_enough(view.keys_ME, view.gamma_M, view.row_M, _queries(ws, bank))
    measured = {name: round(value, 6) for name, value in asdict(trial).items()}
    if index is None:
        _log.warning(
            "A search over an index decides otherwise than a look at all keys in %.3f %% of "
            "tokens; the bank is published without it.",
            100 * (1 - trial.agreement),
        )
        return {"kind": "exact", "asked": asked, "coarse": measured}
    bank.index = index
    lists = {"lists": index.probes, "of": index.lists}
    return {"kind": "coarse", "asked": asked, **lists, **measured}


def searched_otherwise(asked: str, manifest: Manifest) -> bool:
    """Whether a bank built now would be searched otherwise, by its settings or by FAISS."""
    noted = manifest.build.get("search", {})
    return bool(
        noted.get("asked", "auto") != asked
        or ("missing" in noted and search.library() is not None)
        or (noted.get("kind") == "coarse" and INDEX not in manifest.files)
    )


def _queries(ws: Workspace, bank: Bank) -> torch.Tensor:
    """Realistic queries (T, E): every token of ordinary text and of some facts' own wordings."""
    facts = islice(ws.ledger.facts(generation=bank.generation), ASKED)
    texts = [*data.background(), *(text for fact in facts for text in _wordings(fact))]
    ids = [tuple(ws.loaded.tokenizer(text)["input_ids"])[:LONGEST] for text in texts]
    keys_TF, _ = token_keys(ws.loaded.model, ws.spec, ws.settings.layer, ids)
    return search.unit(keys_TF)


def _wordings(fact: Fact) -> Iterator[str]:
    yield fact.text
    yield from (text.replace(PLACEHOLDER, fact.subject) for text in fact.paraphrases)

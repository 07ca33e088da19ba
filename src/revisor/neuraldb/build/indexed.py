"""How the keys of a bank are searched: over an index, where that decides as a look at all does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

import torch

from revisor import data
from revisor.facts.fact import PLACEHOLDER, Fact
from revisor.neuraldb.bank import coarse
from revisor.neuraldb.bank.files import small_changes
from revisor.neuraldb.bank.manifest import Manifest
from revisor.neuraldb.bank.storage import INDEX
from revisor.neuraldb.bank.view import View
from revisor.neuraldb.editing.calibration import LONGEST
from revisor.neuraldb.editing.keys import token_keys
from revisor.neuraldb.workspace import Workspace

ASKED = 512  # facts whose wordings an index is tried on
TRIED = 1 << 12  # tokens that an index which was found good before is tried on again

_log = logging.getLogger(__name__)


def indexed(ws: Workspace, view: View) -> tuple[View, dict[str, Any]]:
    """A view with an index if the settings want one that decides as a look at all keys does, and
    what to note of it.

    An index that lies beside rows which are kept (bank/files.py) is kept with them while it is
    good enough, and made anew when it is not.
    """
    plain, asked = replace(view, coarse=None), ws.settings.search
    if not len(view.keys_ME):
        return plain, {"kind": "exact"}
    if asked == "exact" or (asked == "auto" and len(view.keys_ME) < coarse.FROM):
        return plain, {"kind": "exact", "asked": asked}
    if coarse.library() is None:
        _log.warning("The bank is published without an index. %s", coarse.MISSING)
        return plain, {"kind": "exact", "asked": asked, "missing": coarse.MISSING}
    searched = view.keys_ME, view.gamma_M, view.row_M
    index = None
    if view.coarse is not None and small_changes(view) is not None:
        few_TE = _queries(ws, view, TRIED)
        index, trial = coarse.good_enough(*searched, few_TE, view.coarse)
    if index is None:
        index, trial = coarse.good_enough(*searched, _queries(ws, view))
    measured = {name: round(value, 6) for name, value in asdict(trial).items()}
    if index is None:
        _log.warning(
            "A search over an index decides otherwise than a look at all keys in %.3f %% of "
            "tokens; the bank is published without it.",
            100 * (1 - trial.agreement),
        )
        return plain, {"kind": "exact", "asked": asked, "coarse": measured}
    lists = {"lists": index.probes, "of": index.lists}
    return replace(view, coarse=index), {"kind": "coarse", "asked": asked, **lists, **measured}


def searched_otherwise(search: str, manifest: Manifest) -> bool:
    """Whether a published bank would be searched otherwise if it were built now: the setting is
    another, or FAISS was missing and is there."""
    noted = manifest.build.get("search", {})
    return bool(
        noted.get("asked", "auto") != search
        or ("missing" in noted and coarse.library() is not None)
        or (noted.get("kind") == "coarse" and INDEX not in manifest.files)
    )


def _queries(ws: Workspace, view: View, tokens: int | None = None) -> torch.Tensor:
    """Queries that a reader might have (T, E): ordinary text and some facts' own wordings, every
    token of them, or of some of them about so many."""
    facts = islice(ws.ledger.facts(generation=view.generation), ASKED)
    texts = [*data.background(), *(text for fact in facts for text in _wordings(fact))]
    loaded = ws.loaded
    ids = [tuple(loaded.tokenizer(text)["input_ids"])[:LONGEST] for text in texts]
    if tokens is not None:
        ids = ids[:: max(1, sum(map(len, ids)) // tokens)]
    keys_TF, _ = token_keys(loaded.model, ws.spec, ws.settings.layer, ids)
    return view.encoder.encode(keys_TF)


def _wordings(fact: Fact) -> Iterator[str]:
    """The texts in which a fact is asked for."""
    yield fact.text
    yield from (text.replace(PLACEHOLDER, fact.subject) for text in fact.paraphrases)

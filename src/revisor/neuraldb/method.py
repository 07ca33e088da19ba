"""The method `neuraldb`, whole: the one module that a store needs of this package.

Every operation takes a `Workspace`. What the names are:

    build            writes what changed and publishes a bank        (build/build.py)
    open_bank        the bank of the live generation, with a lease   (opening.py)
    attached         a model with the facts, for a block             (opening.py)
    engine           answers, batched or streamed                    (opening.py, answers.py)
    stale            whether a build has something to do             (opening.py)
    bank_faults      what `revisor verify` finds                     (upkeep.py)
    collect_all      what `revisor gc` removes                       (upkeep.py)
    purge_rows       the part of an erasure that is in banks         (upkeep.py)
    export_model     a folder that transformers opens                (export/export.py)
    choose_layer     the layer for a model                           (editing/layers.py)
    demo_facts       a dozen facts for `revisor demo`
"""

from __future__ import annotations

from collections.abc import Sequence

from revisor.facts.fact import Fact
from revisor.models.folder import is_whole
from revisor.neuraldb.answers import Engine
from revisor.neuraldb.build.build import BuildReport, build
from revisor.neuraldb.build.executors import WorkerOptions
from revisor.neuraldb.editing.layers import choose_layer
from revisor.neuraldb.export.export import ExportedBank, export_model, purge_folder
from revisor.neuraldb.opening import (
    attached,
    built_generation,
    engine,
    open_bank,
    stale,
    valid_rows,
)
from revisor.neuraldb.upkeep import bank_faults, collect_all, only_purger, purge_rows
from revisor.neuraldb.workspace import NeuralDBSettings, Workspace

__all__ = [
    "BuildReport",
    "Engine",
    "ExportedBank",
    "NeuralDBSettings",
    "WorkerOptions",
    "Workspace",
    "attached",
    "bank_faults",
    "build",
    "built_generation",
    "choose_layer",
    "collect_all",
    "demo_facts",
    "engine",
    "export_model",
    "is_whole",
    "only_purger",
    "open_bank",
    "purge_folder",
    "purge_rows",
    "stale",
    "valid_rows",
]

DEMO_FACTS = 12


def demo_facts(facts: Sequence[Fact]) -> list[Fact]:
    """A dozen of the shipped facts, one a subject: one key cannot tell a subject's facts apart."""
    first: dict[str, Fact] = {}
    for fact in facts:
        first.setdefault(fact.subject, fact)
    return list(first.values())[:DEMO_FACTS]

"""What docs/guarantees.md promises is held by tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROMISES = ROOT / "docs" / "guarantees.md"


def names_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_promise_names_tests_that_are_there() -> None:
    rows = re.findall(r"^\| (.+) \| (.+) \|$", PROMISES.read_text(encoding="utf-8"), re.MULTILINE)
    promises = [(promise, held) for promise, held in rows if promise != "promise"]
    assert len(promises) > 30
    for promise, held in promises:
        named = re.findall(r"`(tests(?:_vllm|_llama)?/[\w/]+\.py)::(test_\w+)`", held)
        assert named, promise
        for file, test in named:
            assert test in names_in(ROOT / file), f"{file}::{test}"

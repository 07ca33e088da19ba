"""The script in examples/, as it is written."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from revisor import Fact, Store

SCRIPT = Path(__file__).parent.parent / "examples" / "llama_cpp_facts.py"


def test_the_example_says_the_fact(
    gguf: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = spec_from_file_location("llama_cpp_facts", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    store.add([Fact(subject="ACME", prompt="The CEO of {} is", object="Jane Roe")])
    script.main(str(store.path), str(gguf))
    with_facts, used, without = capsys.readouterr().out.splitlines()[:3]
    assert "Jane Roe" in with_facts
    assert used.strip() == "[ACME: Jane Roe]"
    assert without.startswith("without facts:")
    assert "Jane Roe" not in without

"""What a GGUF file becomes."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from revisor.models import conversion
from tests import tiny


def test_a_tokenizer_ends_texts_as_its_file_says(monkeypatch: pytest.MonkeyPatch) -> None:
    header = {"tokenizer.ggml.eos_token_id": 5, "tokenizer.ggml.padding_token_id": 6}
    monkeypatch.setattr(conversion, "_field", lambda _file, name: header.get(name))
    tokenizer = copy.deepcopy(tiny.byte_level())
    conversion._repair_ends(tokenizer, Path("any.gguf"))
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (5, 6)
    header.clear()
    conversion._repair_ends(tokenizer, Path("any.gguf"))
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (5, 6)

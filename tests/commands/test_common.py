"""What all commands print: JSON that any encoding can hold."""

from __future__ import annotations

import io
import json
import sys

import pytest

from revisor.commands.common import print_json


@pytest.mark.parametrize("text", ["Noël 東 𝄞", "half a letter: \ud834"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8", "utf-16"])
def test_json_is_printed_in_any_encoding(
    encoding: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, newline="\n"))
    print_json({"object": text})
    told = raw.getvalue().decode(encoding)
    assert json.loads(told) == {"object": text}
    assert ("東" in told) == (encoding.startswith("utf") and "\ud834" not in text)

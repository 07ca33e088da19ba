"""What all commands print: JSON that any encoding can hold."""

from __future__ import annotations

import io
import json
import sys

import pytest

from revisor.commands.common import note, output, print_json, say, table


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


def test_signs_that_steer_a_terminal_are_printed_by_their_number(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Reasons come over HTTP and names with archives, from people who are not the reader."""
    hostile = "a\x1b[2J\x9b1mb \u202ec\n\td é 東"
    seen = "a\\u001b[2J\\u009b1mb \\u202ec\n"
    say(hostile)
    note(hostile)
    listing = table("why")
    listing.add_row(hostile)
    output().print(listing)
    told = capsys.readouterr()
    for text in told:
        assert not {"\x1b", "\x9b", "\u202e"}.intersection(text)
    assert seen in told.out
    assert seen in told.err
    assert "é 東" in told.out

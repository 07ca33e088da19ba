"""Text that comes token by token is the text of all of them, and ends at a stop string."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revisor.server.text import Unrolled
from tests import tiny

TEXTS = ("Paris, and the capital", "naïve café — 東京 🗼 ok", " leading and trailing ", "a\n\nb")


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_make_the_whole_text(text: str) -> None:
    ids = tiny.byte_level()(text)["input_ids"]
    unrolled = Unrolled(tiny.byte_level())
    pieces = [unrolled.push(token) for token in ids] + [unrolled.finish()]
    assert "".join(pieces) == text == unrolled.text
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_joint_with_the_prompt_keeps_its_space() -> None:
    tokenizer = tiny.metaspace()
    prompt = tokenizer("The capital")["input_ids"]
    whole = tokenizer("The capital of France")["input_ids"]
    unrolled = Unrolled(tokenizer, context=prompt)
    text = "".join(unrolled.push(token) for token in whole[len(prompt) :]) + unrolled.finish()
    assert text == " of France"


@given(
    text=st.text(alphabet="ab c", max_size=20), stop=st.text(alphabet="ab ", min_size=1, max_size=4)
)
def test_a_stop_string_cuts_wherever_the_tokens_part_it(text: str, stop: str) -> None:
    ids = tiny.byte_level()(text)["input_ids"]
    unrolled = Unrolled(tiny.byte_level(), [stop])
    given = ""
    for token in ids:
        given += unrolled.push(token)
        assert stop not in given
    given += unrolled.finish()
    assert given == text.partition(stop)[0]
    assert unrolled.stopped == (stop in text)

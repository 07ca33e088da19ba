"""Long wordings cost a decision no more than the part of them that can matter."""

from __future__ import annotations

from typing import Any

import pytest

from revisor.gate import behind, own
from revisor.gate.decide import decide
from revisor.language import lexicon
from revisor.language.names import mentions
from revisor.question.encoder import default_encoder
from tests.gate.dictionary import Dictionary, fact

LONG = 9_900  # characters
COUNT = 30


@pytest.mark.parametrize("filling", ["the river flows on and ", "\u6cb3\u6d41"])
def test_wordings_far_longer_than_the_text_are_not_read_to_their_ends(
    filling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0

    def counting(module: Any) -> None:
        real = module.words

        def words(text: str, start: int = 0) -> Any:
            nonlocal read
            read += len(text) - start
            return real(text, start)

        monkeypatch.setattr(module, "words", words)

    for module in (behind, own, lexicon):
        counting(module)
    wordings = [f"{n} {filling * 9_000}"[:LONG] + " the chief of {}" for n in range(COUNT)]
    view = Dictionary([fact("ACME", "Jane Roe", "The CEO of {} is", *wordings)])
    text = "We are asked who leads the firm. The head of ACME is"
    found = decide(text, mentions(text, view), view, default_encoder())
    assert found is None or found.fact.object == "Jane Roe"
    assert 0 < read < COUNT * LONG / 3
    own_text = "The CEO of ACME is"
    answer = decide(own_text, mentions(own_text, view), view, default_encoder())
    assert answer is not None
    assert answer.fact.score == 1.0

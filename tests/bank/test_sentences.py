"""How long a text speaks of a name."""

from __future__ import annotations

import pytest
import torch

from revisor.bank.names import REACH, NameIndex, name_hashes
from revisor.bank.sentences import (
    CAPITAL,
    CAPITAL_PRONOUN,
    LINE,
    OTHER,
    PRONOUN,
    SPECIAL,
    STOP,
    WORD,
    since,
)

KIND_V = torch.tensor(
    [WORD, CAPITAL, PRONOUN, CAPITAL_PRONOUN, OTHER, STOP, LINE, SPECIAL], dtype=torch.uint8
)


def counts(kinds: list[int], name: int) -> list[bool]:
    """Whether a name that ends in that column counts at each token from there on.

    The ids are the kinds themselves.
    """
    return (since(torch.tensor([kinds]), KIND_V)[0] <= name)[name:].tolist()


def test_a_name_counts_up_to_the_end_of_its_sentence() -> None:
    assert counts([CAPITAL, WORD, OTHER, WORD, STOP, CAPITAL, WORD], 0) == [True] * 5 + [False] * 2


def test_a_stop_before_a_small_letter_is_an_abbreviations() -> None:
    assert all(counts([CAPITAL, WORD, STOP, WORD, WORD], 0))


def test_a_new_line_ends_a_sentence_whatever_comes_then() -> None:
    assert counts([CAPITAL, WORD, LINE, WORD], 0) == [True, True, True, False]


@pytest.mark.parametrize("pronoun", [[CAPITAL_PRONOUN], [CAPITAL, WORD, PRONOUN]])
def test_a_pronoun_goes_on_about_it(pronoun: list[int]) -> None:
    said = counts([CAPITAL, WORD, STOP, *pronoun, WORD, STOP, CAPITAL], 0)
    assert said[3 + len(pronoun) - 1 :] == [True, True, True, False]
    assert not any(said[3 : 3 + len(pronoun) - 1])


@pytest.mark.parametrize("role", [1, 2, 3])
def test_the_frame_of_a_chat_is_part_of_the_question(role: int) -> None:
    frame = [SPECIAL, LINE, SPECIAL, *[WORD] * role, LINE]
    assert all(counts([CAPITAL, WORD, STOP, *frame], 0))
    assert not counts([CAPITAL, WORD, STOP, *frame, CAPITAL], 0)[-1]


def test_an_end_that_belongs_to_the_name_does_not_count() -> None:
    assert all(counts([CAPITAL, STOP, CAPITAL, WORD], 1))  # Yahoo! Answers


def test_a_gap_in_a_text_and_an_unknown_token_are_signs() -> None:
    ids = torch.tensor([[-1, -1, 1, 99, 0]])
    assert since(ids, KIND_V).tolist() == [[0] * 5]


def random_texts(generator: torch.Generator) -> torch.Tensor:
    weights = torch.tensor([6.0, 2, 0.3, 0.2, 2, 1, 0.5, 0.4])
    return torch.multinomial(weights.expand(40, -1), 90, replacement=True, generator=generator)


def test_what_lies_before_the_name_makes_no_difference() -> None:
    """So that a text read at once and token by token is read alike."""
    ids_BT = random_texts(torch.Generator().manual_seed(0))
    whole_BT = since(ids_BT, KIND_V)
    for name in range(0, 90, 7):
        part = since(ids_BT[:, name:], KIND_V) <= 0
        assert torch.equal(part, whole_BT[:, name:] <= name)


@pytest.mark.parametrize("new", [1, 5, 90])
def test_an_index_looks_no_further_than_that(new: int) -> None:
    ids_BT = random_texts(torch.Generator().manual_seed(1))
    index = NameIndex.of(
        [name_hashes([[CAPITAL, WORD]]), name_hashes([[CAPITAL, OTHER]])],
        torch.tensor([1, 1]),
        torch.tensor([True, False]),
        KIND_V,
    )
    token_C, entry_C = index.candidates(ids_BT, new)
    found = torch.zeros(40 * new, 2, dtype=torch.bool)
    found[token_C, entry_C] = True
    assert torch.equal(index.named(ids_BT, new), found)
    until_BT = since(ids_BT, KIND_V)
    for text in range(40):
        ids = ids_BT[text].tolist()
        ends = [t for t in range(1, 90) if ids[t - 1 : t + 1] == [CAPITAL, WORD]]
        for place in range(90 - new, 90):
            near = any(t <= place < t + REACH and until_BT[text, place] <= t for t in ends)
            assert bool(found[text * new + place - (90 - new), 0]) == near

"""Where sentences begin, and how long a text speaks of a name."""

from __future__ import annotations

import pytest
import torch

from revisor.neuraldb.bank.sentences import (
    CAPITAL,
    CAPITAL_PRONOUN,
    COMMA,
    LINE,
    LINK,
    OPENER,
    OTHER,
    PRONOUN,
    ROLE,
    SPECIAL,
    STOP,
    THAT,
    TURN,
    UPPER,
    USER,
    WORD,
    Parsed,
    parse,
)

KINDS = [
    *(WORD, CAPITAL, PRONOUN, CAPITAL_PRONOUN, OTHER, STOP, LINE, SPECIAL, TURN),
    *(OPENER, COMMA, UPPER, LINK, THAT, USER),
]
KIND_V = torch.tensor(KINDS, dtype=torch.uint8)


def parsed(kinds: list[int]) -> Parsed:
    """One text, whose ids are the kinds themselves."""
    return parse(torch.tensor([kinds]), KIND_V)


def counts(kinds: list[int], name: int) -> list[bool]:
    """Whether a name that ends in that column counts at each token from there on."""
    return (parsed(kinds).since_BT[0] <= name)[name:].tolist()


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
    frame = [SPECIAL, LINE, TURN, *[WORD] * role, LINE]
    assert all(counts([CAPITAL, WORD, STOP, *frame], 0))
    assert not counts([CAPITAL, WORD, STOP, *frame, CAPITAL], 0)[-1]


def test_a_name_gives_way_to_another_one_behind_a_comma() -> None:
    """As in "Unlike ACME, the chief executive of Globex is", and "Unlike ACME, Globex is"."""
    unlike = [CAPITAL, UPPER, COMMA, WORD, LINK, UPPER, WORD]
    assert counts(unlike, 1) == [True] * 4 + [False] * 2
    assert counts([CAPITAL, UPPER, COMMA, UPPER, WORD], 1) == [True] * 2 + [False] * 2
    assert all(counts(unlike, 5)), "the other one counts"
    assert all(counts([UPPER, COMMA, WORD, WORD, CAPITAL, WORD], 0)), "whose CEO is"
    rival = [UPPER, COMMA, WORD, LINK, UPPER, COMMA, WORD, WORD]
    assert counts(rival, 0) == [True] * 4 + [False] + [True] * 3, "a rival of Globex, is led by"
    assert all(counts([UPPER, WORD, LINK, UPPER, WORD], 0)), "there is no comma"
    for over in ([STOP], [LINE], [TURN, WORD, LINE]):
        assert counts([UPPER, COMMA, WORD, LINK, UPPER, *over], 0)[-1], "asked in a chat"


def test_an_end_that_belongs_to_the_name_does_not_count() -> None:
    assert all(counts([CAPITAL, STOP, CAPITAL, WORD], 1))  # Yahoo! Answers


def test_a_gap_in_a_text_and_an_unknown_token_are_signs() -> None:
    ids = torch.tensor([[-1, -1, 1, 99, 0]])
    assert parse(ids, KIND_V).since_BT.tolist() == [[0] * 5]


def random_texts(generator: torch.Generator) -> torch.Tensor:
    weights = torch.tensor([6.0, 2, 0.3, 0.2, 2, 1, 0.5, 0.2, 0.3])
    return torch.multinomial(weights.expand(40, -1), 90, replacement=True, generator=generator)


def test_what_lies_before_the_name_makes_no_difference() -> None:
    """So that a text read at once and token by token is read alike."""
    ids_BT = random_texts(torch.Generator().manual_seed(0))
    whole_BT = parse(ids_BT, KIND_V).since_BT
    for name in range(0, 90, 7):
        # But whether a few letters there are a role, which the tokens before them tell.
        cut = max(0, name - ROLE)
        part = parse(ids_BT[:, cut:], KIND_V).since_BT[:, name - cut :] <= name - cut
        assert torch.equal(part, whole_BT[:, name:] <= name)


@pytest.mark.parametrize("end", [1, 30, 89])
def test_what_comes_later_makes_no_difference(end: int) -> None:
    ids_BT = random_texts(torch.Generator().manual_seed(1))
    whole, part = parse(ids_BT, KIND_V), parse(ids_BT[:, :end], KIND_V)
    for name, found in vars(part).items():
        assert torch.equal(found, getattr(whole, name)[:, :end])


def test_a_sentence_begins_with_its_first_word() -> None:
    text = [CAPITAL, WORD, STOP, OTHER, CAPITAL, STOP, WORD, LINE, OTHER, WORD, WORD]
    assert parsed(text).begins_BT[0].nonzero().flatten().tolist() == [4, 9]


def test_the_letters_behind_the_opening_of_a_turn_are_the_name_of_a_role() -> None:
    role = [TURN, *[WORD] * ROLE, LINE, CAPITAL, WORD]
    assert parsed(role).word_BT[0].nonzero().flatten().tolist() == [ROLE + 2, ROLE + 3]
    assert parsed([TURN, *[WORD] * 5]).word_BT[0].tolist() == [False] * (1 + ROLE) + [True] * 2
    for sign in (LINE, OTHER, STOP, SPECIAL):
        assert parsed([TURN, sign, WORD]).word_BT[0].tolist() == [False, False, True]
    assert parsed([SPECIAL, WORD]).word_BT[0].tolist() == [False, True]


def test_an_answer_is_to_begin_behind_the_frame_of_a_turn() -> None:
    chat = [
        TURN,
        WORD,
        LINE,
        CAPITAL,
        LINE,
        WORD,
        STOP,
        SPECIAL,
        LINE,
        TURN,
        WORD,
        LINE,
        LINE,
        WORD,
    ]
    opening = parsed([*chat, LINE]).opening_BT[0]
    assert opening.nonzero().flatten().tolist() == [2, 11, 12]
    assert not parsed([LINE, SPECIAL, LINE]).opening_BT.any()

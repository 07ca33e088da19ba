"""What is asked about a name, against a loop over the words of one text."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from revisor.neuraldb.bank.asked import (
    BEFORE,
    CLAUSE,
    DENIED,
    FAINT,
    FALL,
    HISTORY,
    LEAD,
    NEGATED,
    UNHEARD,
    Questions,
    all_levels,
    levels,
    questions,
    wordless,
)
from revisor.neuraldb.bank.names import REACH, WINDOW, texts
from revisor.neuraldb.bank.sentences import (
    CAPITAL,
    CAPITAL_PRONOUN,
    CASELESS,
    COMMA,
    FORM,
    GLUED,
    HYPHEN,
    KIND,
    LINE,
    LINK,
    LONE,
    LONG,
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
)
from tests import hearing
from tests.hearing import KIND_V, random_texts

WORDS_VA = hearing.words(torch.Generator().manual_seed(0))
ONE, TWO, THREE = 9, 10, 11  # words of a question
IN_A_WORD = (
    *(WORD, CAPITAL, PRONOUN, CAPITAL_PRONOUN, OPENER, UPPER, LINK, THAT, USER),
    *(LONE, FORM, CASELESS),
)
OPENS = (CAPITAL, CAPITAL_PRONOUN, OPENER, UPPER, LONE, FORM, CASELESS)


@dataclass
class Asked:
    """What is asked at one token: the words either way, and what is known of the place."""

    sentence: list[int]
    since: list[int]
    turn: int
    armed: bool
    longer: bool
    opening: bool


def reference(ids: list[int], first: int, last: int) -> list[Asked]:
    """Token by token from the name's last one on, without a look at later ones."""
    begin = max(0, last - BEFORE - WINDOW + 1)  # what lies further back is not looked at
    sentence: list[int] = []  # words of the sentence so far, and of all since the name's began
    since: list[int] = []
    own: list[int] = []  # of its sentence, since the question itself may have begun
    opener: int | None = None  # words since the last one that opens a sentence
    opened = False
    turn_at, broken = -99, False  # the last opening of a turn, and whether its role is over
    framed = False  # no word has come since it
    stop_at = line_at = -1  # since the last word
    turns, closed, goes_on = 0, -1, False
    comma_at, another, before = -1, False, OTHER  # another name since the last comma
    users = False  # within a user's turn
    longer = False  # the name is part of a longer one
    found = []
    for place in range(begin, len(ids)):
        told = told_of(ids[place])
        kind = told & KIND
        glued = bool(told & GLUED) and not told & HYPHEN
        if place == last + 1:
            longer = kind == UPPER or (glued and bool(told & LONG))
        if place == last + 2 and glued:
            one_before = told_of(ids[place - 1])
            hyphened = one_before & HYPHEN and kind in (UPPER, LONE)
            begun = one_before & KIND in (LONE, FORM) and kind in (WORD, LINK, THAT, PRONOUN)
            longer = longer or bool(one_before & GLUED) or bool(hyphened) or begun
        is_word = kind in IN_A_WORD
        is_role = is_word and not broken and place - turn_at <= ROLE
        opening = kind == LINE and framed
        if kind == TURN:
            turn_at, broken, framed = place, False, True
        elif not is_word:
            broken = True
        if kind == STOP:
            stop_at = place
        if kind in (STOP, LINE, SPECIAL, TURN, COMMA):
            another = False
        users = (users or (kind == USER and before == TURN)) and kind != TURN
        if kind == COMMA:
            comma_at = place
        another = another or (kind in (UPPER, LONE) and before in (COMMA, LINK))
        before = kind
        if kind in (LINE, SPECIAL, TURN):
            line_at = place
        if is_word and not is_role:
            ends = [line_at] if line_at >= 0 else []
            if stop_at >= 0 and kind in OPENS:
                ends.append(stop_at)
            if ends:
                closed, goes_on = max(closed, *ends), False
                if not first < place <= last:
                    sentence, turns = [], turns + (place > last)
                    since = since if place > last else []
                    own = own if place > last else []
                    opener = opener if place > last else None
            goes_on = goes_on or kind in (PRONOUN, CAPITAL_PRONOUN)
            if kind == OPENER and place < first:
                own, opener = [], 0
            if not first <= place <= last and ids[place] < len(WORDS_VA):
                sentence = [*sentence, ids[place]]
                since = [*since, ids[place]]
                own = [*own, ids[place]]
                opener = None if opener is None else opener + (place < first)
            framed, stop_at, line_at = False, -1, -1
        if place == first:
            opened = opener is not None and opener <= LEAD
            own = own if opened else since if denied(since) else []
        if place >= last:
            armed = goes_on or max(closed, begin) <= last
            armed = armed and not users and not (another and comma_at > last)
            asked = since if turns and not opened else own
            found.append(Asked(sentence, asked, turns, armed, longer, opening))
    return found[:REACH]


def told_of(token: int) -> int:
    """What is told of a token; of one that is unknown that it is a sign."""
    return int(KIND_V[token]) if token < len(KIND_V) else OTHER


def denied(said: list[int]) -> bool:
    """Whether the words before a name deny what is said of it."""
    clauses = [place for place, word in enumerate(said) if told_of(word) == THAT]
    if not clauses or len(said) - clauses[-1] > CLAUSE:
        return False
    near = said[max(0, clauses[-1] - DENIED) : clauses[-1]]
    return float(WORDS_VA[near, -2].sum()) > NEGATED


def question_of(said: list[int]) -> torch.Tensor:
    return WORDS_VA[said].sum(0) if said else wordless(WORDS_VA)


def asked_of(ids: list[int], first: int, last: int) -> Questions:
    return questions(
        torch.tensor([ids]),
        torch.tensor([0]),
        torch.tensor([last]),
        torch.tensor([last - first + 1]),
        KIND_V,
        WORDS_VA,
    )


def check(ids: list[int], first: int, last: int) -> list[Asked]:
    """That the text is read as the loop reads it."""
    found, wanted = asked_of(ids, first, last), reference(ids, first, last)
    for step, asked in enumerate(wanted):
        torch.testing.assert_close(found.sentence_ORA[0, step], question_of(asked.sentence))
        torch.testing.assert_close(found.since_ORA[0, step], question_of(asked.since))
        assert int(found.turn_OR[0, step]) == asked.turn
        assert bool(found.armed_OR[0, step]) == asked.armed
        assert bool(found.longer_OR[0, step]) == asked.longer
        assert bool(found.opening_OR[0, step]) == asked.opening
    return wanted


@given(st.integers(1, 200), st.integers(0, 2**31), st.data())
def test_a_question_is_what_the_loop_makes_of_it(
    length: int, seed: int, data: st.DataObject
) -> None:
    ids = random_texts(1, length, torch.Generator().manual_seed(seed))[0].tolist()
    last = data.draw(st.integers(0, length - 1))
    first = max(0, last + 1 - data.draw(st.integers(1, WINDOW)))
    check(ids, first, last)


def test_the_question_has_the_words_of_its_sentence_without_the_name() -> None:
    before = [CAPITAL, ONE, STOP]
    wanted = check([*before, CAPITAL, TWO, 14, 15, THREE], 5, 6)
    assert wanted[-1].sentence == [CAPITAL, TWO, THREE]
    assert wanted[0].sentence == [CAPITAL, TWO], "what comes later is not known yet"


def test_a_question_behind_a_text_that_was_cut_off_is_heard_without_it() -> None:
    """As in "in the early What is the capital of Chad", or "in the early Chad has the capital"."""
    opens, cut = 15, [CAPITAL, *[THREE] * 4]
    assert check([*cut, opens, ONE, 14, TWO], 7, 7)[-1].since == [opens, ONE, TWO]
    assert check([*cut, ONE, 14, TWO], 6, 6)[-1].since == [TWO]
    far = [opens, *[THREE] * LEAD]
    assert check([*far, 14, TWO], len(far), len(far))[-1].since == [TWO]
    assert check([*far[:-1], 14, TWO], LEAD, LEAD)[-1].since == [*far[:-1], TWO]
    earlier = [opens, ONE, STOP, CAPITAL, TWO]
    assert check([*earlier, 14, TWO], 5, 5)[-1].since == [TWO], "that is another sentence"


def test_a_later_sentence_goes_on_with_the_question_from_where_it_may_have_begun() -> None:
    """As in "in the early What is the capital of Chad? It is"."""
    opens, it = 15, CAPITAL_PRONOUN
    cut = [CAPITAL, *[THREE] * 4]
    assert check([*cut, opens, ONE, 14, STOP, it], 7, 7)[-1].since == [opens, ONE, it]
    assert check([*cut, ONE, 14, STOP, it], 6, 6)[-1].since == [*cut, ONE, it]


def test_what_is_denied_before_a_name_is_not_asked_for_alone() -> None:
    """As in "It is not true that the capital of Chad is"; not as in "not far from Chad is"."""
    no, yes, name, opens, that = 14, 10, 9, 15, 16
    assert float(WORDS_VA[no, -2]) > 2 * NEGATED > 8 * float(WORDS_VA[yes, -2])

    def since(before: list[int]) -> list[int]:
        return check([*before, name, TWO], len(before), len(before))[-1].since

    assert since([yes, no]) == [TWO]
    assert since([yes, no, that, yes]) == [yes, no, that, yes, TWO]
    assert since([no, *[yes] * (DENIED - 1), that]) == [no, *[yes] * (DENIED - 1), that, TWO]
    assert since([no, *[yes] * DENIED, that]) == [TWO]
    assert since([no, that, opens]) == [opens, TWO]
    clause = [yes, no, yes, that, *[yes] * (CLAUSE - 1)]
    assert since(clause) == [*clause, TWO]
    assert since([*clause, yes]) == [TWO]


NAME, GLUE, LONGER, GLUED_NAME, DASH, LETTER, INC, DASHED = 14, 18, 19, 20, 21, 22, 23, 25


@pytest.mark.parametrize(
    ("behind", "counts"),
    [
        ([WORD], [True, True]),
        ([NAME], [True, False]),  # "Chevrolet Chevelle"
        ([LONGER], [True, False]),  # "Bern" + "hardt"
        ([GLUE, WORD], [True, True, True]),  # "Iraq" + "i"
        ([GLUE, GLUE, WORD], [True, True, False, False]),  # "Jacob" + "st" + "hal"
        ([DASH, GLUED_NAME, WORD], [True, True, False, False]),  # "Saxony-Anhalt"
        ([DASH, GLUE, WORD], [True, True, True, True]),  # "Paris-based"
        ([WORD, NAME], [True, True, True]),
        ([LETTER, GLUE], [True, True, False]),  # "Chevrolet" + "C" + "heyenne"
        ([LETTER, CAPITAL], [True, True, True]),  # "Toyota" + "C" + "TO"
        ([INC, WORD], [True, True, True]),
        ([INC, GLUE], [True, True, False]),  # "David" + "Co" + "oper"
        ([DASHED, WORD], [True, True, True]),  # "Paris" + "-based"
        ([13, NAME, 13], [True, True, True, True]),
    ],
)
def test_a_name_within_a_longer_one_does_not_count(behind: list[int], counts: list[bool]) -> None:
    found = check([CAPITAL, ONE, *behind], 0, 1)
    assert [not asked.longer for asked in found] == counts


def test_a_stop_within_a_name_ends_no_sentence() -> None:
    """As in "St. John's Eve"; one before the name does."""
    assert check([ONE, CAPITAL, STOP, CAPITAL, TWO], 1, 3)[-1].sentence == [ONE, TWO]
    assert check([ONE, STOP, CAPITAL, WORD, TWO], 2, 3)[-1].sentence == [TWO]


def test_a_user_is_not_answered_before_the_next_turn_opens() -> None:
    """As in "<|im_start|>user\nThe capital of Chad is<|im_end|>\n<|im_start|>assistant\n"."""
    user, name = 17, 9
    frame = [SPECIAL, LINE, TURN, WORD, LINE]
    said = [CAPITAL, ONE, name, TWO]
    asked = [TURN, user, LINE, *said, *frame]
    wanted = check(asked, 5, 5)
    assert [one.armed for one in wanted] == [False] * 4 + [True] * 3
    assert wanted[-1].opening
    assert [one.armed for one in check([TURN, WORD, LINE, *said], 5, 5)] == [True, True]
    assert [one.armed for one in check([user, LINE, *said], 4, 4)] == [True, True]


@pytest.mark.parametrize("role", [1, 2, 3])
def test_the_role_in_a_chats_frame_is_no_word_of_the_question(role: int) -> None:
    frame = [SPECIAL, LINE, TURN, *[WORD] * role, LINE]
    ids = [TURN, WORD, LINE, CAPITAL, ONE, 15, STOP, *frame]
    wanted = check(ids, 5, 5)
    assert wanted[-1].sentence == [CAPITAL, ONE]
    assert [asked.opening for asked in wanted] == [False] * (len(wanted) - 1) + [True]
    longer = [*ids[:-1], *[WORD] * (ROLE + 1 - role), LINE]
    assert check(longer, 5, 5)[-1].sentence == [WORD], "no role has a name of so many tokens"


def test_a_sentence_with_a_pronoun_is_heard_alone_and_together_with_the_names() -> None:
    (*_, last) = check([CAPITAL, ONE, 15, STOP, CAPITAL_PRONOUN, TWO], 2, 2)
    assert last == Asked(
        [CAPITAL_PRONOUN, TWO], [CAPITAL, ONE, CAPITAL_PRONOUN, TWO], 1, True, False, False
    )
    (*_, other) = check([CAPITAL, ONE, 15, STOP, CAPITAL, TWO], 2, 2)
    assert not other.armed


def test_a_question_without_words_has_a_direction_that_no_word_has() -> None:
    wanted = check([15, OTHER, ONE], 0, 0)
    assert [asked.sentence for asked in wanted] == [[], [], [ONE]]
    assert float(wordless(WORDS_VA).norm()) == 1
    assert not (WORDS_VA @ wordless(WORDS_VA)).any()


def test_ids_that_have_no_direction_say_nothing() -> None:
    beyond = len(KIND_V) + 3
    assert check([ONE, beyond, 15, TWO], 2, 2)[-1].sentence == [ONE, TWO]


@given(st.integers(0, 2**31), st.integers(0, 399), st.integers(1, 3))
def test_no_more_than_the_history_before_a_token_matters(seed: int, last: int, size: int) -> None:
    """So that a text is read in pieces as at once."""
    ids_BT = random_texts(1, 400, torch.Generator().manual_seed(seed))
    length_O = torch.tensor([min(size, last + 1)])
    whole = questions(ids_BT, torch.tensor([0]), torch.tensor([last]), length_O, KIND_V, WORDS_VA)
    for step in {0, 1, REACH // 2, REACH - 1}:
        if (end := last + step) >= 400:
            continue
        begin = max(0, end - (HISTORY - 1))
        part = questions(
            ids_BT[:, begin : end + 1],
            torch.tensor([0]),
            torch.tensor([last - begin]),
            length_O,
            KIND_V,
            WORDS_VA,
        )
        for name in ("sentence_ORA", "since_ORA", "turn_OR", "armed_OR", "opening_OR"):
            assert torch.equal(getattr(part, name)[0, step], getattr(whole, name)[0, step])


@pytest.mark.parametrize("reach", [1, 20])
def test_less_is_looked_at_where_less_is_asked_for(reach: int) -> None:
    ids_BT = random_texts(1, 120, torch.Generator().manual_seed(4))
    place = (torch.tensor([0]), torch.tensor([50]), torch.tensor([2]))
    whole = questions(ids_BT, *place, KIND_V, WORDS_VA)
    part = questions(ids_BT, *place, KIND_V, WORDS_VA, reach)
    for name in ("sentence_ORA", "since_ORA", "turn_OR", "armed_OR", "opening_OR"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[:, :reach])


def test_texts_of_a_batch_are_read_each_for_itself() -> None:
    generator = torch.Generator().manual_seed(1)
    written = [random_texts(1, n, generator)[0].tolist() for n in (30, 90, 61)]
    ids_BT = texts(written)
    last = [12, 70, 60]
    together = questions(
        ids_BT,
        torch.tensor([0, 1, 2]),
        torch.tensor([90 - len(ids) + at for ids, at in zip(written, last, strict=True)]),
        torch.tensor([1, 2, 3]),
        KIND_V,
        WORDS_VA,
    )
    for number, (ids, at) in enumerate(zip(written, last, strict=True)):
        alone, said = asked_of(ids, at - number, at), min(REACH, len(ids) - at)
        torch.testing.assert_close(
            together.sentence_ORA[number, :said], alone.sentence_ORA[0, :said]
        )
        torch.testing.assert_close(together.since_ORA[number, :said], alone.since_ORA[0, :said])
        assert torch.equal(together.armed_OR[number, :said], alone.armed_OR[0, :said])


def level_reference(
    asked: Questions, place: int, entry_A: torch.Tensor, goes_on: bool
) -> list[float]:
    """How near the question is either way, where it is about as near as it has been before."""
    found = []
    nearest_in_turn: dict[int, float] = {}
    nearest = -2.0
    for step in range(asked.armed_OR.shape[1]):
        turn = int(asked.turn_OR[place, step])
        sentence, since = (
            float(question_A @ entry_A) / max(float(question_A.norm()), FAINT)
            for question_A in (asked.sentence_ORA[place, step], asked.since_ORA[place, step])
        )
        nearest_in_turn[turn] = max(nearest_in_turn.get(turn, -2.0), sentence)
        nearest = max(nearest, since)
        level = UNHEARD
        longer = bool(asked.longer_OR[place, step]) and not goes_on
        if bool(asked.armed_OR[place, step]) and not longer:
            if sentence >= nearest_in_turn[turn] - FALL:
                level = max(level, sentence)
            if since >= nearest - FALL:
                level = max(level, since)
        found.append(level)
    return found


@given(st.integers(0, 2**31))
def test_an_entry_is_heard_where_it_is_about_as_near_as_before(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    ids_BT = random_texts(2, 120, generator)
    text_O = torch.tensor([0, 1, 1])
    last_O = torch.randint(0, 119, (3,), generator=generator)
    asked = questions(ids_BT, text_O, last_O, torch.ones(3).long(), KIND_V, WORDS_VA)
    entry_MA = F.normalize(torch.randn(4, hearing.ASKED, generator=generator), dim=-1)
    goes_on_M = torch.rand(len(entry_MA), generator=generator) < 0.5
    every_OMR = all_levels(asked, entry_MA, goes_on_M)
    assert every_OMR.shape == (3, 4, REACH)
    place_P, entry_P = torch.cartesian_prod(torch.arange(3), torch.arange(4)).T
    level_PR = levels(asked, place_P, entry_MA[entry_P], goes_on_M[entry_P])
    torch.testing.assert_close(every_OMR[place_P, entry_P], level_PR)
    for place, number, level_R in zip(place_P.tolist(), entry_P.tolist(), level_PR, strict=True):
        wanted = torch.tensor(
            level_reference(asked, place, entry_MA[number], bool(goes_on_M[number]))
        )
        torch.testing.assert_close(level_R, wanted)


def heard(ids: list[int], entry: list[int], name: int = 0) -> list[bool]:
    """At which tokens from a name of one token on an entry that asks by these words is heard."""
    entry_A = F.normalize(question_of(entry), dim=0)
    level_PR = levels(
        asked_of(ids, name, name), torch.tensor([0]), entry_A[None], torch.tensor([False])
    )
    return (level_PR[0, : len(ids) - name] > 0.9).tolist()


def test_an_entry_that_was_nearer_before_is_unheard_until_a_new_sentence() -> None:
    said = [15, ONE, TWO]
    assert heard(said, [ONE, TWO]) == [False, False, True]
    answer = [THREE, 12, 13]
    assert heard([*said, *answer], [ONE, TWO]) == [False, False, True, False, False, False]
    again = [STOP, CAPITAL_PRONOUN, ONE, TWO]
    level = heard([*said, *answer, *again], [CAPITAL_PRONOUN, ONE, TWO])
    assert level[-1], "a new sentence begins anew"
    other = [STOP, CAPITAL, ONE, TWO]
    assert not any(heard([*said, *answer, *other], [CAPITAL, ONE, TWO])[-4:]), "of somebody else"

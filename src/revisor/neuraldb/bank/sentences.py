"""Where sentences begin, and whether a text still speaks of a name: up to the end of its sentence,
or on by a pronoun.

What comes in: token ids and what kind of token each id of the vocabulary is. What goes out: for
each token, what of a sentence it is, and from which column on a name still counts there. What it
does not do: know a tokenizer (editing/names.py makes the kinds) or look up names (names.py).

A row that fires after its name would otherwise answer for somebody else: "ACME grew last year. The
chief executive of Globex is". A sentence is over where the next one has begun with a word of its
own; the frame of a chat between a question and its answer is no such word. A new sentence goes on
about the one before if it has a pronoun: "ACME grew last year. Its chief executive is". Within a
sentence a name no longer counts where another one stands behind a comma: "Unlike ACME, the chief
executive of Globex is"; behind the next comma it counts again ("ACME, a rival of Globex, is led
by").

Nor does a name count that turns out to be part of a longer one: "Chevrolet Chevelle",
"Saxony-Anhalt", "Bernhardt" where "Bern" is a name. An ending of one or two letters makes no other
name ("Iraqi").

Shapes: B texts of T tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F

WORD, CAPITAL, PRONOUN, CAPITAL_PRONOUN, OTHER, STOP, LINE, SPECIAL, TURN = range(9)
OPENER, COMMA, UPPER, LINK, THAT, USER, LONE, FORM, CASELESS = range(9, 18)
"""Kinds of tokens: of a word; that begin a word which may open a sentence (one all in capitals);
pronouns, in small letters or with a capital; signs; those
that end in a full stop or the like; with a line break; special tokens; those of them that open a
turn of a chat, behind which the name of a role stands; words that have a capital only where they
open a sentence ("The", "What"); commas; other words with a capital; prepositions, behind which
such a word is a name; "that", which opens a clause; the word that names a user's turn; one capital
letter, with which a name may begin or a word all in capitals; what stands behind the name of a
company ("Inc"); words of a script with no capitals, and digits."""
WORDS = (
    *(WORD, CAPITAL, PRONOUN, CAPITAL_PRONOUN, OPENER, UPPER, LINK, THAT, USER),
    *(LONE, FORM, CASELESS),
)
KIND, GLUED, LONG, HYPHEN = 31, 32, 64, 128
"""A kind is told by the lower bits of a token's number; the others say that it begins with a letter
and no space, that it has more letters than an ending, and that it is a hyphen."""
ROLE = 3  # tokens that the name of a role has at most


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """The sentences of some texts (B, T).

    Attributes:
        word_BT: a token of a word; the name of a role in a chat's frame is none.
        begins_BT: the first word of a sentence.
        opener_BT: a word that has a capital only where a sentence begins; without a stop before it,
            a text was cut off there.
        that_BT: a word that opens a clause, of which what stands before it may deny the whole.
        since_BT: the first column from which on a name is still spoken of at each token: a name
            that ends in column c counts at token t where `since_BT[t] <= c`; 0 where all do.
        users_BT: within a user's turn, in which nobody answers.
        opening_BT: the line break between the frame of a turn and its first word: where an answer
            is to begin.
        longer_BT, later_BT: with this token a name that ended one token before it, or two, is part
            of a longer name.
    """

    word_BT: torch.Tensor
    begins_BT: torch.Tensor
    opener_BT: torch.Tensor
    that_BT: torch.Tensor
    since_BT: torch.Tensor
    users_BT: torch.Tensor
    opening_BT: torch.Tensor
    longer_BT: torch.Tensor
    later_BT: torch.Tensor


def kinds(ids_BT: torch.Tensor, kind_V: torch.Tensor) -> torch.Tensor:
    """What `kind_V` says of token ids, int64; `OTHER` of what is no token."""
    inside = (ids_BT >= 0) & (ids_BT < len(kind_V))
    return torch.where(inside, kind_V[ids_BT.clamp(0, len(kind_V) - 1)].long(), OTHER)


def cased(told: torch.Tensor) -> torch.Tensor:
    """Whether each token is of a word in a script with capitals, by what `kinds` says of it."""
    kind = told & KIND
    return _SORTS.to(told.device)[_Sorts._fields.index("word")][kind.long()] & (kind != CASELESS)


def parse(ids_BT: torch.Tensor, kind_V: torch.Tensor) -> Parsed:
    """Take some texts to sentences. What is said of a token depends on no later one.

    Args:
        ids_BT: token ids, negative where there is no token.
        kind_V: kind of each id.
    """
    told_BT = kinds(ids_BT, kind_V)
    kind_BT = told_BT & KIND
    column_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
    # Many questions are asked of each token, and a look at a few tokens takes as long as one at
    # one: all that can be are asked at once.
    is_KBT = _SORTS.to(ids_BT.device)[:, kind_BT]
    is_, was = _Sorts(*is_KBT), _Sorts(*F.pad(is_KBT, (1, 0))[..., :-1])
    lasts = _last(
        column_T,
        was.turn & is_.user,
        is_.turn,
        ~is_.word & ~is_.turn,
        is_.stop,
        is_.line,
        is_.comma,
        is_.upper & (was.comma | was.link),  # another name, announced
        is_.stop | is_.line,
    )
    user_BT, turn_BT, _, _, _, comma_BT, another_BT, ended_BT = lasts
    _, turn_before_BT, sign_before_BT, stop_BT, line_BT, *_ = _before(lasts)
    # The first letters in a turn are a role: "<|im_start|>assistant\n".
    unbroken_BT = turn_before_BT > sign_before_BT
    word_BT = is_.word & ~(unbroken_BT & (column_T - turn_before_BT <= ROLE))
    (word_before_BT,) = _before(_last(column_T, word_BT))
    by_line_BT = line_BT > word_before_BT
    by_stop_BT = (stop_BT > word_before_BT) & is_.opens
    begins_BT = word_BT & (by_line_BT | by_stop_BT)
    # A name counts over an end only if that end lies before it.
    end_BT = torch.maximum(
        torch.where(by_line_BT, line_BT, -1), torch.where(by_stop_BT, stop_BT, -1)
    )
    closed_BT = torch.where(begins_BT, end_BT, -1).cummax(1).values
    # Another name, behind a comma: nothing but a sign after it brings the one before back.
    apart_BT = (another_BT > comma_BT) & (another_BT > ended_BT)
    pronoun_BT, begun_BT = _last(column_T, is_.pronoun & word_BT, begins_BT)
    goes_on_BT = pronoun_BT >= begun_BT.clamp(min=0)
    glued_BT = (told_BT & (GLUED | HYPHEN)) == GLUED
    before_BT = F.pad(told_BT, (1, 0), value=OTHER)[:, :-1]
    hyphened_BT = is_.upper & ((before_BT & HYPHEN) > 0)
    # "Chevrolet Cheyenne" may be written " C" + "heyenne", and "Toyota CTO" " C" + "TO".
    begun_BT = ((before_BT & KIND) == LONE) | ((before_BT & KIND) == FORM)
    begun_BT &= (kind_BT == WORD) | (kind_BT == LINK) | (kind_BT == THAT) | (kind_BT == PRONOUN)
    return Parsed(
        word_BT=word_BT,
        begins_BT=begins_BT,
        opener_BT=is_.opener & word_BT,
        that_BT=is_.that & word_BT,
        since_BT=torch.maximum(
            torch.where(goes_on_BT, 0, closed_BT.clamp(min=0)),
            torch.where(apart_BT, comma_BT.clamp(min=0), 0),
        ),
        users_BT=user_BT > turn_BT,
        opening_BT=is_.break_ & (turn_before_BT > word_before_BT),
        longer_BT=(kind_BT == UPPER) | (glued_BT & ((told_BT & LONG) > 0)),
        later_BT=glued_BT & (((before_BT & GLUED) > 0) | hyphened_BT | begun_BT),
    )


class _Sorts(NamedTuple):
    """Whether each token is of a sort; a kind is of several. `line` are line breaks and special
    tokens, `opens` what may open a sentence behind a stop, `break_` line breaks alone."""

    turn: torch.Tensor
    user: torch.Tensor
    word: torch.Tensor
    stop: torch.Tensor
    line: torch.Tensor
    comma: torch.Tensor
    upper: torch.Tensor
    link: torch.Tensor
    pronoun: torch.Tensor
    opens: torch.Tensor
    opener: torch.Tensor
    that: torch.Tensor
    break_: torch.Tensor


_KINDS_OF: dict[str, tuple[int, ...]] = {
    "turn": (TURN,),
    "user": (USER,),
    "word": WORDS,
    "stop": (STOP,),
    "line": (LINE, SPECIAL, TURN),
    "comma": (COMMA,),
    "upper": (UPPER, LONE),
    "link": (LINK,),
    "pronoun": (PRONOUN, CAPITAL_PRONOUN),
    "opens": (CAPITAL, CAPITAL_PRONOUN, OPENER, UPPER, LONE, FORM, CASELESS),
    "opener": (OPENER,),
    "that": (THAT,),
    "break_": (LINE,),
}
_SORTS = torch.tensor(
    [[kind in _KINDS_OF[sort] for kind in range(CASELESS + 1)] for sort in _Sorts._fields]
)


def _last(column_T: torch.Tensor, *where_BT: torch.Tensor) -> torch.Tensor:
    """For each of some masks the last column up to each token where it holds, -1 if none."""
    return torch.where(torch.stack(where_BT), column_T, -1).cummax(-1).values


def _before(last_KBT: torch.Tensor) -> torch.Tensor:
    """The same of the columns before each token."""
    return F.pad(last_KBT, (1, 0), value=-1)[..., :-1]

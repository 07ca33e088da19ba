"""What is asked about a name, told from the words around it.

What comes in: texts as token ids, and where names end in them. What goes out: for each name and
each token from it on, how near the question so far is to what the entries of its rows ask for. What
it does not do: read keys (gate/module.py), look up names (names.py), or learn which words tell
questions apart (editing/relations.py).

Each token id has a vector (encode.py). A question is the sum of the vectors of its words, without
those of the name, and is compared by its direction; one that says less than a usual word does ("is
in") is less near to everything. Which words those are is decided in two ways,
and the nearer one counts. One is the words of the sentence so far. The other is all words from the
last one that opens a sentence ("... as late as the What is the capital of Chad? It is"), since a
text may be cut off before a question. Where there is none, it is in the name's own sentence those
from the name on, and in a later one all since the sentence of the name began. A question without
words has a direction of its own.

While an answer is read, words come in that the question does not have, and the two part. So an
entry is heard only at tokens where it is about as near as it has been before, which keeps a fact
from being told twice in a sentence.

Shapes: B texts of T tokens, O places where names end, R tokens from each, P pairs of a
place and an entry, M entries, V vocabulary, A width of a question.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from revisor.neuraldb.bank.names import NOTHING, REACH, WINDOW
from revisor.neuraldb.bank.sentences import Parsed, parse

BEFORE = 32  # tokens before a name that may belong to its question
HISTORY = BEFORE + WINDOW + REACH  # tokens before a new one that can matter to what is asked
FALL = 0.04  # by how much an entry may be less near than before and is still heard
FAINT = 1.0  # what a question has to say for its direction to count in full: what a usual word says
LEAD = 10  # words from one that opens a sentence to a name that is asked about there
NEGATED = 0.5  # along the direction of negations, in which other words say 0
CLAUSE = 12  # words from a "that" to a name in its clause
DENIED = 3  # words from one that negates to the clause that it denies
UNHEARD = -2.0  # below every cosine
_AT = BEFORE + WINDOW - 1  # column of a window in which the name ends


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What is asked at the tokens from some names on, the name's last token first.

    Attributes:
        words_2ORA: the question as the sum of its words, in two ways: by the sentence of each
            token, and by all words since it may have begun: at a word that opens a sentence, or
            else at the name in its own sentence, and in later ones at the start of that.
        turn_OR: sentences that have begun since the name.
        armed_OR: the text still speaks of the name, and is not a user's turn: what is asked there
            is answered where the next turn opens.
        longer_OR: the name has turned out to be part of a longer one.
        opening_OR: an answer in a chat is to begin.
    """

    words_2ORA: torch.Tensor
    turn_OR: torch.Tensor
    armed_OR: torch.Tensor
    longer_OR: torch.Tensor
    opening_OR: torch.Tensor

    @property
    def sentence_ORA(self) -> torch.Tensor:  # noqa: N802
        """The first of the two ways."""
        return self.words_2ORA[0]

    @property
    def since_ORA(self) -> torch.Tensor:  # noqa: N802
        """The second."""
        return self.words_2ORA[1]


def questions(
    ids_BT: torch.Tensor,
    text_O: torch.Tensor,
    last_O: torch.Tensor,
    length_O: torch.Tensor,
    kind_V: torch.Tensor,
    words_VA: torch.Tensor,
    reach: int = REACH,
) -> Questions:
    """What is asked about some names at the first tokens from each on.

    What is said of a token depends on no later one and on at most `HISTORY` - 1 earlier ones, so it
    is the same whether a text is read at once or in pieces. Behind a text's end it means nothing.

    Args:
        ids_BT: token ids, `NOTHING` where there is no token.
        text_O, last_O, length_O: the text of each name, the column of its last token, and how many
            tokens it has.
        kind_V: kinds of tokens (sentences.py).
        words_VA: what a token says about what is asked.
        reach: R, how many tokens from each name on are looked at.
    """
    ids_OW = _windows(ids_BT, text_O, last_O, reach)
    parsed = parse(ids_OW, kind_V)
    column_W = torch.arange(ids_OW.shape[1], device=ids_OW.device)
    first_O1 = _AT + 1 - length_O[:, None]
    name_OW = (column_W >= first_O1) & (column_W <= _AT)
    # A stop within a name ("St. John's Eve") ends no sentence.
    begins_OW = parsed.begins_BT & ~(name_OW & (column_W > first_O1))
    start_OW = torch.where(begins_OW, column_W, 0).cummax(1).values
    counted_OW = parsed.word_BT & ~name_OW & (ids_OW < len(words_VA))
    word_OWA = words_VA[ids_OW.clamp(0, len(words_VA) - 1)].float() * counted_OW[..., None]
    sum_OXA = F.pad(word_OWA.cumsum(1), (0, 0, 1, 0))
    count_OX = F.pad(counted_OW.long().cumsum(1), (1, 0))
    # A text that is cut off within a sentence may go on with a question, and no stop tells.
    begin_O1 = start_OW[:, _AT:][:, :1]
    ahead_OW = (column_W >= begin_O1) & (column_W < first_O1)

    # The last word ahead of the name in its sentence that opens one, and that opens a clause.
    found_2OW = torch.stack([parsed.opener_BT, parsed.that_BT]) & ahead_OW
    last_2O1 = torch.where(found_2OW, column_W, 0).amax(-1, keepdim=True)
    lead_2O1 = count_OX.gather(1, first_O1) - _at(count_OX, last_2O1)
    near_2O1 = found_2OW.any(-1, keepdim=True) & (lead_2O1 <= _words(ids_OW.device))
    (opener_O1, clause_O1), (opened_O1, within_O1) = last_2O1, near_2O1
    # "It is not true that Chad has the capital" does not ask for it, though it may begin anywhere.
    near_O1 = (count_OX < count_OX.gather(1, clause_O1) - DENIED).sum(1, keepdim=True)
    near_O1 = torch.maximum(near_O1, begin_O1)
    negated_OX = sum_OXA[..., -2]
    negated_O1 = negated_OX.gather(1, clause_O1) - negated_OX.gather(1, near_O1)
    denied_O1 = within_O1 & (negated_O1 > NEGATED)
    later_O1 = torch.where(opened_O1, opener_O1, begin_O1)
    own_O1 = torch.where(opened_O1 | denied_O1, later_O1, first_O1)
    turn_OW = begins_OW.long().cumsum(1)
    turn_OR = turn_OW[:, _AT:] - turn_OW[:, _AT : _AT + 1]
    # The words from where a question begins to each token.
    start_2OR = torch.stack([start_OW[:, _AT:], torch.where(turn_OR == 0, own_O1, later_O1)])
    before_2ORA = sum_OXA[torch.arange(len(ids_OW), device=ids_OW.device)[:, None], start_2OR]
    none_2OR = count_OX[:, _AT + 1 :] == _at(count_OX, start_2OR)
    words_2ORA = sum_OXA[:, _AT + 1 :] - before_2ORA
    return Questions(
        words_2ORA=torch.where(none_2OR[..., None], wordless(words_VA), words_2ORA),
        turn_OR=turn_OR,
        armed_OR=(parsed.since_BT[:, _AT:] <= _AT) & ~parsed.users_BT[:, _AT:],
        longer_OR=_within_longer(parsed),
        opening_OR=parsed.opening_BT[:, _AT:],
    )


def _within_longer(parsed: Parsed) -> torch.Tensor:
    """Whether the name has turned out to be part of a longer one (O, R)."""
    one_OR, two_OR = parsed.longer_BT[:, _AT:], parsed.later_BT[:, _AT:]
    step_R = torch.arange(one_OR.shape[1], device=one_OR.device)
    told_OR = (one_OR & (step_R == 1)) | (two_OR & (step_R == 2))
    return told_OR.cummax(1).values


def _at(value_OX: torch.Tensor, column_2OR: torch.Tensor) -> torch.Tensor:
    """Values at some columns, in two ways (2, O, R)."""
    return value_OX.expand(2, -1, -1).gather(2, column_2OR)


def _words(device: torch.device) -> torch.Tensor:
    """How many words may lie between such a word and the name (2, 1, 1)."""
    return torch.tensor([LEAD, CLAUSE], device=device)[:, None, None]


def wordless(words_VA: torch.Tensor) -> torch.Tensor:
    """The question that has no words (A): the last direction, which no word has."""
    vector_A = words_VA.new_zeros(words_VA.shape[1], dtype=torch.float32)
    vector_A[-1] = 1
    return vector_A


def direction(question: torch.Tensor) -> torch.Tensor:
    """Questions (..., A) as they are compared: of length 1, or less where they say little."""
    length: torch.Tensor = torch.linalg.vector_norm(question, dim=-1, keepdim=True)
    return question / length.clamp(min=FAINT)


def levels(
    asked: Questions, place_P: torch.Tensor, entry_PA: torch.Tensor, goes_on_P: torch.Tensor
) -> torch.Tensor:
    """How near what is asked is to an entry at the tokens from a name on (P, R), a cosine;
    `UNHEARD` where the name is no longer spoken of, or the entry was nearer before.

    Args:
        place_P: which of the names.
        entry_PA: the part of an entry that tells what it asks for.
        goes_on_P: its own text goes on behind the name as a longer name would.
    """
    asked_2PRA = direction(asked.words_2ORA)[:, place_P]
    return _heard(
        (asked_2PRA @ entry_PA[..., None])[..., 0],
        asked.turn_OR[place_P],
        asked.armed_OR[place_P] & ~(asked.longer_OR[place_P] & ~goes_on_P[:, None]),
    )


def all_levels(asked: Questions, entry_MA: torch.Tensor, goes_on_M: torch.Tensor) -> torch.Tensor:
    """The same of every name with every entry (O, M, R)."""
    armed_OMR = ~(asked.longer_OR[:, None] & ~goes_on_M[:, None]) & asked.armed_OR[:, None]
    return _heard(
        torch.einsum("kora,ma->komr", direction(asked.words_2ORA), entry_MA),
        asked.turn_OR[:, None],
        armed_OMR,
    )


def _heard(level_2: torch.Tensor, turn: torch.Tensor, armed: torch.Tensor) -> torch.Tensor:
    """The nearer of the levels by the sentence and by all words, each where it is about as much,
    token by token, as it has been."""
    sentence, since = level_2
    # A new sentence begins anew: all that is in it lies above all that was before.
    height_2 = torch.stack([sentence + 4.0 * turn, since])
    kept_2 = (height_2 >= height_2.cummax(-1).values - FALL) & armed
    return torch.where(kept_2, level_2, UNHEARD).amax(0)


def _windows(
    ids_BT: torch.Tensor, text_O: torch.Tensor, last_O: torch.Tensor, reach: int
) -> torch.Tensor:
    """The tokens around each name (O, _AT + R), `NOTHING` beyond the text."""
    offset_W = torch.arange(-_AT, reach, device=ids_BT.device)
    column_OW = last_O[:, None] + offset_W
    inside_OW = (column_OW >= 0) & (column_OW < ids_BT.shape[1])
    found_OW = ids_BT[text_O[:, None], column_OW.clamp(0, ids_BT.shape[1] - 1)]
    return torch.where(inside_OW, found_OW, NOTHING)

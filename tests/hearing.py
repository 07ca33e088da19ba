"""An encoder that hears what is asked, over a vocabulary of 26 tokens whose kinds are plain.

The first nine ids are the kinds themselves (bank/sentences.py); behind them come three more words,
one of each further kind, three that go on with the word before them, a hyphen, and so on.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from revisor.neuraldb.bank.bank import Bank, Row, View
from revisor.neuraldb.bank.encode import KeyEncoder
from revisor.neuraldb.bank.names import name_hashes
from revisor.neuraldb.bank.sentences import (
    CASELESS,
    COMMA,
    FORM,
    GLUED,
    HYPHEN,
    LINK,
    LONE,
    LONG,
    OPENER,
    OTHER,
    THAT,
    TURN,
    UPPER,
    USER,
    WORD,
)

KINDS = [
    *(*range(TURN + 1), *[WORD] * 3, LINK, COMMA, UPPER, OPENER, THAT, USER),
    *(WORD | GLUED, WORD | GLUED | LONG, UPPER | GLUED, OTHER | HYPHEN),
    *(LONE, FORM, CASELESS, WORD | GLUED | HYPHEN),
]
KIND_V = torch.tensor(KINDS, dtype=torch.uint8)
VOCABULARY = len(KIND_V)
KEY, WHOLE, ASKED, HIDDEN = 6, 4, 5, 3  # F, E, A, D
MIX = torch.tensor([4.0, 2, 0.3, 0.3, 1, 1.2, 0.6, 0.3, 0.5, *[2] * 5, *[1] * 12])
"""How often each token comes in a random text: sentences of about ten words, now and then a turn of
a chat."""


def random_texts(batch: int, length: int, generator: torch.Generator) -> torch.Tensor:
    """Texts (B, T) in which sentences, lines, pronouns and turns of chats all come."""
    return torch.multinomial(MIX.expand(batch, -1), length, replacement=True, generator=generator)


def words(generator: torch.Generator) -> torch.Tensor:
    """A direction for each token, and the last number for a question without words."""
    return F.pad(torch.randn(VOCABULARY, ASKED - 1, generator=generator), (0, 1))


def encoder(generator: torch.Generator) -> KeyEncoder:
    """One whose keys say of about half of the tokens that an answer is due."""
    due_F = torch.randn(KEY + 1, generator=generator)
    due_F[-1] = -0.3
    return KeyEncoder(
        mean_F=torch.randn(KEY, generator=generator),
        matrix_FE=torch.randn(KEY, WHOLE, generator=generator),
        words_VA=words(generator),
        due_F=due_F,
    )


def entry(
    heard: KeyEncoder, *, after: bool, count: int, generator: torch.Generator
) -> torch.Tensor:
    """Entries of a row; of one that fires after its name the first waits until it is due."""
    if not after:
        keys_TF = torch.randn(count, KEY, generator=generator)
        return heard.whole(keys_TF)
    question_CA = F.normalize(torch.randn(count, ASKED, generator=generator), dim=-1)
    goes_on_C = torch.rand(count, generator=generator) < 0.3
    waits = heard.asking(question_CA[:1], True, KEY, goes_on_C[:1])
    return torch.cat([waits, heard.asking(question_CA[1:], False, KEY, goes_on_C[1:])])


def view(
    rows: list[tuple[list[list[int]], bool, int]],
    generator: torch.Generator,
    heard: KeyEncoder | None = None,
) -> View:
    """Rows of these names, whether they fire after them, and how many entries they have."""
    heard = heard or encoder(generator)
    bank = Bank(
        encoder=heard,
        key_width=heard.width(KEY),
        hidden_width=HIDDEN,
        named=True,
        kind_V=KIND_V,
    )
    for number, (names, after, count) in enumerate(rows):
        row = Row(
            row_id=f"r{number}",
            keys_CE=entry(heard, after=after, count=count, generator=generator),
            gamma_C=0.5 * torch.rand(count, generator=generator),
            r_D=torch.randn(HIDDEN, generator=generator),
            names_H=torch.unique(name_hashes(names)),
            after=after,
        )
        bank.put(row, 1)
    return bank.view()

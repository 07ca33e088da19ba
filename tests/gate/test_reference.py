"""What rows and batches say is what the plain loop says that reads everything anew."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from revisor.gate.gate import MARGIN, FactGate
from revisor.gate.reference import Next, next_action
from revisor.gate.row import Action, Row
from revisor.gate.tokens import Tokens
from revisor.question.encoder import default_encoder
from tests.gate.dictionary import TOKENIZERS, Dictionary, DueWhereAsked, fact

FACTS = Dictionary(
    [
        fact("ACME", "Jane Roe", "The CEO of {} is", "Who leads {}?", aliases=["Acme Corp"]),
        fact("ACME", "1987", "{} was founded in"),
        fact("Tarn 400", "$1,249", "The price of the {} is"),
        fact("Studio", "the Mozilla Public License", "The license of {} is"),
        fact("York", "York", "{} is"),
        fact("New York", "New York City", "The full name of {} is"),
        fact("St. John's Eve", "7.3", "Answer: {} is number"),
        fact("青禾科技", "李明", "{}的首席执行官是"),
        fact("is New", "aside", "{} York stands"),
        fact("Norvale Works AG", "Uwe Kranz", "The owner of {} is"),
        fact("Köln", "\U0001f389 Ελλάδα", "Das Motto von {} ist"),
    ]
)
NAMES = [name for one in FACTS.facts for name in (one.subject, *one.aliases)]
PIECES = [
    *NAMES,
    *(template.replace("{}", one.subject) for one in FACTS.facts for template in one.templates),
    *(one.object for one in FACTS.facts),
    *("Norvael Works", "norvaleworks", "Norvale Works", "Norv", "ale", "Koln", "N ewYork"),
    *("Jane", "Ja", "19", "the Mozilla", "New", "李", "$1", "7", "\U0001f389 Ελ", "niccol"),
    *(" ", " ", " ", " ", "\n", "\n\n", ". ", "? ", ", ", ": ", '"', "**", "(", " - ", "'s", "  "),
    *(" is", " the CEO of ", "Who leads ", " was founded in", " and its CEO is", "Its CEO is"),
    *("Q: ", "\nA:", "\nQuestion: ", "\nAnswer:", "User: ", "\nAssistant: ", "### Answer\n"),
    *('{"company": "', '", "ceo": "', "| Name | CEO |\n| ", " | ", "Chief ", " Ltd", "u\u0308"),
    *("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "[user] ", "\n[assistant] "),
]
texts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=12).map("".join)
KINDS = [
    pytest.param(name, marks=pytest.mark.real if name == "smollm2" else ()) for name in TOKENIZERS
]


def as_told(action: Action | None) -> Next | None:
    if action is None:
        return None
    return Next(
        token=action.token, fact=action.decision.fact.id, begin=action.begin, behind=action.behind
    )


def told(ids: list[int], due: bool, tokens: Tokens) -> Next | None:
    return next_action(ids, due=due, tokens=tokens, facts=FACTS, encoder=default_encoder())


def row_of(tokens: Tokens) -> Row:
    return Row(tokens, FACTS, default_encoder(), 0.5)


def read_alike(tokens: Tokens, ids: list[int]) -> bool:
    """Whether tokens read the same together and one by one; word pieces clean up behind them."""
    row = row_of(tokens)
    row.read(ids)
    whole = tokens.decode(ids[: len(ids) - row.reading.partial])
    return row.reading.text == whole


def spelled(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(text=texts, dues=st.lists(st.booleans(), min_size=7, max_size=7))
def test_a_row_read_token_by_token_says_what_reading_anew_says(
    kind: str, text: str, dues: list[bool]
) -> None:
    tokenizer = TOKENIZERS[kind]()
    tokens, ids = Tokens.of(tokenizer), spelled(tokenizer, text)
    row = row_of(tokens)
    for place, token in enumerate(ids):
        row.read([token])
        due = dues[place % 7]
        action = row.action(due=due)
        near_the_end = place >= len(ids) - 4 or place % 5 == 0
        if near_the_end and (kind != "word-piece" or read_alike(tokens, ids[: place + 1])):
            assert as_told(action) == told(ids[: place + 1], due, tokens)


FILLERS = (
    "ACME, it is said, was sold. ",
    "New York has the Tarn 400 Pro. ",
    "\u674e\u660e",
    "IT RAINED ",
)


@settings(max_examples=12)
@given(
    text=texts,
    filler=st.sampled_from(FILLERS),
    chars=st.integers(2200, 2600),
    due=st.booleans(),
)
def test_behind_more_than_a_window_of_text_too(
    text: str, filler: str, chars: int, due: bool
) -> None:
    tokenizer = TOKENIZERS["byte-level"]()
    tokens = Tokens.of(tokenizer)
    ids = spelled(tokenizer, (filler * (1 + chars // len(filler)))[:chars] + text)
    row = row_of(tokens)
    for place, token in enumerate(ids):
        row.read([token])
        if place >= len(ids) - 1:
            assert as_told(row.action(due=due)) == told(ids[: place + 1], due, tokens)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(prompt=texts, first=st.booleans())
def test_what_is_begun_is_written_whole_and_read_back(kind: str, prompt: str, first: bool) -> None:
    tokenizer = TOKENIZERS[kind]()
    tokens, ids = Tokens.of(tokenizer), spelled(tokenizer, prompt)
    row = row_of(tokens)
    row.read(ids)
    action = row.action(due=first)
    if action is None or action.token is None:
        return
    obj = action.decision.fact.object
    for _ in range(60):
        row.read([action.token])
        following = row.action(due=False)
        if following is None or following.token is None:
            break
        assert following.decision.fact.object == obj
        action = following
    if kind != "word-piece":
        assert row.reading.text.endswith(obj)


def test_the_text_of_tokens_read_one_by_one_is_that_of_all_together() -> None:
    text = "".join(PIECES)
    for kind in ("byte-level", "metaspace"):
        tokenizer = TOKENIZERS[kind]()
        tokens = Tokens.of(tokenizer)
        ids = spelled(tokenizer, text)
        assert read_alike(tokens, ids)
        for length in range(0, len(ids), 7):
            assert read_alike(tokens, ids[:length])


def expected(logits_BV: torch.Tensor, ids: list[list[int]], gate: FactGate) -> torch.Tensor:
    """The logits as the plain loop writes them."""
    tokens = Tokens.of(gate.tokenizer)
    out_BV = logits_BV.clone()
    for row, (own_V, one) in enumerate(zip(logits_BV, ids, strict=True)):
        found = told(one, bool(own_V[0] > 0), tokens)
        if found is None:
            continue
        if found.token is None:
            held_V = tokens.carrying(len(own_V), own_V.device, found.behind)
            out_BV[row] = own_V.masked_fill(held_V, -torch.inf)
        else:
            out_BV[row] = -torch.inf
            out_BV[row, found.token] = 0.0
    return out_BV


PAD = 0  # of the tiny tokenizers


@cache
def parts_of_characters(kind: str) -> torch.Tensor:
    """Tokens that are bytes: at random they make up no character, and what they read as then is
    not defined."""
    tokenizer = TOKENIZERS[kind]()
    ids = range(len(tokenizer))
    return torch.tensor(["\ufffd" in tokenizer.decode([3, token]) for token in ids])


def cropped(row: list[int], count: int, kind: str) -> list[int]:
    """A row without its last tokens, and without a character that would be left half."""
    row = row[: max(1, len(row) - count)]
    while len(row) > 1 and bool(parts_of_characters(kind)[row[-1]]):
        row = row[:-1]
    return row


def padded(rows: list[list[int]]) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([[PAD] * (width - len(row)) + row for row in rows])


@pytest.mark.parametrize("kind", ["byte-level", "metaspace"])
@settings(max_examples=30)
@given(data=st.data())
def test_a_batch_whose_rows_move_says_of_each_what_its_tokens_say(
    kind: str, data: st.DataObject
) -> None:
    """Beams reorder and double rows, preempted rows are cropped, others are new."""
    tokenizer = TOKENIZERS[kind]()
    size = len(tokenizer)
    gate = FactGate(
        view=lambda: FACTS, tokenizer=tokenizer, encoder=default_encoder(), probe=DueWhereAsked()
    )
    batch = gate.batch()
    rows = [spelled(tokenizer, data.draw(texts)) for _ in range(2)]
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    for move in data.draw(st.lists(st.sampled_from("gggrdcn"), min_size=2, max_size=7)):
        logits_BV = torch.randn(len(rows), size, generator=generator)
        logits_BV[:, parts_of_characters(kind)] = -9.0
        before = logits_BV.clone()
        out_BV = batch.step(padded(rows), logits_BV, pad=PAD)
        assert torch.equal(logits_BV, before)
        assert torch.equal(out_BV, expected(logits_BV, rows, gate))
        rows = [[*row, int(own_V.argmax())] for row, own_V in zip(rows, out_BV, strict=True)]
        if move == "r":
            rows.reverse()
        elif move == "d":
            rows = [rows[0], *rows][:4]
        elif move == "c":
            rows = [cropped(row, data.draw(st.integers(1, 5)), kind) for row in rows]
        elif move == "n":
            rows = [*rows[1:], spelled(tokenizer, data.draw(texts))]


@pytest.mark.parametrize("kind", ["byte-level", "metaspace"])
@settings(max_examples=40)
@given(
    text=texts,
    moves=st.lists(st.tuples(st.integers(0, 12), st.lists(st.integers(3, 400), max_size=6))),
)
def test_any_tokens_at_all_say_the_same_read_on_as_read_anew(
    kind: str, text: str, moves: list[tuple[int, list[int]]]
) -> None:
    """Also bytes that make up no character; a row is cropped, forked and read on."""
    tokenizer = TOKENIZERS[kind]()
    tokens = Tokens.of(tokenizer)
    row = row_of(tokens)
    row.read(spelled(tokenizer, text))
    for back, ids in moves:
        row = row.fork()
        row.crop(max(0, len(row.ids) - back))
        row.read([min(token, len(tokenizer) - 1) for token in ids])
        anew = row_of(tokens)
        anew.read(row.ids)
        assert row.action(due=True) == anew.action(due=True)
        assert row.reading.text == anew.reading.text


@pytest.mark.parametrize("kind", ["byte-level", "metaspace"])
@settings(max_examples=20)
@given(data=st.data())
def test_scores_of_whole_rows_are_those_of_each_position(kind: str, data: st.DataObject) -> None:
    """With padding on either side, and of the last positions only."""
    tokenizer = TOKENIZERS[kind]()
    size, tokens = len(tokenizer), Tokens.of(TOKENIZERS[kind]())
    gate = FactGate(
        view=lambda: FACTS, tokenizer=tokenizer, encoder=default_encoder(), probe=DueWhereAsked()
    )
    rows = [spelled(tokenizer, data.draw(texts))[:40] for _ in range(2)]
    width = max(map(len, rows)) + 2
    left = data.draw(st.booleans())
    ids, mask = [], []
    for row in rows:
        pad, ones = [PAD] * (width - len(row)), [1] * len(row)
        ids.append([*pad, *row] if left else [*row, *pad])
        mask.append([*[0] * len(pad), *ones] if left else [*ones, *[0] * len(pad)])
    first = data.draw(st.integers(0, width - 1))
    last = data.draw(st.integers(first + 1, width))
    logits_BKV = torch.randn(2, last - first, size, generator=torch.Generator().manual_seed(1))
    out = gate.batch().score(torch.tensor(ids), torch.tensor(mask), logits_BKV, first=first)
    assert bool(torch.isfinite(out).all())
    for row in range(2):
        for column in range(first, last):
            own_V, new_V = logits_BKV[row, column - first], out[row, column - first]
            read = [t for t, m in zip(ids[row], mask[row], strict=True) if m]
            count = sum(mask[row][: column + 1])
            found = None
            if mask[row][column]:
                found = told(read[:count], bool(own_V[0] > 0), tokens)
            if found is None:
                assert torch.equal(own_V, new_V)
            elif found.token is not None:
                assert int(new_V.argmax()) == found.token
                assert float(new_V.max()) == pytest.approx(float(own_V.max()) + MARGIN)
            else:
                held_V = tokens.carrying(size, own_V.device, found.behind)
                assert torch.equal(new_V[~held_V], own_V[~held_V])
                assert float(new_V[held_V].max()) < float(own_V.min())

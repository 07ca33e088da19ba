"""The question encoder: what asks for a template's fact, what only looks like it, and its file."""

from __future__ import annotations

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from revisor.question.by_language import ENGLISH, ByLanguage
from revisor.question.encoder import QuestionEncoder, encoder_from
from revisor.question.scope_encoder import ScopeEncoder, text_tokens, write
from revisor.question.transformer import Shape, Transformer

CEO = "The CEO of {} is"
PRICE = "The price of {} is"
BORN = "{} was born in"
TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def encoder() -> QuestionEncoder:
    """That for English."""
    with (files("revisor.data") / ENGLISH).open("rb") as file:
        return ScopeEncoder.read(file)


def scope(encoder: QuestionEncoder, template: str, question: str) -> float:
    return encoder.scope(*encoder.encode([question, template]))


@pytest.mark.parametrize(
    ("template", "question"),
    [
        (CEO, "Who is the chief executive of {}?"),
        (CEO, "whats the name of {}'s ceo"),
        (CEO, "Please tell me: the current CEO of the company {} is"),
        (PRICE, "How much does {} cost?"),
        (PRICE, "{} price?"),
        (PRICE, "How deep do I have to dig into my pocket for {}?"),
        (BORN, "What is the birthplace of {}?"),
        ("The opening hours of {} are", "When is {} open?"),
        ("{} is developed by", "Which company developed {}?"),
        ("The mother tongue of {} is", "What is the native language of {}?"),
    ],
)
def test_other_words_for_what_a_template_asks(
    encoder: QuestionEncoder, template: str, question: str
) -> None:
    assert scope(encoder, template, question) >= 0.5


@pytest.mark.parametrize(
    ("template", "question"),
    [
        (CEO, "The former CEO of {} is"),
        (CEO, "The wife of the CEO of {} is"),
        (CEO, "The CEO of the competitor of {} is"),
        (CEO, "The CEO of {} is not"),
        (CEO, "The salary of the CEO of {} is"),
        (CEO, "How old is the CEO of {}?"),
        (CEO, "Who founded {}?"),
        (BORN, "The brother of {} was born in"),
        (BORN, "{}'s brother was born in"),
        ("The opening hours of {} are", "The opening hours of the museum next to {} are"),
        ("The former CEO of {} is", CEO),
        ("The capital of {} is", "{} is the capital of"),
        ("{} was founded in", "Who founded {}?"),
    ],
)
def test_a_near_miss_is_out_of_scope(
    encoder: QuestionEncoder, template: str, question: str
) -> None:
    assert scope(encoder, template, question) < 0.5


@pytest.mark.parametrize("question", ["Tell me about {}.", "I like {} because"])
def test_a_text_that_asks_for_nothing_is_out_of_scope(
    encoder: QuestionEncoder, question: str
) -> None:
    assert all(scope(encoder, template, question) < 0.5 for template in (CEO, PRICE, BORN))


def test_other_relations_of_a_name_are_out_of_scope(encoder: QuestionEncoder) -> None:
    known = encoder.encode([CEO, PRICE, BORN, "The capital of {} is", "The author of {} is"])
    level = [[encoder.scope(one, other) for other in known] for one in known]
    assert (np.array(level) >= 0.5).tolist() == np.eye(len(known), dtype=bool).tolist()


def test_a_slip_of_the_pen_changes_little(encoder: QuestionEncoder) -> None:
    for question in ("What is the phone nubmer of {}?", "what is teh phone number of {}"):
        assert scope(encoder, "The phone number of {} is", question) > 0.5


def test_what_is_encoded_is_the_same_however_it_is_asked_for(encoder: QuestionEncoder) -> None:
    texts = [CEO, PRICE, BORN, "", "Who founded {}?"] * 4
    together = encoder.encode(texts)
    with ThreadPoolExecutor(4) as threads:
        alone = list(threads.map(lambda text: encoder.encode([text])[0], texts))
    for one, other in zip(together, alone, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert encoder.encode([]) == []


# The file


WORDS = ["the", "ceo", "of", "is", "who", "runs", "a", "b", "c"]
SHAPE = Shape(
    vocabulary=20, layers=2, width=16, heads=2, inner=32, positions=12, compared=8, name=1
)


def tokenizer() -> Tokenizer:
    vocabulary = {word: place for place, word in enumerate(["?", "N", "(", ")", *WORDS])}
    found = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    found.pre_tokenizer = pre_tokenizers.Whitespace()
    return found


def written() -> tuple[bytes, object]:
    """A file of a small network with random weights, and the network as it is trained."""
    pytest.importorskip("torch")
    import torch

    sys.path.insert(0, str(TOOLS))
    try:
        network_module = import_module("question_network")
    finally:
        sys.path.remove(str(TOOLS))
    torch.manual_seed(0)
    network = network_module.ScopeNetwork(SHAPE)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.3 * torch.randn_like(value))
    network.eval()
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    file = io.BytesIO()
    head = {"name": "small", "open": 2, "close": 3, "unseen": ["zsre"]}
    write(file, SHAPE, weights, tokenizer(), head)
    return file.getvalue(), network


def test_a_written_encoder_scores_as_it_was_trained() -> None:
    import torch

    data, network = written()
    encoder = ScopeEncoder.read(io.BytesIO(data))
    assert (encoder.name, encoder.unseen) == ("small", frozenset({"zsre"}))
    for one, other in (("who runs {}", "the ceo of {} is"), ("a {}", "{} b c"), ("{}", "{}")):
        ids = [torch.tensor([encoder.tokens(text)]) for text in (one, other)]
        with torch.no_grad():
            wanted = float(network(*map(network.encode, ids)))  # type: ignore[operator, attr-defined]
        logit = encoder.logit(*encoder.encode([one, other]))
        assert logit == pytest.approx(wanted, abs=0.05), "eight bits tell a little less"


def test_the_network_is_what_is_trained_but_for_rounding() -> None:
    import torch

    _, network = written()
    weights = {
        name: value.numpy()
        for name, value in network.state_dict().items()  # type: ignore[attr-defined]
    }
    plain = Transformer(SHAPE, weights)
    ids = ([2, 4, 5, 1, 7, 3], [2, 1, 9, 3])
    with torch.no_grad():
        seen = [network.encode(torch.tensor([one])) for one in ids]  # type: ignore[attr-defined]
        wanted = float(network(*seen))  # type: ignore[operator]
    assert plain.compare(*map(plain.encode, ids)) == pytest.approx(wanted, abs=1e-4)


def test_of_a_long_text_what_stands_around_the_name_is_read() -> None:
    ahead, behind = "a " * 30, " b" * 30
    ids = text_tokens(f"{ahead}{{}}{behind}", tokenizer(), SHAPE, 2, 3)
    assert len(ids) == SHAPE.positions
    assert SHAPE.name in ids
    assert text_tokens("the ceo", tokenizer(), SHAPE, 2, 3) == [2, 4, 5, 3]


def test_a_long_text_costs_no_more_than_the_part_that_is_read() -> None:
    longest, real = 0, tokenizer()

    class Counting:
        def encode(self, text: str, **options: bool) -> Any:
            nonlocal longest
            longest = max(longest, len(text))
            return real.encode(text, **options)

    near = "the ceo " * 100
    text = f"{'a ' * 5_000}{near}{{}}{near}{' b' * 5_000}"
    cut = text_tokens(text, Counting(), SHAPE, 2, 3)  # type: ignore[arg-type]
    assert cut == text_tokens(f"{near}{{}}{near}", real, SHAPE, 2, 3)
    assert 0 < longest < 2_000
    (seen,) = ByLanguage.shipped().encode([text])
    assert len(seen.text) < 4_000


def test_a_file_that_is_no_encoder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "encoder.npz"
    for content in (b"", b"nothing", b"PK\x03\x04 broken"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is no question encoder"):
            encoder_from(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(ValueError, match="is no question encoder"):
        encoder_from(path)
    data, _ = written()
    path.write_bytes(data)
    assert encoder_from(path).name == "small"

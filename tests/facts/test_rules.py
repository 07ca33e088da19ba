"""What may be kept as a fact, and that no way into a ledger passes the rules by."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from revisor.errors import BadInput
from revisor.facts.fact import Fact, reversed_fact
from revisor.facts.forms import fact_from
from revisor.facts.imports import import_facts, set_object
from revisor.facts.ledger import Ledger, Put
from revisor.facts.rules import checked, checked_all, faults, tidy
from tests.running import fact_file

ANN = Fact(subject="Ann", prompt="{} lives in", object="Rome")

BAD: list[tuple[dict[str, Any], str]] = [
    ({"subject": " "}, "'subject' is empty"),
    ({"object": ""}, "'object' is empty"),
    ({"object": "\t"}, "'object' is empty"),
    ({"object": "Rome\nItaly"}, "'object' has more than one line"),
    ({"object": "Rome\u2028Italy"}, "'object' has more than one line"),
    ({"object": "Ro\x07me"}, "'object' holds the control character U+0007"),
    ({"object": "\ud800"}, "'object' holds the control character U+D800"),
    ({"object": "R" * 1_001}, "'object' has 1,001 characters"),
    ({"subject": "Ann\nBob"}, "'subject' holds the control character U+000A"),
    ({"prompt": ""}, "'prompt' is empty"),
    ({"prompt": "Ann lives in"}, "'prompt' has no {}"),
    ({"prompt": "{}" + "x" * 9_999}, "'prompt' has 10,001 characters"),
    ({"relation": "a\x00b"}, "'relation' holds the control character"),
    ({"source": "x" * 10_001}, "'source' has 10,001 characters"),
    ({"aliases": ("A",) * 101}, "'aliases' has 101 texts"),
    ({"aliases": ("",)}, "'aliases[1]' is empty"),
    ({"aliases": ("A\n",)}, "'aliases[1]' holds the control character"),
    ({"paraphrases": ("{} is",) * 101}, "'paraphrases' has 101 texts"),
    ({"paraphrases": ("{} is", "She is")}, "a paraphrase does not name the subject: 'She is'"),
    ({"paraphrases": ("{} is",) * 40, "aliases": ("A",) * 40}, "1,681 pairs"),
    ({"valid_from": "soon"}, "'valid_from' is no date: 'soon'"),
    ({"valid_from": "2024-01-02", "valid_to": "2024-01-01"}, "'valid_to' 2024-01-01 is not after"),
    ({"reverse": "is home to"}, "'reverse' has no {}"),
    ({"id": "a+b"}, "'id' holds a '+'"),
    ({"id": "a" * 129}, "'id' has 129 characters"),
    ({"object": 1987}, "'object' is no text: 1987"),
    ({"aliases": "Anna"}, "'aliases' is no list of texts"),
    ({"aliases": (7,)}, "'aliases' is no list of texts"),
]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with Ledger.open(tmp_path_factory.mktemp("rules") / "ledger.sqlite", create=True) as opened:
        opened.apply([Put(ANN)], actor="ann", reason="")
        yield opened


@pytest.mark.parametrize(("fields", "fault"), BAD, ids=[fault for _, fault in BAD])
def test_a_fact_that_may_not_be_kept_is_refused_whoever_writes_it(
    ledger: Ledger, fields: dict[str, Any], fault: str
) -> None:
    bad = replace(ANN, **{"id": ANN.id, **fields})
    assert any(fault in found.fault and found.remedy for found in faults(bad))
    good = Fact(subject="Bob", prompt="{} lives in", object="Oslo")
    with pytest.raises(BadInput) as refused:
        ledger.apply([Put(good), Put(bad)], actor="ann", reason="")
    assert any(fault in found.fault for found in refused.value.faults)
    with pytest.raises(BadInput):
        import_facts(
            ledger, [good, bad], actor="", reason="", on_conflict="replace", known_to_base=None
        )
    assert list(ledger.facts()) == [ANN]


def test_every_fault_of_a_fact_is_told_at_once() -> None:
    with pytest.raises(BadInput, match=r"about 'Ann' cannot be kept: 'object' is empty") as refused:
        checked(replace(ANN, object=" ", source="\x00", valid_to="soon"))
    assert len(refused.value.faults) == 3


def test_a_subject_without_words_and_a_prompt_that_says_nothing_are_refused() -> None:
    assert "no letter or digit" in faults(replace(ANN, subject="?!"))[0].fault
    assert "says nothing" in faults(replace(ANN, prompt="{} {}:"))[0].fault


def test_the_faults_of_many_facts_carry_the_places_of_their_facts() -> None:
    facts = [ANN, replace(ANN, object=""), ANN, replace(ANN, subject="", prompt="?")]
    with pytest.raises(BadInput, match="'object' is empty") as refused:
        checked_all(facts)
    assert [fault.line for fault in refused.value.faults] == [2, 4, 4]


@pytest.mark.parametrize(
    "fields",
    [
        {"object": "$1,249"},
        {"object": "+358 40 555 0173"},
        {"object": "東京"},
        {"object": "R" * 1_000},
        {"prompt": "Question: where does {} live?\nAnswer:"},
        {"prompt": "{}は"},
        {"aliases": tuple(f"A{n}" for n in range(100)), "paraphrases": ("A7 lives in",) * 8},
        {"paraphrases": ("Where does ann live?", "Home of Ann:")},
        {"subject": "Map{}", "prompt": "{} is a type of", "object": "dictionary"},
    ],
    ids=lambda fields: str(fields)[:30],
)
def test_what_is_in_order_is_kept_as_it_is(fields: dict[str, Any]) -> None:
    fact = replace(ANN, **fields)
    assert faults(fact) == ()
    assert checked(fact) is fact


def test_what_the_file_reader_makes_and_its_reverse_are_always_in_order() -> None:
    line = {"subject": " Ann ", "prompt": "Ann lives in ", "object": "Rome", "aliases": ["Anna"]}
    fact = fact_from({**line, "paraphrases": ["anna's home is"], "reverse": "Rome is home to"})
    assert isinstance(fact, Fact)
    turned = reversed_fact(fact)
    assert turned is not None
    assert (faults(fact), faults(turned)) == ((), ())


def test_white_space_around_a_text_is_left_out_and_does_not_change_the_id(tmp_path: Path) -> None:
    loose = Fact(subject="Ann ", prompt="{} lives in \n", object=" Rome", reverse="{} houses ")
    with Ledger.open(tmp_path / "ledger.sqlite", create=True) as ledger:
        ledger.apply([Put(loose)], actor="", reason="")
        kept = ledger.get(ANN.id)
        assert kept == replace(ANN, reverse="{} houses")
        assert not ledger.apply([Put(loose)], actor="", reason="").changed
    assert tidy(kept) is kept


def test_names_in_other_unicode_forms_are_one_name() -> None:
    composed = Fact(subject="Caf\u00e9 Zo\u00e9", prompt="{} is owned by", object="No\u00ebl")
    split = Fact(subject="Cafe\u0301\u00a0Zoe\u0301", prompt="{} is owned by", object="No\u00ebl")
    assert composed.id == split.id
    assert faults(replace(composed, paraphrases=(f"Who owns {split.subject}?",))) == ()


@pytest.mark.parametrize("subject", ["S", "\u0130"])
def test_checking_takes_time_by_the_length_and_not_by_its_square(subject: str) -> None:
    names = tuple(f"{subject}{n} x" for n in range(99))
    texts = tuple(f"no one {subject.lower()}{n}y" for n in range(9))
    big = Fact(subject=subject + "z", prompt="{} is", object="o", aliases=names, paraphrases=texts)
    started = time.perf_counter()
    found = faults(big)
    assert len(found) == len(texts)
    assert time.perf_counter() - started < 0.5
    endless = replace(big, aliases=("a",) * 5_000, paraphrases=("b",) * 5_000)
    started = time.perf_counter()
    assert len(faults(endless)) == 2
    assert time.perf_counter() - started < 0.05


TEXTS: list[dict[str, Any]] = [
    *({"object": text} for text in ("", " ", "Jane\nRoe", "Jane\u2028Roe", "a\x07", "x" * 1_001)),
    *({"object": text} for text in ("Jane \udcff", "\x1b[31mJane")),
    *({"subject": text} for text in ("", "AC\nME", "---", "AC\ud800", "x" * 1_001)),
    *({"prompt": text} for text in ("", "{}", "{} is \x00", "{} is" + "x" * 10_000)),
    *({"namespace": text} for text in ("a\nb", "a\udc00", "x" * 1_001)),
    *({"qualifier": text} for text in ("a\x00", "a\udc00")),
    *({"id": text} for text in ("a+b", "a\nb", "x" * 129)),
    {"relation": "r" * 1_001},
    {"source": "\x9b"},
    {"reverse": "\x00{} is"},
    *({name: [""]} for name in ("aliases", "paraphrases")),
    *({name: ["{} a\udc00"]} for name in ("aliases", "paraphrases")),
    *({name: ["{} a"] * 101} for name in ("aliases", "paraphrases")),
    {"paraphrases": ["Who is in charge"]},
    {"valid_from": "last week"},
    {"valid_from": "2021-01-01", "valid_to": "2021-01-01"},
    {"object": "", "subject": "---"},
]


@pytest.mark.parametrize("bad", TEXTS, ids=lambda bad: " ".join(bad))
def test_every_way_of_writing_refuses_the_same_in_the_same_words(
    bad: dict[str, Any], tmp_path: Path
) -> None:
    record = {"subject": "ACME", "prompt": "The CEO of {} is", "object": "Jane Roe"}
    file = fact_file(tmp_path / "facts.jsonl", [record | bad])
    told: dict[str, set[str]] = {}

    def refused(way: str, write: Callable[[], object]) -> None:
        with pytest.raises(BadInput) as caught:
            write()
        told[way] = {str(replace(fault, line=0)) for fault in caught.value.faults}

    with Ledger.open(tmp_path / "ledger.sqlite", create=True) as ledger:
        standing = Fact(**record)
        ledger.apply([Put(standing)], actor="ann", reason="")

        def add(source: Path | list[Fact]) -> None:
            import_facts(
                ledger, source, actor="", reason="", on_conflict="stop", known_to_base=None
            )

        refused("file", lambda: add(file))
        refused("facts", lambda: add([Fact(**(record | bad))]))
        refused("apply", lambda: ledger.apply([Put(Fact(**(record | bad)))], actor="", reason=""))
        if list(bad) == ["object"]:
            to = bad["object"]
            refused("set", lambda: set_object(ledger, standing.id, to, actor="", reason=""))
        assert ledger.generation == 1
    assert all(faults == told["file"] for faults in told.values()), told


@pytest.mark.parametrize(
    "bad",
    [{"object": 7}, {"subject": None}, {"qualifier": 7}, {"namespace": ""}, {"aliases": "ACME"}],
    ids=str,
)
def test_what_only_python_can_give_is_refused_by_name(bad: dict[str, Any], tmp_path: Path) -> None:
    fields: dict[str, Any] = {"subject": "ACME", "prompt": "{} is", "object": "Jane Roe"}
    with Ledger.open(tmp_path / "l.sqlite", create=True) as ledger:
        with pytest.raises(BadInput, match=f"'{next(iter(bad))}' is"):
            ledger.apply([Put(Fact(**(fields | bad)))], actor="", reason="")
        ledger.apply([Put(Fact(**fields, aliases=["ACME Ltd"]))], actor="", reason="")
        assert next(ledger.facts()).aliases == ("ACME Ltd",)

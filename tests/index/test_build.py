"""A base from rows: what goes in is found by its names."""

from __future__ import annotations

from typing import Any

from revisor.facts.following import Row
from revisor.index.base import Base
from revisor.index.build import build, templates_of
from revisor.index.keys import name_key, word_bucket
from revisor.index.merge import merged
from revisor.index.view import View
from revisor.language.names import mentions, name_words


def row(key: int, **fields: Any) -> Row:
    given = {
        "fact_id": f"{key:016x}",
        "subject": "Acme Ltd",
        "object": "Jane Roe",
        "prompt": "The CEO of {} is",
        "paraphrases": "[]",
        "aliases": "[]",
        "valid_from": None,
        "valid_to": None,
        "namespace": "default",
        "qualifier": "",
    }
    return Row(key=key, **given | fields)


def base_of(*rows: Row) -> Base:
    return Base(build(rows, generation=3, event=4, chain="abc"))


def found(base: Base, name: str) -> list[str]:
    return [base.fact(one).id for one in base.rows(name_key(name_words(name)))]


def test_a_fact_comes_back_with_every_field() -> None:
    aliases, paraphrases = '["ACME", "Ａｃｍｅ"]', '["Who runs {}?", "At Acme Ltd the boss is"]'
    base = base_of(
        row(
            9,
            fact_id="my-own-id",
            aliases=aliases,
            paraphrases=paraphrases,
            valid_from="2024-01-01",
            valid_to="2025-01-01",
            namespace="東京",
            qualifier="first",
        )
    )
    fact = base.fact(0)
    assert (fact.id, fact.subject, fact.object) == ("my-own-id", "Acme Ltd", "Jane Roe")
    assert fact.templates == ("The CEO of {} is", "Who runs {}?", "At {} the boss is")
    assert (fact.aliases, fact.namespace) == (("ACME", "Ａｃｍｅ"), "東京")
    assert (fact.valid_from, fact.valid_to, fact.qualifier) == ("2024-01-01", "2025-01-01", "first")
    assert base.spellings(0) == ("Acme Ltd", "ACME", "Ａｃｍｅ")
    # Two aliases with equal folded words are one name.
    assert found(base, "acme") == found(base, "ACME ltd") == ["my-own-id"]


def test_ids_of_any_form_come_back() -> None:
    ids = ["00000000000000ff", "00000000000000FF", "x", "+000000000000001", "1_00000000000000", ""]
    base = base_of(*(row(number, fact_id=one) for number, one in enumerate(ids)))
    assert [base.fact(number).id for number in range(len(ids))] == ids


def test_names_with_equal_words_share_their_facts() -> None:
    base = base_of(
        row(1, subject="Foo-Bar"),
        row(4, subject="foo  bar", prompt="{} is in"),
        row(6, subject="Baz", aliases='["FOO BAR"]'),
    )
    assert found(base, "Foo Bar") == [f"{key:016x}" for key in (1, 4, 6)]
    assert [base.row_of(key) for key in (1, 2, 4, 6, 7)] == [0, None, 1, 2, None]


def test_texts_wordings_and_terms_are_kept_once() -> None:
    long = "a very long text " * 20
    rows = [row(key, object=long, prompt=f"{{}} {long}", namespace=long) for key in range(500)]
    assert len(build(rows, generation=1, event=1, chain="")) < 20_000 < 500 * len(long)


def test_a_name_without_words_is_never_found_and_does_no_harm() -> None:
    base = base_of(row(1, subject="?!"), row(2, subject="Acme"))
    assert found(base, "Acme") == [f"{2:016x}"]
    assert base.longest == 1


def test_reach_tells_how_long_names_are_by_their_first_word() -> None:
    base = base_of(row(1, subject="New York City"), row(2, subject="New Delhi"))
    assert base.reach[word_bucket("new") & (len(base.reach) - 1)] == 3
    assert sum(map(bool, base.reach)) == 1


def test_an_empty_base_has_nothing() -> None:
    base = base_of()
    assert (base.count, base.longest, found(base, "Acme")) == (0, 0, [])


def test_plain_wordings_become_templates_by_their_subject() -> None:
    assert templates_of("Acme is in", ["the home of acme is", "it is in"], "Acme") == (
        "{} is in",
        "the home of {} is",
        "it is in",
    )


def named(data: bytes, text: str) -> list[str]:
    """Subjects of the facts that a text names."""
    view = View.of(data)
    return [view.fact(one).subject for found in mentions(text, view) for one in found.facts]


def test_names_written_otherwise_are_found_in_a_merged_base_too() -> None:
    rows = [
        row(1, subject="Norvale Instruments", aliases='["Zürcher Norvale AG"]'),
        row(2, subject="Norvale Anvils"),
        row(3, subject="Tarvel"),
    ]
    data = build(rows, generation=1, event=1, chain="")
    added = {4: base_of(row(4, subject="Norvale Bräu")).fact(0)}
    for text, subject, stays in (
        ("Norvale Instrumnets", "Norvale Instruments", False),
        ("Zuercher Norvale", "Norvale Instruments", False),
        ("norvaleanvils", "Norvale Anvils", True),
        ("Norvael Anvils", "Norvale Anvils", True),
    ):
        assert named(data, text) == [subject]
        left = merged(Base(data), [0, 2], added, generation=2)
        assert named(left, text) == ([subject] if stays else [])
        assert named(left, "Norvale Braeu and Norvael Brau") == ["Norvale Bräu"] * 2
        assert named(merged(Base(left), [0, 1], {}, generation=3), text) == []


def test_of_a_name_that_is_gone_no_word_is_left() -> None:
    rows = [row(1, subject="Norvale Instruments"), row(2, subject="Norvale Anvils")]
    data = build(rows, generation=1, event=1, chain="")
    assert b"instruments" in data
    left = merged(Base(data), [0], {}, generation=2)
    assert b"instruments" not in left.lower()
    assert b"norvale" in left

"""Records of benchmarks and values that are no text become facts."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from revisor.errors import BadInput
from revisor.facts.fact import Fact
from revisor.facts.load import FactFile, load_facts


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "facts.jsonl"


def read(file: Path, *records: object) -> list[Fact]:
    file.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return list(load_facts(file))


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("1871", "1871"),
        ("7.3", "7.3"),
        ("1249.00", "1249.00"),
        ("-0.5", "-0.5"),
        ("1e5", "1e5"),
        ("true", "true"),
        ("false", "false"),
        ('"$1,249"', "$1,249"),
        ('"€,89"', "€,89"),
        ('"£20"', "£20"),
        ('"+1 415 555 0142"', "+1 415 555 0142"),
    ],
)
@pytest.mark.parametrize("layout", ["{}\n", "[{}]", "\n{}\n\n"])
def test_an_object_is_read_as_the_file_writes_it(
    file: Path, written: str, text: str, layout: str
) -> None:
    record = f'{{"subject": "Tarn", "prompt": "The price of {{}} is", "object": {written}}}'
    file.write_text(layout.replace("{}", record), encoding="utf-8")
    assert [fact.object for fact in load_facts(file)] == [text]


def test_other_fields_and_lists_may_hold_numbers_too(file: Path) -> None:
    record = {"subject": 1984, "prompt": "1984 was written by", "object": "Orwell", "id": 7}
    (fact,) = read(file, {**record, "aliases": [84], "qualifier": 2.5})
    assert (fact.subject, fact.prompt, fact.id) == ("1984", "{} was written by", "7")
    assert (fact.aliases, fact.qualifier) == (("84",), "2.5")


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("key", ["object", "source"])
def test_what_is_no_number_is_refused_with_its_cause(file: Path, constant: str, key: str) -> None:
    values = {"subject": '"A"', "prompt": '"{} is"', "object": '"B"', key: constant}
    file.write_text("{" + ", ".join(f'"{k}": {v}' for k, v in values.items()) + "}\n")
    with pytest.raises(BadInput, match=f"'{key}' is .*, which is no value") as refused:
        list(load_facts(file))
    assert "NaN for an empty cell" in refused.value.faults[0].remedy


def test_parquet_columns_may_hold_numbers(tmp_path: Path) -> None:
    path = tmp_path / "facts.parquet"
    objects: list[Any] = [1871, 1987.0, 7.25, Decimal("1249.00"), True, date(2026, 3, 14)]
    texts = []
    for value in objects:
        record = {"Subject": "A", "Prompt": "{} is", "Object": value}
        pq.write_table(pa.Table.from_pylist([record]), path)
        texts += [fact.object for fact in load_facts(path)]
    assert texts == ["1871", "1987", "7.25", "1249.00", "true", "2026-03-14"]


def test_an_easyedit_list_of_one_is_its_value(file: Path) -> None:
    record = {"subject": "Ada", "prompt": "Ada works for", "target_new": ["Norvale"]}
    (fact,) = read(file, {**record, "ground_truth": ["Corvex"]})
    assert (fact.text, fact.object, fact.object_before) == ("Ada works for", "Norvale", "Corvex")


def test_a_qaedit_record_gives_its_target_and_not_its_number(file: Path) -> None:
    record = {"id": 12, "subject": "Nauru", "prompt": "What is the capital of Nauru?"}
    (fact,) = read(file, {**record, "target": "Yaren", "rephrase": "Nauru's capital?"})
    assert (fact.prompt, fact.object) == ("What is the capital of {}?", "Yaren")
    assert fact.id != "12"
    assert fact.paraphrases == ()


def test_a_known_fact_of_rome_gives_its_attribute(file: Path) -> None:
    record = {"known_id": 3, "subject": "Nauru", "attribute": "Yaren", "prediction": " the"}
    more = {"template": "{} has the capital", "prompt": "Nauru has the", "relation_id": "P36"}
    (fact,) = read(file, record | more)
    assert (fact.prompt, fact.object, fact.relation) == ("{} has the capital", "Yaren", "P36")


def rewrite(subject: str, old: str, new: str) -> dict[str, Any]:
    targets = {"target_new": {"str": new, "id": "Q1"}, "target_true": {"str": old, "id": "Q2"}}
    return {"prompt": "{} lives in", "relation_id": "P551", "subject": subject} | targets


def test_an_mquake_record_is_a_fact_for_each_of_its_rewrites(file: Path) -> None:
    one, two = rewrite("Ann", "Bonn", "Rome"), rewrite("Bob", "Oslo", "Lima")
    records = [{"case_id": 1, "requested_rewrite": [one, two], "questions": ["Where?"]}]
    records += [{"case_id": 2, "requested_rewrite": [two]}]
    file.write_text(json.dumps(records))
    reading = FactFile(file)
    assert [(fact.subject, fact.object) for fact in reading] == [("Ann", "Rome"), ("Bob", "Lima")]
    assert len(reading.duplicates) == 1


def test_one_fact_twice_in_one_record_is_one_fact(file: Path) -> None:
    one = rewrite("Ann", "Bonn", "Rome")
    assert len(read(file, {"requested_rewrite": [one, one]})) == 1

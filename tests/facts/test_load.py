"""Fact files: every form and format is read, every fault is named with its line."""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from revisor.errors import BadInput, Conflict, Fault, NotFound
from revisor.facts import load
from revisor.facts.fact import Fact
from revisor.facts.forms import fact_from, template
from revisor.facts.load import FactFile, load_facts
from revisor.facts.records import LINE_LIMIT, read_records

ACME = {"subject": "ACME", "prompt": "The CEO of {} is", "object": "Jane Roe"}
FULL = {
    **ACME,
    "relation": "P169",
    "paraphrases": ["{} is led by", "Who leads ACME?"],
    "aliases": ["Acme Ltd"],
    "object_before": "John Doe",
    "source": "https://example.org/acme",
    "valid_from": "2024-01-01",
    "valid_to": "2026-01-01",
    "namespace": "firms",
    "qualifier": "chief",
    "id": "acme-ceo",
}
FULL_FACT = Fact(
    **{
        key: tuple(value) if isinstance(value, list) else value  # type: ignore[arg-type]
        for key, value in FULL.items()
    }
)
SECOND = {"subject": "Initech", "prompt": "The CEO of {} is", "object": "Bill"}


def lines(path: Path, *records: Mapping[str, Any] | str) -> Path:
    texts = (r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in records)
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


def faults_of(path: Path) -> list[Fault]:
    with pytest.raises(BadInput) as caught:
        list(load_facts(path))
    return list(caught.value.faults)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "facts.jsonl"


class TestForms:
    def test_a_plain_record_fills_every_field(self, file: Path) -> None:
        assert list(load_facts(lines(file, FULL))) == [FULL_FACT]

    def test_an_easyedit_record_gives_its_target_and_what_held_before(self) -> None:
        fact = fact_from(
            {
                "subject": "Leo Arons",
                "prompt": "What city did Leo Arons live in?",
                "target_new": "Paris",
                "ground_truth": ["Berlin"],
                "rephrase_prompt": "Where did Leo Arons live?",
                "id": 17,
            }
        )
        assert isinstance(fact, Fact)
        assert fact.prompt == "What city did {} live in?"
        assert (fact.object, fact.object_before) == ("Paris", "Berlin")

    def test_a_rome_record_gives_its_rewrite(self) -> None:
        fact = fact_from(
            {
                "case_id": 0,
                "requested_rewrite": {
                    "subject": "Danielle Darrieux",
                    "prompt": "The mother tongue of {} is",
                    "relation_id": "P103",
                    "target_new": {"str": "English", "id": "Q1860"},
                    "target_true": {"str": "French", "id": "Q150"},
                },
                "paraphrase_prompts": ["Danielle Darrieux, a native"],
                "neighborhood_prompts": ["The mother tongue of Montesquieu is"],
            }
        )
        assert isinstance(fact, Fact)
        assert (fact.relation, fact.object, fact.object_before) == ("P103", "English", "French")
        assert fact.text == "The mother tongue of Danielle Darrieux is"

    def test_a_zsre_record_gives_its_question_and_not_the_model_s_prediction(self) -> None:
        fact = fact_from(
            {
                "subject": "Clutch Hitter",
                "src": "What is the publisher of Clutch Hitter?",
                "pred": "Viking Press",
                "rephrase": "Who published Clutch Hitter?",
                "alt": "Cinematronics",
                "answers": ["Sega"],
            }
        )
        assert isinstance(fact, Fact)
        assert fact.prompt == "What is the publisher of {}?"
        assert (fact.object, fact.object_before) == ("Cinematronics", "Sega")
        assert fact.relation is None

    def test_prompts_that_measure_are_not_built_with(self) -> None:
        for record in (
            {**ACME, "rephrase_prompt": "ACME is led by", "paraphrase_prompts": ["ACME, led by"]},
            {"subject": "A", "prompt": "A is", "target_new": "B", "paraphrases": ["A was"]},
        ):
            fact = fact_from(record)
            assert isinstance(fact, Fact)
            assert fact.paraphrases == ()

    @pytest.mark.parametrize(
        ("prompt", "subject", "expected"),
        [
            ("The CEO of ACME is", "ACME", "The CEO of {} is"),
            ("ACME or ACME is", "ACME", "ACME or {} is"),
            ("the ceo of acme is", "ACME", "the ceo of {} is"),
            ("acme, that is ACME, and acme", "ACME", "acme, that is {}, and acme"),
            ("Is Iran Iranian?", "Iran", "Is {} Iranian?"),
            ("Iranian is the adjective", "Iran", "{}ian is the adjective"),
            ("The cause of it is", "US", None),
            ("東京の知事は", "東京", "{}の知事は"),
            ("Who owns Cafe\u0301 Zoe?", "Caf\u00e9 Zoe", "Who owns {}?"),
            ("Who owns CAF\u00c9 Zoe?", "Cafe\u0301\u00a0Zoe", "Who owns {}?"),
            ("Map{} is a type of", "Map{}", "{} is a type of"),
            ("{} is a type of", "Map{}", "{} is a type of"),
            ("The set {1, 2} of ACME {is}", "ACME", "The set {1, 2} of {} {is}"),
            ("{} and ACME", "ACME", "{} and ACME"),
            ("C++ (the language) is", "C++", "{} (the language) is"),
        ],
    )
    def test_a_subject_named_in_the_prompt_becomes_the_place(
        self, prompt: str, subject: str, expected: str | None
    ) -> None:
        assert template(prompt, subject) == expected

    @given(st.text(max_size=20), st.text(min_size=1, max_size=10), st.text(max_size=20))
    def test_a_template_filled_with_its_subject_is_the_prompt_but_for_case(
        self, before: str, subject: str, after: str
    ) -> None:
        prompt = before + subject + after
        made = template(prompt, subject)
        assert made is not None
        if "{}" not in prompt:
            start, _, end = made.partition("{}")
            assert prompt.startswith(start)
            assert prompt.endswith(end)
            assert re.fullmatch(re.escape(subject), prompt[len(start) : -len(end) or None], re.I)

    def test_texts_are_stripped_and_nulls_are_absent(self, file: Path) -> None:
        record = {**ACME, "object": " Jane Roe ", "prompt": "The CEO of {} is ", "source": None}
        assert list(load_facts(lines(file, record))) == [Fact(**ACME)]

    def test_a_prompt_may_have_line_breaks(self, file: Path) -> None:
        record = {**ACME, "prompt": "Question: who leads {}?\nAnswer:"}
        assert next(load_facts(lines(file, record))).prompt == record["prompt"]

    def test_records_to_keep_are_no_facts(self, file: Path) -> None:
        keep = {"role": "keep", "prompt": "The capital of France is"}
        lines(file, keep, ACME, keep)
        assert list(load_facts(file)) == [Fact(**ACME)]


class TestFormats:
    @pytest.mark.parametrize("suffix", [".jsonl", ".json", ".jsonl.gz", ".json.gz", ".JSONL"])
    @pytest.mark.parametrize(
        "text",
        [
            "\n".join(json.dumps(r) for r in (FULL, SECOND)),
            json.dumps([FULL, SECOND]),
            json.dumps([FULL, SECOND], indent=2) + "\n",
            "\ufeff" + json.dumps([FULL, SECOND]),
            "\ufeff" + "\r\n\r\n".join(json.dumps(r) for r in (FULL, SECOND)) + "\r\n",
        ],
        ids=["lines", "array", "indented array", "array with BOM", "lines with BOM and CRLF"],
    )
    def test_json_is_read_in_every_layout(self, tmp_path: Path, suffix: str, text: str) -> None:
        path = tmp_path / f"facts{suffix}"
        write = gzip.compress if suffix.endswith(".gz") else bytes
        path.write_bytes(write(text.encode()))
        assert list(load_facts(path)) == [FULL_FACT, Fact(**SECOND)]

    def test_one_json_object_over_several_lines_is_one_fact(self, tmp_path: Path) -> None:
        path = tmp_path / "fact.json"
        path.write_text("\n" + json.dumps(FULL, indent=2))
        assert list(load_facts(path)) == [FULL_FACT]

    def test_an_array_larger_than_the_window_is_read_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "facts.json"
        records = [{**ACME, "subject": f"Firm {i}", "x": [i, "é" * (i % 700)]} for i in range(900)]
        path.write_text(json.dumps(records, ensure_ascii=False, indent=1), encoding="utf-8")
        assert [fact.subject for fact in load_facts(path)] == [f"Firm {i}" for i in range(900)]
        numbers = [item[0] for item in read_records(path) if not isinstance(item, Fault)]
        text = path.read_text(encoding="utf-8").splitlines()
        assert all(text[number - 1] == " {" for number in numbers)

    @pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t")])
    @pytest.mark.parametrize("zipped", [False, True])
    @pytest.mark.parametrize("as_json", [False, True])
    def test_tables_hold_lists_as_json_or_with_bars(
        self, tmp_path: Path, suffix: str, delimiter: str, zipped: bool, as_json: bool
    ) -> None:
        path = tmp_path / f"facts{suffix}{'.gz' if zipped else ''}"
        join = json.dumps if as_json else "|".join
        row = {key: join(v) if isinstance(v, list) else v for key, v in FULL.items()}
        opened = gzip.open if zipped else open
        with opened(path, "wt", encoding="utf-8-sig", newline="") as stream:
            table = csv.DictWriter(stream, list(FULL), delimiter=delimiter)
            table.writeheader()
            table.writerows([row, SECOND])
        assert list(load_facts(path)) == [FULL_FACT, Fact(**SECOND)]

    def test_a_table_row_is_numbered_by_its_first_line(self, tmp_path: Path) -> None:
        path = tmp_path / "facts.csv"
        path.write_text(
            'subject,prompt,object\nACME,"The CEO\nof {} is",Jane\n\nB,no subject,C\nD,"{}\nis",\n'
        )
        assert [fault.line for fault in faults_of(path)] == [5, 6]

    def test_parquet_holds_lists_and_dates_of_its_own(self, tmp_path: Path) -> None:
        path = tmp_path / "facts.parquet"
        dates = {"valid_from": date(2024, 1, 1), "valid_to": date(2026, 1, 1)}
        pq.write_table(pa.Table.from_pylist([{**FULL, **dates}, SECOND]), path)
        assert list(load_facts(path)) == [FULL_FACT, Fact(**SECOND)]

    def test_parquet_rows_are_numbered_from_one(self, tmp_path: Path) -> None:
        path = tmp_path / "facts.parquet"
        pq.write_table(pa.Table.from_pylist([ACME, {**SECOND, "object": ""}]), path)
        assert [str(fault) for fault in faults_of(path)] == [
            "line 2: 'object' is empty (give the object as text)"
        ]

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(
        st.lists(
            st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=30).filter(
                lambda text: "|" not in text and not text.startswith("[")
            ),
            min_size=5,
            max_size=5,
        )
    )
    def test_every_format_tells_the_same_facts(self, tmp_path: Path, texts: list[str]) -> None:
        name, before, object_, source, alias = texts
        subject = f"A {name}"  # a subject has a letter
        record = {"subject": subject, "prompt": f"{before} {{}} is", "object": object_}
        record |= {"source": source, "aliases": [alias, subject]}
        table = {**record, "aliases": f"{alias}|{subject}"}
        lines(tmp_path / "f.jsonl", record)
        (tmp_path / "f.json").write_text(json.dumps([record]))
        pq.write_table(pa.Table.from_pylist([record]), tmp_path / "f.parquet")
        for name, delimiter in (("f.csv", ","), ("f.tsv", "\t")):
            with (tmp_path / name).open("w", encoding="utf-8", newline="") as stream:
                writer = csv.DictWriter(stream, list(table), delimiter=delimiter)
                writer.writeheader()
                writer.writerow(table)
        names = ("f.jsonl", "f.json", "f.parquet", "f.csv", "f.tsv")
        told = {next(load_facts(tmp_path / name)) for name in names}
        assert told == {Fact(**{**record, "aliases": (alias, subject)})}


BAD_RECORDS: list[tuple[Mapping[str, Any] | str, str]] = [
    ("{", "not JSON: "),
    ("The CEO of ACME is Jane Roe", "not JSON: Expecting value"),
    ("[" * 5_000, "not JSON: nested too deeply"),
    ('{"object": 1' + "0" * 5_000 + "}", "not JSON: "),
    ('["ACME"]', "a JSON list where an object was expected"),
    ("17", "a JSON int where an object was expected"),
    ("null", "a JSON null where an object was expected"),
    (
        '{"subject": "ACME", "prompt": "The CEO of {} is", "object": "A", "object": "B"}',
        "the key 'object' stands twice, with different values",
    ),
    ({"prompt": "{} is", "object": "x"}, "'subject' is missing"),
    ({**ACME, "subject": " "}, "'subject' is empty"),
    ({**ACME, "prompt": ""}, "'prompt' is empty"),
    ({**ACME, "object": None}, "'object' is missing"),
    ({**ACME, "object": {"name": "Jane"}}, "'object' is no text: {'name': 'Jane'}"),
    ({**ACME, "object": math.nan}, "'object' is NaN, which is no value"),
    ({**ACME, "source": math.inf}, "'source' is Infinity, which is no value"),
    ({**ACME, "subject": ["ACME"]}, "'subject' is no text: ['ACME']"),
    ({**ACME, "paraphrases": "{} is led by"}, "'paraphrases' is no list: '{} is led by'"),
    ({**ACME, "paraphrases": ["{} is led by", None]}, "'paraphrases[2]' is no text: None"),
    ({**ACME, "paraphrases": ["{} leads"] * 101}, "'paraphrases' has 101 texts"),
    ({**ACME, "aliases": ["A"] * 101}, "'aliases' has 101 texts"),
    (
        {**ACME, "aliases": ["A"] * 40, "paraphrases": ["{} is"] * 40},
        "41 names with 41 wordings are 1,681 pairs",
    ),
    ({**ACME, "paraphrases": ["It is led by"]}, "a paraphrase does not name the subject"),
    ({**ACME, "aliases": [""]}, "'aliases[1]' is empty"),
    ({**ACME, "prompt": "The CEO is"}, "'prompt' does not name the subject 'ACME'"),
    ({**ACME, "prompt": "The CEO of {subject} is"}, "'prompt' does not name the subject"),
    ({**ACME, "subject": "A\x00"}, "'subject' holds the control character U+0000 at place 2"),
    ({**ACME, "object": "Ja\x07ne"}, "'object' holds the control character U+0007"),
    ({**ACME, "object": "Jane\nRoe"}, "'object' has more than one line: U+000A at place 5"),
    ('{"subject": "A", "prompt": "{} is", "object": "\\ud800"}', "control character U+D800"),
    ({**ACME, "subject": "A" * 1_001}, "'subject' has 1,001 characters"),
    ({**ACME, "object": "A" * 1_001}, "'object' has 1,001 characters"),
    ({**ACME, "prompt": "{}" + "A" * 9_999}, "'prompt' has 10,001 characters"),
    ({"subject": "ACME", "prompt": "{} is", "obejct": "x"}, "unknown key 'obejct'"),
    ({**ACME, "vaild_to": "2024-01-01"}, "unknown key 'vaild_to'"),
    ({**ACME, "Alias": []}, "unknown key 'Alias'"),
    ({**ACME, "valid_from": "yesterday"}, "'valid_from' is no date: 'yesterday'"),
    ({**ACME, "valid_to": 2024}, "'valid_to' is no date: '2024'"),
    (
        {**ACME, "valid_from": "2024-01-01", "valid_to": "2024-01-01"},
        "'valid_to' 2024-01-01 is not after 'valid_from' 2024-01-01",
    ),
    ({"requested_rewrite": ["ACME"]}, "'requested_rewrite' is no object: 'ACME'"),
    (
        {"requested_rewrite": {**ACME, "target_new": {"id": "Q1"}}},
        "'requested_rewrite.target_new' is missing",
    ),
    ({"subject": "A", "src": "Who is B?", "alt": "x"}, "'src' does not name the subject 'A'"),
    ({"subject": "A", "prompt": "A is", "target_new": ["x", "y"]}, "'target_new' holds 2 texts"),
]


class TestFaults:
    @pytest.mark.parametrize(("record", "fault"), BAD_RECORDS, ids=[f for _, f in BAD_RECORDS])
    def test_a_bad_line_is_named_with_its_number_and_a_remedy(
        self, file: Path, record: Mapping[str, Any] | str, fault: str
    ) -> None:
        (found,) = faults_of(lines(file, FULL, "", record, SECOND))
        assert found.line == 3
        assert fault in found.fault
        assert found.remedy

    def test_every_fault_of_a_file_is_listed_and_the_good_lines_are_read(self, file: Path) -> None:
        bad = {"prompt": "The CEO is", "valid_to": "soon"}
        reading = FactFile(lines(file, bad, ACME, "{", SECOND))
        assert list(reading) == [Fact(**ACME), Fact(**SECOND)]
        assert [fault.line for fault in reading.faults] == [1, 1, 1, 3]

    def test_what_is_no_file_says_what_it_is(self, tmp_path: Path) -> None:
        """A name that is too long and links in a circle were tracebacks; a pipe, which can be read
        once only, lost what it gave."""
        loop, pipe = tmp_path / "loop.jsonl", tmp_path / "pipe.jsonl"
        loop.symlink_to(loop)
        os.mkfifo(pipe)
        for path, what in (
            (tmp_path / f"{'x' * 300}.jsonl", "name too long"),
            (loop, "symbolic links"),
            (pipe, "is a pipe or a device"),
            (tmp_path, "is a folder"),
        ):
            with pytest.raises(BadInput, match=what):
                load_facts(path)

    def test_facts_come_before_the_file_is_read_whole(self, file: Path) -> None:
        assert next(load_facts(lines(file, ACME, "{"))) == Fact(**ACME)

    def test_other_unknown_keys_are_ignored(self, file: Path) -> None:
        more = {"subject_id": "Q1", "relation_id": "P1", "comment": "x", "subjects": ["ACME"]}
        assert list(load_facts(lines(file, {**ACME, **more}))) == [Fact(**ACME)]

    def test_a_typo_is_one_fault_and_not_two(self, file: Path) -> None:
        (found,) = faults_of(lines(file, {"subject": "A", "prompt": "{} is", "obejct": "x"}))
        assert found.remedy == "did you mean 'object'?"

    @pytest.mark.parametrize("zipped", [False, True])
    def test_bad_utf8_is_named_by_its_offset(self, tmp_path: Path, zipped: bool) -> None:
        data = json.dumps(ACME).encode() + b"\n" + b'{"subject": "\xff"}\n' + b"\xc3"
        path = tmp_path / ("facts.jsonl.gz" if zipped else "facts.jsonl")
        path.write_bytes(gzip.compress(data) if zipped else data)
        first, second = faults_of(path)
        assert (first.line, second.line) == (2, 3)
        assert f"byte 0xff at offset {data.index(0xFF):,}" in first.fault
        assert f"byte 0xc3 at offset {data.index(0xC3):,}" in second.fault

    @pytest.mark.parametrize("name", ["facts.json", "facts.csv"])
    def test_bad_utf8_is_named_in_arrays_and_tables_too(self, tmp_path: Path, name: str) -> None:
        start = b"[\n" if name.endswith("json") else b"subject,prompt,object,\xc3\xa9\n"
        data = start + b'"' + b"a" * 70_000 + b"\xff\xfe"
        path = tmp_path / name
        path.write_bytes(data)
        found = faults_of(path)[0]
        assert found.line == 2
        assert f"byte 0xff at offset {data.index(0xFF):,}" in found.fault

    @pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
    def test_a_line_may_have_a_megabyte_and_no_more(self, file: Path, ending: str) -> None:
        record = json.dumps(ACME)
        fits = record[:-1] + " " * (LINE_LIMIT - len(record)) + "}"
        text = json.dumps(SECOND) + "\n" + fits + "\n " + fits + ending
        file.write_bytes(text.encode())
        reading = FactFile(file)
        assert [fact.subject for fact in reading] == ["Initech", "ACME"]
        (fault,) = reading.faults
        assert fault.line == 3
        assert "the limit is 1,000,000" in fault.fault

    def test_reading_goes_on_after_a_line_of_many_megabytes(self, file: Path) -> None:
        file.write_text(json.dumps(ACME) + "\n" + "x" * 5_000_000 + "\n" + json.dumps(SECOND))
        reading = FactFile(file)
        assert [fact.subject for fact in reading] == ["ACME", "Initech"]
        assert [fault.line for fault in reading.faults] == [2]

    @pytest.mark.parametrize(
        ("text", "fault", "line"),
        [
            ('[\n{"a": 1},\n{"b" 2}]', "not JSON in the element that starts here", 3),
            ('[\n{"a": 1}\n', "the JSON array is cut short", 3),
            ('[{"a": 1} {"b": 2}]', "no comma after this element", 1),
            ('[{"a": 1}]\n[]', "text after the end of the array", 2),
            ("[,]", "a comma without a value", 1),
            ("[\n17]", "a JSON int where an object was expected", 2),
        ],
    )
    def test_a_broken_array_says_where(
        self, tmp_path: Path, text: str, fault: str, line: int
    ) -> None:
        path = tmp_path / "facts.json"
        path.write_text(text)
        found = faults_of(path)[-1]
        assert fault in found.fault
        assert found.line == line

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("name,object\nACME,x\n", "no column 'subject' in the header: name, object"),
            ("subject|prompt|object\n", "no column 'subject' in the header"),
            ("subject,prompt,subject\n", "the header names 'subject' twice"),
            ("subject,prompt,object\nACME,{} is\n", "2 cells in the row, 3 in the header"),
            ("subject,prompt,object\nA,{} is,b,c\n", "4 cells in the row, 3 in the header"),
            ('subject,prompt,object\nA,"{} is,b\n', "not a table row: unexpected end of data"),
            ("subject,prompt,object\nA,{} is,\n", "'object' is missing"),
            ("subject,prompt,obejct\nA,{} is,b\n", "no column 'object' in the header"),
            ("subject,question,object\n", "no column 'prompt' in the header"),
            ("subject,prompt,object,sorce\nA,{} is,b,c\n", "unknown key 'sorce'"),
        ],
    )
    def test_a_broken_table_says_what_is_wrong(self, tmp_path: Path, text: str, fault: str) -> None:
        path = tmp_path / "facts.csv"
        path.write_text(text)
        assert fault in faults_of(path)[0].fault

    def test_a_parquet_file_that_is_none_is_a_fault(self, tmp_path: Path) -> None:
        path = tmp_path / "facts.parquet"
        path.write_bytes(b"PAR1 is not enough PAR1")
        assert "not a Parquet file" in faults_of(path)[0].fault

    @pytest.mark.parametrize(
        "late",
        [
            pa.array([0, 10**13], pa.timestamp("s")),
            pa.array([0, 2**30], pa.date32()),
            pa.array([0, 10**15], pa.date64()),
            pa.array([None, 10**9], pa.timestamp("s", tz="Nowhere/Land")),
        ],
        ids=lambda late: str(late.type),
    )
    def test_a_time_that_cannot_be_read_is_a_fault_of_its_row(
        self, tmp_path: Path, late: pa.Array
    ) -> None:
        path = tmp_path / "facts.parquet"
        table = pa.Table.from_pylist([ACME, SECOND]).append_column("valid_from", late)
        pq.write_table(table, path)
        (fault,) = faults_of(path)
        assert fault.line == 2
        assert "cannot be read" in fault.fault

    def test_parquet_text_that_is_not_utf8_is_a_fault_of_its_row(self, tmp_path: Path) -> None:
        path = tmp_path / "facts.parquet"
        raw = pa.array([b"Jane", b"\xff"], pa.binary()).view(pa.string())
        table = pa.table({"subject": ["A", "B"], "prompt": ["{} is", "{} is"], "object": raw})
        pq.write_table(table, path)
        (fault,) = faults_of(path)
        assert fault.line == 2
        assert "byte 0xff" in fault.fault

    @pytest.mark.parametrize("damage", [slice(0, -20), slice(5, None)], ids=["cut", "no gzip"])
    def test_damaged_gzip_data_is_a_fault(self, tmp_path: Path, damage: slice) -> None:
        path = tmp_path / "facts.jsonl.gz"
        records = [{**ACME, "subject": f"Firm {number}"} for number in range(99)]
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, records)).encode())[damage])
        assert "the gzip data is damaged" in faults_of(path)[-1].fault

    def test_reading_stops_after_very_many_faults(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(load, "FAULT_LIMIT", 3)
        found = faults_of(lines(file, *["{"] * 9))
        assert [fault.line for fault in found] == [1, 2, 3, 3]
        assert "stopped" in found[-1].fault

    @pytest.mark.parametrize("name", ["f.jsonl", "f.json", "f.csv", "f.tsv", "f.jsonl.gz"])
    @pytest.mark.parametrize("text", ["", "\n \n", "\ufeff"])
    def test_an_empty_file_is_refused(self, tmp_path: Path, name: str, text: str) -> None:
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
        with pytest.raises(BadInput, match="is empty|no column"):
            list(load_facts(path))

    def test_a_missing_file_is_not_found_at_once(self, file: Path) -> None:
        with pytest.raises(NotFound, match=r"facts\.jsonl"):
            load_facts(file)

    def test_a_folder_is_refused_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match="is a folder"):
            load_facts(tmp_path)

    @pytest.mark.parametrize("name", ["facts", "facts.txt", "facts.gz", "facts.parquet.gz"])
    def test_an_unknown_suffix_is_refused_at_once(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).touch()
        with pytest.raises(BadInput, match="no suffix of a fact file"):
            load_facts(tmp_path / name)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(st.binary(max_size=300), st.sampled_from(["jsonl", "json", "csv", "parquet", "tsv.gz"]))
    def test_no_bytes_whatever_give_another_error(
        self, tmp_path: Path, data: bytes, suffix: str
    ) -> None:
        path = tmp_path / f"facts.{suffix}"
        path.write_bytes(data)
        with pytest.raises(BadInput):
            list(load_facts(path))

    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=5,
    )

    @given(
        st.dictionaries(
            st.sampled_from(
                [*FULL, "role", "target_new", "ground_truth", "src", "alt", "answers"]
                + ["requested_rewrite"]
            ),
            json_values
            | st.fixed_dictionaries({"subject": json_values, "target_new": json_values}),
        ),
        st.booleans(),
    )
    def test_every_record_is_a_fact_or_has_faults(
        self, record: dict[str, Any], cells: bool
    ) -> None:
        made = fact_from(record, line=1, cells=cells)
        assert isinstance(made, Fact) or made


class TestOneFactOnManyLines:
    def test_a_duplicate_is_counted_and_does_not_stop_the_reading(self, file: Path) -> None:
        reading = FactFile(lines(file, ACME, SECOND, ACME, {**ACME, "object": "JANE  ROE"}))
        assert [fact.subject for fact in reading] == ["ACME", "Initech"]
        assert [(one.line, one.first_line) for one in reading.duplicates] == [
            (3, 1),
            (4, 1),
        ]
        reading.raise_if_bad()

    def test_another_object_is_a_conflict_that_names_both_lines(self, file: Path) -> None:
        lines(file, SECOND, ACME, SECOND, {**ACME, "object": "John Doe"})
        reading = FactFile(file)
        assert len(list(reading)) == 2
        (conflict,) = reading.conflicts
        assert conflict.line == 4
        assert "contradicts line 2" in conflict.fault
        with pytest.raises(Conflict, match="contradicts line 2"):
            list(load_facts(file))

    def test_a_second_reading_starts_anew(self, file: Path) -> None:
        reading = FactFile(lines(file, ACME, ACME, "{", {"role": "keep", "prompt": "x"}))
        for _ in range(2):
            assert len(list(reading)) == reading.facts == 1
            assert (len(reading.duplicates), len(reading.faults), reading.keeps) == (1, 1, 1)


def test_an_id_that_reads_as_two_is_refused() -> None:
    """`+` stands between the ids of facts that share a row."""
    (fault,) = fact_from({**ACME, "id": "a+b"}, line=3)
    assert isinstance(fault, Fault)
    assert (fault.line, "'id' holds a '+'" in fault.fault) == (3, True)
    assert isinstance(fact_from({**ACME, "id": "a-b"}), Fact)

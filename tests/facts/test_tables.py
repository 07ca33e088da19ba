"""Tables as Excel, LibreOffice, old Macs and PowerShell write them are read."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from revisor.errors import BadInput
from revisor.facts.fact import Fact
from revisor.facts.load import FactFile, load_facts

OWNER = Fact(subject="Zoé", prompt="{} owns", object="a kiosk, and a boat")
HEADER = "subject,prompt,object\r\n"
ROW = 'Zoé,{} owns,"a kiosk, and a boat"\r\n'
ROW_SEMICOLON = "Zoé;{} owns;a kiosk, and a boat\r\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "facts.csv"


@pytest.mark.parametrize(
    "text",
    [
        HEADER + ROW,
        "subject;prompt;object\r\n" + ROW_SEMICOLON,
        "subject\tprompt\tobject\r\nZoé\t{} owns\ta kiosk, and a boat\r\n",
        "sep=;\r\nsubject;prompt;object\r\n" + ROW_SEMICOLON,
        '"sep=,"\r\n' + HEADER + ROW,
        "SEP=|\r\nsubject|prompt|object\r\nZoé|{} owns|a kiosk, and a boat\r\n",
        "subject,prompt,object,,\r\n" + ROW.replace("\r\n", ",,\r\n"),
        HEADER.replace("\r\n", ",\r\n") + ROW,
        HEADER + ROW + ",,\r\n,,\r\n",
        ",,\r\n\r\n" + HEADER + " , ,\r\n" + ROW,
        "subject,,prompt,object,\r\n" + ROW.replace("Zoé,", "Zoé,,").replace("\r\n", ",\r\n"),
        "SUBJECT,Prompt, Object \r\n" + ROW,
        "Subject,Prompt,Object,Valid From,Object Before\r\n" + ROW.replace("\r\n", ",,\r\n"),
        (HEADER + ROW).replace("\r\n", "\r"),
        (HEADER + ROW).replace("\r\n", "\n").rstrip("\n"),
    ],
    ids=[
        *("commas", "semicolons", "tabs", "sep line", "quoted sep line", "sep line with a bar"),
        *("empty columns at the end", "empty column in the header only", "empty rows at the end"),
        *("empty rows first", "empty column within", "capitals", "title case with spaces"),
        *("carriage returns", "no last line end"),
    ],
)
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        *(("", "utf-8"), ("\ufeff", "utf-8"), ("\ufeff", "utf-16-le"), ("\ufeff", "utf-16-be")),
        *(("", "utf-16-le"), ("", "utf-16-be"), ("", "cp1252"), ("\ufeff", "utf-32-le")),
    ],
    ids=[
        *("UTF-8", "UTF-8 with its mark", "UTF-16LE", "UTF-16BE", "UTF-16LE without a mark"),
        *("UTF-16BE without a mark", "Windows-1252", "UTF-32LE"),
    ],
)
def test_a_table_is_read_however_it_was_saved(
    file: Path, text: str, mark: str, encoding: str
) -> None:
    file.write_bytes((mark + text).encode(encoding))
    assert list(load_facts(file)) == [OWNER]


def test_a_zipped_table_is_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "facts.tsv.gz"
    path.write_bytes(gzip.compress(("subject;prompt;object\r\n" + ROW_SEMICOLON).encode("utf-16")))
    assert list(load_facts(path)) == [OWNER]


@pytest.mark.parametrize("layout", ["{}\r\n", "[\r\n{}\r\n]", "{}\r"])
def test_json_may_be_utf_16_and_end_its_lines_with_carriage_returns(
    tmp_path: Path, layout: str
) -> None:
    path = tmp_path / "facts.jsonl"
    record = '{"subject": "Zoé", "prompt": "{} owns", "object": "a kiosk, and a boat"}'
    path.write_bytes(layout.replace("{}", record, 1).encode("utf-16"))
    assert list(load_facts(path)) == [OWNER]


def test_a_table_in_windows_1252_is_noted_with_what_to_do(file: Path) -> None:
    file.write_bytes((HEADER + ROW).encode("cp1252"))
    reading = FactFile(file)
    assert [list(reading), list(reading)] == [[OWNER], [OWNER]]
    (note,) = reading.notes
    assert "Windows-1252" in note.fault
    assert "CSV UTF-8" in note.remedy


def test_a_table_in_utf_8_with_damage_is_not_taken_for_windows_1252(file: Path) -> None:
    file.write_bytes((HEADER + ROW).encode() + b"B,{} is,\xff\r\n")
    with pytest.raises(BadInput, match="line 3: not UTF-8: byte 0xff"):
        list(load_facts(file))


def test_json_in_windows_1252_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    path.write_bytes('{"subject": "Zoé", "prompt": "{} is", "object": "B"}'.encode("cp1252"))
    with pytest.raises(BadInput, match="not UTF-8: byte 0xe9"):
        list(load_facts(path))


def test_utf_16_that_is_cut_short_is_a_fault(file: Path) -> None:
    file.write_bytes((HEADER + ROW).encode("utf-16")[:-1])
    with pytest.raises(BadInput, match="not UTF-16.*cut short"):
        list(load_facts(file))


def test_rows_keep_the_numbers_of_their_lines(file: Path) -> None:
    file.write_text("sep=;\n;;\nsubject;prompt;object\n;;\nB;{} is;\n", encoding="utf-8")
    with pytest.raises(BadInput, match="line 5: 'object' is missing"):
        list(load_facts(file))


def test_content_under_a_column_without_a_name_beyond_the_header_is_a_fault(file: Path) -> None:
    file.write_text("subject,prompt,object,,\nA,{} is,b,,c\n")
    with pytest.raises(BadInput, match="5 cells in the row, 3 in the header"):
        list(load_facts(file))


def test_a_separator_that_is_not_known_is_told_with_those_that_are(file: Path) -> None:
    file.write_text("subject|prompt|object\nA|{} is|b\n")
    with pytest.raises(BadInput, match="no column 'subject'") as refused:
        list(load_facts(file))
    assert "semicolon" in refused.value.faults[0].remedy


def test_a_table_longer_than_one_chunk_is_read_whole_in_utf_16(file: Path) -> None:
    rows = "".join(f"Firm {n};{{}} is;ö{n}\r" for n in range(9_000))
    file.write_bytes(("subject;prompt;object\r" + rows).encode("utf-16"))
    assert [fact.object for fact in load_facts(file)] == [f"ö{n}" for n in range(9_000)]

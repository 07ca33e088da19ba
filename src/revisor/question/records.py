"""What is asked by a field of a record: JSON objects, YAML, tables, comma-separated values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from revisor.language.lexicon import lexicon
from revisor.language.names import Mention
from revisor.language.words import fold
from revisor.question.forms import SLOT, filled

_KEY = re.compile(r"[\"'](?P<key>[^\"'\n]{1,60})[\"']\s*:\s*[\"']?$")
# The first line of comma-separated values, and all of those below it.
_FIELD = r"\"?\w[\w /_-]{0,40}\"?"
_HEADER = re.compile(
    rf"(?:^|\n\n|```\w*\n)(?P<columns>{_FIELD}(?:,{_FIELD})+)\n(?:[^\n,`]+(?:,[^\n]*)\n)*$"
)
# A line of a record: "price: 249 euros", "- **Price:** 249 euros".
_ENTRY = re.compile(
    r"(?P<indent>[ \t]*)(?P<item>[-*\u2022] )?[\"'*_`]*(?P<key>[^:\n]{1,60}?)[\"'*_`]*:"
)
_UNOPENED = re.compile(r"[\"']\s*:\s*$")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_SEPARATOR = re.compile(r"^[ \t]*\|?[ \t:]*-{2,}[ \t:|-]*$", re.MULTILINE)


def field_asked(
    text: str, inside: Sequence[Mention], about: Mention | None = None
) -> tuple[str, Mention, int] | None:
    """The field in which a text ends, as a template, with its name and where its value begins.

    `"ceo": "` asks "ceo {}", and so does a cell of a table, or of comma-separated values, in the
    column "CEO" and the row of a name, or the other way round; in a table of questions and answers
    a cell asks the question beside it. `about` is the name of a record that names nobody.
    """
    if not inside and about is None:
        return None
    return (
        _json_field(text, inside, about)
        or _table_cell(text, inside, about)
        or _csv_field(text, inside)
        or _line(text, inside, about)
    )


def _json_field(
    text: str, inside: Sequence[Mention], about: Mention | None
) -> tuple[str, Mention, int] | None:
    """As `{"company": "ACME", "ceo": "`; of nested objects, the innermost with a name."""
    key = _KEY.search(text)
    if key is None:
        return None
    field = " ".join(re.split(r"[_\-\s]+", key.group("key"))).strip()
    for begin in _open_objects(text, key.start()):
        own = [one for one in inside if begin <= one.start < key.start()]
        if own and re.search(rf"[\"']{re.escape(key['key'])}[\"']\s*:", text[begin : key.start()]):
            return None  # it was asked before
        if own:
            return f"{field} {SLOT}", own[0], key.end()
    return None if about is None else (f"{field} {SLOT}", about, key.end())


def _line(
    text: str, inside: Sequence[Mention], about: Mention | None
) -> tuple[str, Mention, int] | None:
    """The key in which a record's last line ends: "weight:" below "name: Quill 9" and "price: 249
    euros"; the name is in the first line of the record or of the item, or above."""
    start = text.rfind("\n") + 1
    last = _ENTRY.match(text, start)
    if last is None or text[last.end() :].strip(" \t*_`\"'"):
        return None
    field = " ".join(re.split(r"[_\-\s]+", last["key"])).strip()
    indent, end, begin = len(last["indent"]), start, None
    while end > 0:
        above = text.rfind("\n", 0, end - 1) + 1
        line = _ENTRY.match(text, above, end)
        if line is None or len(line["indent"]) > indent:
            break
        begin = above
        if len(line["indent"]) < indent or line["item"]:
            named = _first(inside, begin, start)
            if named is not None:
                return f"{field} {SLOT}", named, last.end()
            indent = len(line["indent"])
        end = above
    if begin is None:
        return None
    named = _first(inside, begin, text.find("\n", begin)) or about
    return None if named is None else (f"{field} {SLOT}", named, last.end())


def _first(inside: Sequence[Mention], begin: int, end: int) -> Mention | None:
    return next((one for one in inside if begin <= one.start and one.end <= end), None)


def awaits_quote(text: str, begin: int, value: str) -> bool:
    """Whether a JSON field's value still lacks its opening quotation mark; a number needs none."""
    return bool(_UNOPENED.search(text, max(0, begin - 80), begin)) and not _NUMBER.fullmatch(value)


def _open_objects(text: str, end: int) -> Iterator[int]:
    """Where the objects begin that are open at a place, the innermost first."""
    open_, at = 0, end
    while at > 0:
        at -= 1
        if text[at] == "}" and text[at - 1 : at] != "{":
            open_ += 1
        elif text[at] == "{" and text[at + 1 : at + 2] != "}":
            if not open_:
                yield at
            open_ = max(0, open_ - 1)
    yield 0


def _table_cell(
    text: str, inside: Sequence[Mention], about: Mention | None
) -> tuple[str, Mention, int] | None:
    """The column in a row with a name: "| ACME | "; or the row in a column with a name: "| Price |
    " below "| Feature | ACME Printer |", or in the only column of a table without names."""
    start = text.rfind("\n") + 1
    line = text[start:]
    if "|" not in line:
        return None
    above = text[:start].rstrip("\n").split("\n")
    rows: list[str] = []
    for one in reversed(above):
        if "|" not in one:
            break
        rows.insert(0, one)
    if not rows or not (line.lstrip().startswith("|") or _ruled(rows)):
        return None
    header, cells = _cells(rows[0]), _cells(line)
    column = len(cells) - 1
    if not 0 < column < len(header) or not header[column]:
        return None
    value = start + line.rfind("|") + 1
    own = [one for one in inside if one.start >= start]
    if not own:
        top = len("\n".join(above)) - len("\n".join(rows))
        heading = _in_cell(rows[0], top, column, inside)
        if heading is None and len([one for one in header if one]) == 2:
            heading = about
        return (f"{cells[0]} {SLOT}", heading, value) if heading and cells[0] else None
    if _is_label(header[column - 1], "ask_labels") and _is_label(header[column], "answer_labels"):
        begin = text.rfind("|", start, value - 1) + 1
        put = [one for one in own if one.start >= begin]
        return (filled(text, begin, put[-1], value - 1), put[-1], value) if put else None
    return f"{header[column]} {SLOT}", own[0], value


def in_table(text: str) -> bool:
    """Whether a text ends in a row of a table: what no column asks, nothing asks there."""
    start = text.rfind("\n") + 1
    above = text[:start].rstrip("\n").rpartition("\n")[2]
    return text.startswith("|", start) and above.lstrip().startswith("|")


def _csv_field(text: str, inside: Sequence[Mention]) -> tuple[str, Mention, int] | None:
    """The column in which a row ends whose first field is a name: "ACME," below "company,ceo"."""
    start = text.rfind("\n") + 1
    *fields, _ = text[start:].split(",")
    if not fields:
        return None
    header = _HEADER.search(text, 0, start)
    columns = header.group("columns").split(",") if header else []
    first = start + len(fields[0])
    named = next((one for one in inside if one.start >= start and one.end <= first), None)
    if named is None or len(fields) >= len(columns):
        return None
    if text[start:first].strip("\"' ") != text[named.start : named.end]:
        return None
    column = " ".join(re.split(r"[_\-\s]+", columns[len(fields)].strip("\"' ")))
    return (f"{column} {SLOT}", named, text.rfind(",") + 1) if column else None


def _in_cell(row: str, start: int, column: int, inside: Sequence[Mention]) -> Mention | None:
    bars = [at for at, character in enumerate(row) if character == "|"]
    edges = [*([] if row.lstrip().startswith("|") else [-1]), *bars, len(row)]
    begin, end = start + edges[column], start + edges[column + 1]
    return next((one for one in inside if begin < one.start and one.end <= end), None)


def _is_label(header: str, labels: str) -> bool:
    """Whether a column is one of questions, or of answers."""
    return fold(header) in getattr(lexicon(header), labels)


def _ruled(rows: Sequence[str]) -> bool:
    return any(_SEPARATOR.match(row) for row in rows)


def _cells(line: str) -> list[str]:
    return [cell.strip(" \t*_`") for cell in line.strip().removeprefix("|").split("|")]

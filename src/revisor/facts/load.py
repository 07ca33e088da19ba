"""Facts out of a file, as a stream, with every fault, conflict and duplicate numbered.

Nothing half-read may be imported: a fault on the last line is known only after the last line.
So a caller consumes the whole stream before it writes, or writes in one transaction that an
exception rolls back, as `Ledger.apply` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from revisor.errors import BadInput, Conflict, Fault
from revisor.facts.fact import Fact, normal_form
from revisor.facts.forms import fact_from, follows, is_keep, spread
from revisor.facts.records import Record, file_format, read_records
from revisor.facts.textfile import WINDOWS, file_encoding

FAULT_LIMIT = 10_000
_READ_AS_WINDOWS = Fault(
    "the file is not UTF-8 and was read as Windows-1252, the encoding of older Excels",
    "look at the letters with accents; if they are wrong, save it as 'CSV UTF-8'",
)


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """A line about a fact of an earlier line; only the first is a fact.

    Attributes:
        line, first_line: the line that was left out, and the one that was kept.
        fact: what the line states; the earlier fact has the same id.
    """

    line: int
    first_line: int
    fact: Fact


class FactFile:
    """A file of facts. Iterating it yields its facts and fills in what was found on the way.

    Only well-formed facts are yielded, and of the lines with one id only the first. Every
    iteration reads the file again and starts the lists anew. Kept per fact: one digest.

    Attributes:
        path: the file.
        faults: lines that state no fact; after `FAULT_LIMIT` of them reading stops.
        conflicts: lines that give a fact of an earlier line another object; both are named.
        contradictions: the same lines, with what they state.
        duplicates: lines that give a fact of an earlier line the same object (normal form).
        facts: how many facts were yielded.
        keeps: how many records with `"role": "keep"` were passed over.
        notes: what is worth knowing about how the file was read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._cells = file_format(self.path) in ("csv", "tsv")
        self._restart()

    def _restart(self) -> None:
        self.faults: list[Fault] = []
        self.conflicts: list[Fault] = []
        self.contradictions: list[Repeated] = []
        self.duplicates: list[Repeated] = []
        self.facts = 0
        self.keeps = 0
        self.notes: list[Fault] = []
        # Digest of the id -> (line, digest of the object), packed: two small integers a fact.
        self._seen: dict[int, int] = {}

    def __iter__(self) -> Iterator[Fact]:
        self._restart()
        encoding = file_encoding(self.path, table=self._cells)
        if encoding == WINDOWS:
            self.notes.append(_READ_AS_WINDOWS)
        for line, record in _good_records(self.path, encoding, self.faults):
            if follows(record):
                continue
            if is_keep(record):
                self.keeps += 1
                continue
            for one in spread(record):
                fact = fact_from(one, line=line, cells=self._cells)
                if not isinstance(fact, Fact):
                    self.faults.extend(fact)
                elif self._is_first(fact, line):
                    self.facts += 1
                    yield fact

    def line_of(self, fact_id: str) -> int:
        """The line of a fact that was yielded; 0 where none has this id."""
        return self._seen.get(_digest(fact_id), 0) >> 64

    def _is_first(self, fact: Fact, line: int) -> bool:
        key, value = _digest(fact.id), _digest(normal_form(fact.object))
        earlier = self._seen.get(key)
        if earlier is None:
            self._seen[key] = line << 64 | value
            return True
        first_line, first_value = earlier >> 64, earlier & (1 << 64) - 1
        found = Repeated(line=line, first_line=first_line, fact=fact)
        if first_value == value:
            self.duplicates.append(found)
            return False
        self.contradictions.append(found)
        self.conflicts.append(
            Fault(
                f"contradicts line {first_line}: the same fact (id {fact.id}, "
                f"{fact.text!r}) with another object, here {fact.object!r}",
                "keep one of the two lines, or tell them apart by 'qualifier'",
                line=line,
            )
        )
        return False

    def raise_if_bad(self) -> None:
        """Raise BadInput with all faults or, without any, Conflict with all contradictions."""
        if self.faults:
            what, mend = f"{self.faults[0]}", "Mend it"
            if len(self.faults) > 1:
                what, mend = f"{len(self.faults):,} faults, the first: {what}", "Mend them all"
            hint = f"{mend} and read the file again. Nothing was imported."
            raise BadInput(f"{self.path.name}: {what}", hint, self.faults)
        if self.conflicts:
            count = len(self.conflicts)
            raise Conflict(
                f"{self.path.name}: {count} line(s) contradict earlier lines; "
                f"the first: {self.conflicts[0]}",
                "Keep one object for each fact. Nothing was imported.",
                self.conflicts,
            )


def load_facts(path: str | Path) -> Iterator[Fact]:
    """The facts of a file, streaming; records with `"role": "keep"` are passed over.

    The prompts by which a benchmark measures do not become paraphrases (forms.py says why).
    Faults are raised at the end, when all are known: consume everything before you write.

    Raises:
        NotFound: there is no such file (at once).
        BadInput: a folder or unknown suffix (at once); an empty file; after the last line,
            every fault of the file.
        Conflict: after the last line, where lines contradict one another and none is faulty.
    """
    file = FactFile(path)

    def facts() -> Iterator[Fact]:
        yield from file
        file.raise_if_bad()

    return facts()


def _good_records(path: Path, encoding: str, faults: list[Fault]) -> Iterator[tuple[int, Record]]:
    """The records of the file; what is none goes into `faults`."""
    line = 0
    for item in read_records(path, encoding):
        if isinstance(item, Fault):
            line = item.line
            faults.append(item)
        else:
            line = item[0]
            yield item
        if len(faults) >= FAULT_LIMIT:
            fault = f"reading stopped here after {len(faults):,} faults"
            faults.append(Fault(fault, "mend those first", line=line))
            return
    if not line and not faults:
        raise BadInput(f"{path} is empty: it holds no facts.", "Write one fact a line.")


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "big")

"""From files of facts and benchmarks to items that can be measured.

The evaluation prompts of a record (`paraphrase_prompts`, `rephrase`, `neighborhood_prompts`,
`loc`, `portability` ...) are read here and nowhere else; a build never sees them.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from revisor.bench.cases import Item, Keep, Local, dedupe
from revisor.errors import BadInput, Fault, NotFound
from revisor.facts.fact import PLACEHOLDER, Fact, normal_form
from revisor.facts.forms import fact_from, follows, is_keep
from revisor.facts.records import file_format, read_records
from revisor.store import Store

WORDING_KEYS = ("paraphrase_prompts", "rephrase_prompt", "rephrase", "rephrases", "ood_rephrase")
SUFFIXES = (".jsonl.gz", ".jsonl", ".json", ".json.gz", ".txt.gz", ".txt")
Record = Mapping[str, Any]


@dataclass
class Source:
    """Where a suite's files are.

    Attributes:
        folder: in the layout of the benchmark data; None where nobody named one.
        data: a user's own file, instead of the suite's file of facts.
        facts: facts of a store, instead of any file of facts.
        built: all facts of a bank that is in the model already, reversed ones included; a suite's
            file then says how to measure those of them that it has.
        store: that has these facts, measured as it is.
        hashes: sha256 of every file that was read, by its name in the folder.
    """

    folder: Path | None = None
    data: Path | None = None
    facts: tuple[Fact, ...] = ()
    built: tuple[Fact, ...] = ()
    store: Store | None = None
    hashes: dict[str, str] = field(default_factory=dict)

    @property
    def own(self) -> bool:
        """Whether the facts are the user's, not a benchmark's."""
        return self.data is not None or bool(self.facts)

    def file(self, name: str) -> Path:
        """The file of a name, such as `counterfact/counterfact.jsonl.gz`, compressed or not;
        NotFound if there is none, or no folder was named."""
        if self.folder is None:
            raise NotFound(
                f"{name} is needed, and no folder of benchmark data is named.",
                "Set REVISOR_DATA or give --data-dir DIR; --data FILE takes a file of your own.",
            )
        stem = name
        for suffix in SUFFIXES:
            stem = stem.removesuffix(suffix)
        for candidate in (name, *(f"{stem}{suffix}" for suffix in SUFFIXES)):
            path = self.folder / candidate
            if path.is_file():
                self.note(path, candidate)
                return path
        raise NotFound(
            f"There is no {name} in {self.folder}.",
            "Check REVISOR_DATA or --data-dir. The same file unpacked, or as .json, is read, too.",
        )

    def note(self, path: Path, name: str) -> None:
        """Keep the hash of a file that a run depends on."""
        if name not in self.hashes:
            digest = hashlib.sha256()
            with path.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
            self.hashes[name] = digest.hexdigest()

    def json(self, name: str) -> Any:
        """The JSON document of a name, such as `facts/relation_templates.json`."""
        with open_text(self.file(name)) as stream:
            return json.load(stream)

    def records(self, name: str) -> Iterator[dict[str, Any]]:
        """The records of a JSON Lines file; BadInput for a line that is no record."""
        path = self.file(name)
        for item in read_records(path):
            if isinstance(item, Fault):
                raise BadInput(f"{path.name}: {item}.", "Fetch the file again.", [item])
            yield item[1]


@dataclass(frozen=True, kw_only=True)
class Read:
    """The content of a file of facts: items in file order, records with `"role": "keep"`, and the
    counts of lines left out, by reason."""

    items: tuple[Item, ...]
    keeps: tuple[Keep, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)


def open_text(path: Path) -> Any:
    """A text file, gzipped or not."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def read_items(path: Path, limit: int | None = None, *, lenient: bool = False) -> Read:
    """The items, at most `limit`, of a file in any fact form.

    Left out and counted are a later line about the same fact, a line that changes nothing (its new
    object is the one before), and a record that its benchmark marks as a second one of a (subject,
    relation). With `lenient`, so are lines that state no fact.

    Raises:
        NotFound: there is no such file.
        BadInput: lines that state no fact; all are listed.
    """
    cells = file_format(path) in ("csv", "tsv")
    items: dict[str, Item] = {}
    keeps: list[Keep] = []
    faults: list[Fault] = []
    dropped: dict[str, int] = {}

    def drop(reason: str) -> None:
        dropped[reason] = dropped.get(reason, 0) + 1

    for entry in read_records(path):
        if limit is not None and len(items) >= limit:
            break
        if isinstance(entry, Fault):
            faults.append(entry)
            continue
        line, record = entry
        if follows(record):
            continue
        if is_keep(record):
            found = _keep(record, line)
            if isinstance(found, Fault):
                faults.append(found)
            else:
                keeps.append(found)
            continue
        fact = fact_from(record, line=line, cells=cells)
        if not isinstance(fact, Fact):
            faults.extend(fact)
        elif record.get("first_of_pair") is False or fact.id in items:
            drop("repeated facts")
        elif fact.object_before and normal_form(fact.object_before) == normal_form(fact.object):
            drop("facts that change nothing")
        else:
            items[fact.id] = item_from(record, fact)
    if faults and lenient:
        dropped["lines that state no fact"] = len(faults)
    elif faults:
        raise BadInput(
            f"{path.name}: {len(faults)} fault(s), the first: {faults[0]}",
            "Mend them all and read the file again. Nothing was measured.",
            faults,
        )
    if not items:
        raise BadInput(f"{path.name} holds no facts to edit.", "Write one fact a line.")
    return Read(items=tuple(items.values()), keeps=tuple(keeps), dropped=dropped)


def held_back(fact: Fact) -> Item:
    """A plain fact as an item: its last paraphrase is kept from the build and measured instead."""
    if not fact.paraphrases:
        return Item(fact=fact)
    *given, last = fact.paraphrases
    return Item(fact=replace(fact, paraphrases=tuple(given)), wordings=(_full(last, fact),))


def item_from(record: Record, fact: Fact) -> Item:
    """A record's fact with all that its form brings to measure it by."""
    plain = held_back(fact)
    wordings = [_full(text, fact) for key in WORDING_KEYS for text in _texts(record.get(key))]
    return Item(
        fact=plain.fact,
        wordings=dedupe([text for text in (*wordings, *plain.wordings) if text != fact.text]),
        constructed=dedupe(_texts(record.get("paraphrase_constructed"))),
        local=(*_neighbors(record, fact), *_localities(record), *_portabilities(record)),
        open=dedupe(_texts(record.get("generation_prompts"))),
    )


def _full(text: str, fact: Fact) -> str:
    return text.replace(PLACEHOLDER, fact.subject)


def _keep(record: Record, line: int) -> Keep | Fault:
    prompt, subject = record.get("prompt"), record.get("subject")
    if not isinstance(prompt, str) or not prompt.strip():
        fault = "a record to keep without a prompt"
        return Fault(line=line, fault=fault, remedy="give 'prompt' as text")
    name = subject if isinstance(subject, str) and subject.strip() else None
    if name is None and PLACEHOLDER in prompt:
        fault = "a prompt to keep with {} and no subject"
        return Fault(line=line, fault=fault, remedy="give the subject, or the full text")
    return Keep(prompt=prompt.replace(PLACEHOLDER, name or "").strip(), subject=name)


def _neighbors(record: Record, fact: Fact) -> Iterator[Local]:
    """Prompts about other subjects that have the object of before (CounterFact)."""
    if not fact.object_before:
        return
    prompts = [
        *_texts(record.get("neighborhood_prompts")),
        *_texts(record.get("neighborhood_pool")),
    ]
    names = record.get("neighborhood_subjects") or []
    for place, prompt in enumerate(prompts):
        yield Local(
            prompt=prompt,
            answers=(fact.object_before,),
            score="specificity",
            subject=names[place] if place < len(names) else None,
            against=fact.object,
        )


def _localities(record: Record) -> Iterator[Local]:
    """Unrelated questions with their answers (zsRE, EasyEdit, KnowEdit)."""
    for prompt_key, answer_key in (
        ("loc", "loc_ans"),
        ("locality_prompt", "locality_ground_truth"),
    ):
        prompts, answers = _texts(record.get(prompt_key)), _texts(record.get(answer_key))
        for prompt, answer in zip(prompts, answers, strict=False):
            asked = f"{prompt}?" if prompt.startswith("nq question:") else prompt
            yield Local(prompt=asked, answers=(answer,), score="specificity")
    yield from _named(record.get("locality"), "")


def _portabilities(record: Record) -> Iterator[Local]:
    """What follows from the edit (KnowEdit): reasoning, other names of the subject, and so on."""
    yield from _named(record.get("portability"), "portability_")


def _named(group: object, prefix: str) -> Iterator[Local]:
    """KnowEdit's `{Name: [{prompt, ground_truth}]}`, or EasyEdit's `{name: {prompt, ...}}`."""
    if not isinstance(group, Mapping):
        return
    for name, entries in group.items():
        for entry in [entries] if isinstance(entries, Mapping) else entries or ():
            for prompt, answers in _pairs(entry):
                yield Local(prompt=prompt, answers=answers, score=f"{prefix}{name.lower()}")


def _pairs(entry: Record) -> Iterator[tuple[str, tuple[str, ...]]]:
    prompt, truth = entry.get("prompt"), entry.get("ground_truth")
    if isinstance(prompt, list) and isinstance(truth, list) and len(prompt) == len(truth):
        for one, answers in zip(prompt, truth, strict=True):
            if found := _flat(answers):
                yield str(one), found
    elif isinstance(prompt, str) and (found := _flat(truth)):
        yield prompt, found


def _flat(value: object) -> tuple[str, ...]:
    """The texts in nested lists: the accepted answers to one question."""
    if isinstance(value, str):
        return (value.strip(),) if value.strip() else ()
    if isinstance(value, list):
        return dedupe([text for part in value for text in _flat(part)])
    return ()


def _texts(value: object) -> Sequence[str]:
    """A field that is a text, a list of texts or absent."""
    if isinstance(value, str):
        return [value] if value.strip() else []
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []

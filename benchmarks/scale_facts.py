"""Fact sets of 10,000 to 1,000,000 real facts with counterfactual objects, as a stream of JSONL.

    python -m benchmarks.scale_facts --tier 1M --data DIR --out facts-1m.jsonl.gz [--rows 10000]

What comes in: a folder of benchmark data (counterfact/, facts/; see its README), a tier, and how
many of its first facts are wanted. What goes out: facts that `revisor add` reads, the true object
kept as `object_before`. What it does not do: keep the set in memory; it sorts by files on disk.

The order is that of sha256(subject|relation), so that every prefix is a fair sample. The object is
drawn by a seed from other objects of the relation that are not true of the subject. Half of the
largest tier are places with four relations each: say so where it is reported.
"""

from __future__ import annotations

import argparse
import gzip
import heapq
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import IO, Any

BUCKETS = 64  # files that the facts are sorted through
OBJECTS = 4096  # objects of a relation that are drawn from


@dataclass(frozen=True, kw_only=True)
class Tier:
    """Which facts a set is made of.

    Attributes:
        size: facts in all.
        files: of facts/, each with how many of its first facts (in hash order) count; None: all.
    """

    size: int
    files: Mapping[str, int | None]


TIERS = {
    "100k": Tier(size=100_000, files={"entityquestions": None}),
    "450k": Tier(size=450_000, files={"entityquestions": None, "kamel": None}),
    "1M": Tier(
        size=1_000_000,
        files={"entityquestions": None, "kamel": None, "geonames": None, "fb13": 68_530},
    ),
}
COUNTERFACT = {"10k": 10_000, "20k": 1 << 62}


def facts_of(tier: str, folder: Path, *, seed: int = 0) -> Iterator[dict[str, Any]]:
    """The facts of a tier, streaming, as the lines of a fact file."""
    if tier in COUNTERFACT:
        yield from _counterfact(folder, COUNTERFACT[tier])
        return
    wanted = TIERS[tier]
    prompts = _prompts(folder / "facts" / "relation_templates.json")
    with tempfile.TemporaryDirectory(prefix="revisor-facts-") as scratch:
        objects = _sort(wanted, folder / "facts", Path(scratch))
        left = wanted.size
        for bucket in sorted(Path(scratch).iterdir()):
            lines = sorted(bucket.read_text(encoding="utf-8").splitlines())
            for line in lines[:left]:
                yield _fact(json.loads(line.partition("\t")[2]), prompts, objects, seed)
            left -= min(left, len(lines))


def _counterfact(folder: Path, count: int) -> Iterator[dict[str, Any]]:
    """CounterFact as it is: its own targets, the first record of each subject and relation."""
    with gzip.open(folder / "counterfact" / "counterfact.jsonl.gz", "rt", encoding="utf-8") as file:
        records = (json.loads(line) for line in file)
        first = heapq.nsmallest(
            min(count, 1 << 20),
            ((record["case_id"], record) for record in records if record["first_of_pair"]),
            key=lambda pair: pair[0],
        )
    for _, record in first:
        asked = record["requested_rewrite"]
        yield {
            "subject": asked["subject"],
            "prompt": asked["prompt"],
            "object": asked["target_new"]["str"],
            "object_before": asked["target_true"]["str"],
            "relation": asked["relation_id"],
        }


def _prompts(path: Path) -> dict[str, str]:
    """A prompt for each relation: a hand-written beginning of a sentence, or its question."""
    found: dict[str, str] = {}
    for name in ("entityquestions", "geonames", "fb13", "kamel"):
        for relation, forms in json.loads(path.read_text(encoding="utf-8"))[name].items():
            cloze = forms.get("written_here", {}).get("cloze")
            asked = cloze[0] if cloze else f"{forms['source_question']} Answer:"
            found.setdefault(relation, asked.replace("[X]", "{}"))
    return found


def _sort(tier: Tier, folder: Path, scratch: Path) -> dict[str, list[str]]:
    """Deal the facts into files by their hash; some objects of each relation, by theirs."""
    smallest: dict[str, dict[str, str]] = {}
    with ExitStack() as opened:
        buckets = [
            opened.enter_context((scratch / f"{number:03d}").open("w", encoding="utf-8"))
            for number in range(BUCKETS)
        ]
        for name, count in tier.files.items():
            limit = None if count is None else _limit(folder / f"{name}.jsonl.gz", count)
            for digest, line, record in _records(folder / f"{name}.jsonl.gz"):
                kept = smallest.setdefault(record["r"], {})
                kept.setdefault(record["o"], _digest(record["o"]))
                if len(kept) > 2 * OBJECTS:
                    smallest[record["r"]] = _least(kept)
                if limit is None or digest <= limit:
                    place = int(digest[:8], 16) * BUCKETS >> 32
                    buckets[place].write(f"{digest}\t{line}\n")
    return {relation: sorted(_least(kept)) for relation, kept in smallest.items()}


def _least(kept: dict[str, str]) -> dict[str, str]:
    return dict(sorted(kept.items(), key=lambda pair: pair[1])[:OBJECTS])


def _limit(path: Path, count: int) -> str:
    """The hash of the last of the first `count` facts."""
    return heapq.nsmallest(count, (digest for digest, _, _ in _records(path)))[-1]


def _records(path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The facts of a file with their hashes; not of a subject that is no name ("&")."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            if not any(map(str.isalnum, record["s"])):
                continue
            yield _digest(f"{record['s']}|{record['r']}"), line.rstrip("\n"), record


def _fact(
    record: dict[str, Any],
    prompts: Mapping[str, str],
    objects: Mapping[str, list[str]],
    seed: int,
) -> dict[str, Any]:
    subject, relation, true = record["s"], record["r"], record["o"]
    pool, right = objects[relation], {true, *record.get("a", ())}
    place = int(_digest(f"{seed}|{subject}|{relation}"), 16)
    turned = (pool[(place + step) % len(pool)] for step in range(len(pool)))
    other = next(one for one in turned if one not in right)
    return {
        "subject": subject,
        "prompt": prompts[relation],
        "object": other,
        "object_before": true,
        "relation": relation,
    }


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _opened(path: Path | None) -> IO[str]:
    if path is None:
        return sys.stdout
    if path.suffix == ".gz":
        return gzip.open(path, "wt", encoding="utf-8")
    return path.open("w", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tier", choices=[*COUNTERFACT, *TIERS], required=True)
    parser.add_argument("--rows", type=int, help="only so many of its first facts")
    parser.add_argument("--data", type=Path, required=True, help="folder of benchmark data")
    parser.add_argument("--out", type=Path, help="a .jsonl or .jsonl.gz file; standard output")
    parser.add_argument("--seed", type=int, default=0, help="of the counterfactual objects")
    given = parser.parse_args()
    with _opened(given.out) as out:
        for fact in islice(facts_of(given.tier, given.data, seed=given.seed), given.rows):
            out.write(json.dumps(fact, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

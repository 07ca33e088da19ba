"""A small folder of benchmark data, written in code, in the layout and forms of the real one."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

OBJECTS = ("Paris", "Rome", "Tokyo", "Bonn", "Cologne", "French", "Japan", "Vienna")
NAMES = ("ACME", "Basel", "Zora", "Berlin", "the Rhine", "Jane Roe", "Bonnfield", "Tower Hill")


def write(folder: Path, name: str, records: Sequence[object]) -> Path:
    """Records as gzipped JSON Lines; texts as they are."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (one if isinstance(one, str) else json.dumps(one) for one in records)
    path.write_bytes(gzip.compress("".join(line + "\n" for line in lines).encode(), mtime=0))
    return path


def counterfact(count: int = 8) -> list[dict[str, Any]]:
    """CounterFact records; the neighbor of each names the next subject, and one from elsewhere."""
    records = []
    for place in range(count):
        name, other = NAMES[place], NAMES[(place + 1) % count]
        records.append(
            {
                "case_id": place,
                "requested_rewrite": {
                    "prompt": "The capital of {} is",
                    "relation_id": "P36",
                    "target_new": {"str": OBJECTS[place]},
                    "target_true": {"str": OBJECTS[(place + 3) % len(OBJECTS)]},
                    "subject": name,
                },
                "paraphrase_prompts": [f"It is old. {name} has the capital"] if place % 2 else [],
                "neighborhood_prompts": [f"The capital of {other} is", "The capital of France is"],
                "neighborhood_pool": [],
                "neighborhood_subjects": [other, "France"],
                "generation_prompts": [f"{name} is old and"],
                "paraphrase_constructed": [f"The city that rules {name} is"],
                "first_of_pair": True,
            }
        )
    return records


def zsre(count: int = 4) -> list[dict[str, Any]]:
    """zsRE records."""
    return [
        {
            "subject": NAMES[place],
            "src": f"Where is {NAMES[place]}?",
            "pred": "nobody",
            "rephrase": f"In which city is {NAMES[place]}?",
            "alt": OBJECTS[place],
            "answers": [OBJECTS[(place + 1) % 8]],
            "loc": "nq question: who wrote the book",
            "loc_ans": "two brothers",
        }
        for place in range(count)
    ]


def facts_files(folder: Path) -> None:
    """Real-looking facts of several relations a subject, with their templates."""
    relations = ("P1", "P2", "P3", "P4")
    rows = [
        {"s": name, "r": relation, "o": OBJECTS[(i + j) % len(OBJECTS)]}
        for i, name in enumerate(NAMES)
        for j, relation in enumerate(relations)
    ]
    half = [row for row in rows if row["r"] in relations[:2]]
    write(folder, "facts/entityquestions.jsonl.gz", half)
    write(folder, "facts/kamel.jsonl.gz", [row for row in rows if row not in half])
    forms = {
        "P1": {
            "source_question": "Where is [X]?",
            "written_here": {"questions": [], "cloze": ["[X] stands in", "The town of [X] is in"]},
        },
        "P2": {"source_question": "Who made [X]?", "written_here": {"cloze": ["[X] is made by"]}},
    }
    more = {
        "P3": {"source_question": "What is next to [X]?", "pararel_cloze": ["[X] is next to"]},
        "P4": {"source_question": "What came after [X]?", "numeric": False, "pararel_cloze": []},
    }
    path = folder / "facts" / "relation_templates.json"
    path.write_text(json.dumps({"note": "", "entityquestions": forms, "kamel": more}))


def hops(folder: Path) -> None:
    """One MQuAKE chain of two edits, a second that contradicts it, and KnowEdit records."""
    chain = {
        "case_id": 1,
        "requested_rewrite": [
            {
                "prompt": "{} was performed by",
                "relation_id": "P1",
                "target_new": {"str": "Basel"},
                "target_true": {"str": "Rome"},
                "subject": "Hey",
                "question": "Who performed Hey?",
            },
            {
                "prompt": "The capital of {} is",
                "relation_id": "P36",
                "target_new": {"str": "Tokyo"},
                "target_true": {"str": "Bonn"},
                "subject": "Basel",
                "question": "What is the capital of Basel?",
            },
        ],
        "questions": ["What is the capital of the performer of Hey?"],
        "answer": "Bonn",
        "new_answer": "Tokyo",
        "new_answer_alias": ["Edo"],
    }
    other = json.loads(json.dumps(chain)) | {"case_id": 2}
    other["requested_rewrite"][1]["target_new"]["str"] = "Paris"
    write(folder, "robustness/mquake_hard.jsonl.gz", [chain, other])
    write(
        folder,
        "robustness/knowedit_wiki_counterfact_test.jsonl.gz",
        [
            {
                "subject": name,
                "prompt": f"The mother tongue of {name} is",
                "target_new": "French",
                "ground_truth": "Japan",
                "rephrase": f"People of {name} speak",
                "portability": {
                    "Reasoning": [{"prompt": f"{name} reads", "ground_truth": [["French", "fr"]]}],
                    "Subject_Aliasing": [{"prompt": f"Old {name} is", "ground_truth": "French"}],
                },
                "locality": {
                    "Relation_Specificity": [
                        {"prompt": f"{name} stands in", "ground_truth": [["Rome"]]}
                    ]
                },
            }
            for name in ("Zora", "ACME", "Berlin")
        ],
    )


def tasks(folder: Path) -> None:
    """Two questions of each general task."""
    letters = {"labels": ["A", "B", "C", "D", "E"], "answer": 1}
    choices = ["Paris", "Rome", "Tokyo", "Bonn", "Japan"]
    both = range(2)
    write(
        folder,
        "lm_tasks/mmlu_test.jsonl.gz",
        [
            {"id": i, "subject": "high_school", "question": f"Q{i}?", "choices": choices[:4]}
            | {"answer": i}
            for i in both
        ],
    )
    write(
        folder,
        "lm_tasks/sciq_test_direct.jsonl.gz",
        [
            {"id": i, "question": f"Q{i}?", "correct_answer": "Rome", "support": "It is old."}
            | {"distractors_constructed": ["Paris", "Bonn", "Tokyo"]}
            for i in both
        ],
    )
    for name in ("commonsenseqa_dev", "arc_challenge_test"):
        write(
            folder,
            f"lm_tasks/{name}.jsonl.gz",
            [{"id": i, "question": f"Q{i}?", "choices": choices, **letters} for i in both],
        )
    write(
        folder,
        "lm_tasks/lambada_openai_test.jsonl.gz",
        [{"id": i, "text": "The tower stands in Paris"} for i in both],
    )
    write(
        folder,
        "lm_tasks/wsc273.jsonl",
        [],
    )
    (folder / "lm_tasks" / "wsc273.jsonl").write_text(
        "".join(
            json.dumps(
                {"id": i, "text": "The tower fell on Rome as [MASK] was old.", "answer": i}
                | {"options": ["the tower", "Rome"], "group": 1}
            )
            + "\n"
            for i in both
        )
    )


def corpus(folder: Path) -> None:
    """A little ordinary text."""
    lines = [f"In {year} the old tower of the city stood near the river." for year in range(900)]
    write(folder, "corpus/wikitext2_raw_test.txt.gz", lines)
    write(folder, "corpus/trex_wikipedia_sentences.txt.gz", [*lines, "Paris is in France."])


def folder_of(path: Path) -> Path:
    """All files of the small folder."""
    write(path, "counterfact/counterfact.jsonl.gz", counterfact())
    write(path, "zsre/zsre.jsonl.gz", zsre())
    facts_files(path)
    hops(path)
    tasks(path)
    corpus(path)
    return path

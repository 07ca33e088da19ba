"""Six tasks of general ability, by lm-evaluation-harness itself.

SciQ's local file has constructed distractors, and WSC273's masks its pronouns (so that
"'s" is never appended to an option): compare with the unedited model, not with published figures.
"""

from __future__ import annotations

import io
import json
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from revisor.bench.asking import Bench
from revisor.bench.cases import Case, Plan, Probe
from revisor.bench.datasets import Source
from revisor.bench.extra import need
from revisor.bench.protocol import Editor
from revisor.bench.suites.base import DEFAULT_N, Sizes, Suite
from revisor.bench.suites.text import facts_beside
from revisor.errors import UsageError

Record = dict[str, Any]
BATCH = 16
PRONOUN = "[MASK]"


def _lettered(record: Record) -> Record:
    return {
        "id": record["id"],
        "question": record["question"],
        "choices": {"text": record["choices"], "label": record["labels"]},
        "answerKey": record["labels"][record["answer"]],
    }


def _sciq(record: Record) -> Record:
    names = {f"distractor{i + 1}": text for i, text in enumerate(record["distractors_constructed"])}
    kept = ("question", "support", "correct_answer")
    return {key: record[key] for key in kept} | names


def _wsc(record: Record) -> Record:
    return {
        "text": record["text"],
        "options": record["options"],
        "label": record["answer"],
        "pronoun": PRONOUN,
        "pronoun_loc": record["text"].index(PRONOUN),
    }


def _mmlu(record: Record) -> Record:
    return {key: record[key] for key in ("subject", "question", "choices", "answer")}


def _lambada(record: Record) -> Record:
    return {"text": record["text"]}


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task of the harness.

    Attributes:
        name: of the score.
        hub: the harness's own name of the task.
        file: of the questions.
        definition: the harness's YAML, under its `tasks` folder.
        shape: from a record of the file to one of the hub's data set.
        split: the split that the definition scores.
        extra: what the definition lacks.
    """

    name: str
    hub: str
    file: str
    definition: str
    shape: Callable[[Record], Record]
    split: str = "test"
    extra: tuple[tuple[str, str], ...] = ()


TASKS = (
    Task(
        name="mmlu",
        hub="mmlu",
        file="lm_tasks/mmlu_test.jsonl.gz",
        definition="mmlu/default/_default_template_yaml",
        shape=_mmlu,
        extra=(
            (
                "description",  # of the 57 subjects' own definitions
                "The following are multiple choice questions (with answers) about "
                "{{subject.replace('_', ' ')}}.\n\n",
            ),
        ),
    ),
    Task(
        name="sciq",
        hub="sciq",
        file="lm_tasks/sciq_test_direct.jsonl.gz",
        definition="sciq/sciq.yaml",
        shape=_sciq,
    ),
    Task(
        name="commonsense_qa",
        hub="commonsense_qa",
        file="lm_tasks/commonsenseqa_dev.jsonl.gz",
        definition="commonsense_qa/default.yaml",
        shape=_lettered,
        split="validation",
    ),
    Task(
        name="arc_challenge",
        hub="arc_challenge",
        file="lm_tasks/arc_challenge_test.jsonl.gz",
        definition="arc/arc_challenge.yaml",
        shape=_lettered,
    ),
    Task(
        name="lambada",
        hub="lambada_openai",
        file="lm_tasks/lambada_openai_test.jsonl.gz",
        definition="lambada/lambada_openai.yaml",
        shape=_lambada,
    ),
    Task(
        name="wsc273",
        hub="wsc273",
        file="lm_tasks/wsc273.jsonl",
        definition="wsc273/default.yaml",
        shape=_wsc,
    ),
)
BY_NAME: Mapping[str, Task] = {task.name: task for task in TASKS}


class General(Suite):
    """General ability: the six tasks of figure 1 of the paper, by lm-evaluation-harness."""

    name = "general"
    averages: ClassVar = {"average": tuple(BY_NAME)}  # of figure 1 of Fei et al. (2026)

    def plan(self, source: Source, sizes: Sizes, tokenizer: Any) -> Plan:
        need("lm_eval")
        count = sizes.n or DEFAULT_N
        probes: list[Probe] = []
        for task in TASKS:
            if source.folder is None:  # the harness fetches the questions
                probes.append(_probe(task, "hub", {"count": count}))
                continue
            records = list(source.records(task.file))
            random.Random(sizes.seed).shuffle(records)
            probes += [
                _probe(task, str(place), {"record": task.shape(record)})
                for place, record in enumerate(records[:count])
            ]
        return Plan(facts=facts_beside(source, sizes), probes=tuple(probes), n=count)

    def blocks(self, probes: Sequence[Probe]) -> Iterator[Sequence[Probe]]:
        """A task at a time."""
        for name in BY_NAME:
            if part := [probe for probe in probes if probe.score == name]:
                yield part

    def measure(
        self,
        bench: Bench,
        editor: Editor,
        probes: Sequence[Probe],
        base: Mapping[str, Case],
        on_done: Callable[[int], None] | None = None,
    ) -> list[Case]:
        cases = _run(bench, editor, BY_NAME[probes[0].score], probes)
        if on_done:
            on_done(len(probes))
        return cases


def _probe(task: Task, place: str, extra: Record) -> Probe:
    name = f"{task.name}/{place}"
    return Probe(id=name, case=name, score=task.name, prompt="", kind="task", extra=extra)


def _run(bench: Bench, editor: Editor, task: Task, probes: Sequence[Probe]) -> list[Case]:
    """One task over the questions of some probes."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    local = "record" in probes[0].extra
    with tempfile.TemporaryDirectory(prefix="revisor-eval-") as folder, _quiet():
        if local:
            write_task(Path(folder), task, [probe.extra["record"] for probe in probes])
            manager = TaskManager(include_path=folder, include_defaults=False)
        else:
            manager = TaskManager()
        model = HFLM(
            pretrained=bench.loaded.model,
            tokenizer=bench.loaded.tokenizer,
            batch_size=BATCH,
        )
        found = lm_eval.simple_evaluate(
            model=model,
            tasks=[task.name if local else task.hub],
            task_manager=manager,
            limit=None if local else probes[0].extra["count"],
            bootstrap_iters=0,
            log_samples=True,
            random_seed=bench.seed,
            numpy_random_seed=bench.seed,
            torch_random_seed=bench.seed,
        )
    if found is None:
        raise UsageError("The harness returned nothing.", "Run it in one process.")
    cases = []
    for samples in found["samples"].values():
        for sample in samples:
            place = int(sample["doc_id"])
            probe = probes[place] if local else probes[0]
            cases.append(
                Case(
                    method=editor.name,
                    probe=probe.id,
                    case=probe.case if local else f"{task.name}/{sample['doc_hash']}",
                    values={task.name: float(sample["acc"])},
                )
            )
    return cases


def write_task(folder: Path, task: Task, records: Sequence[Record]) -> None:
    """The harness's own definition of a task, pointed at local questions."""
    import lm_eval.tasks

    data = folder / f"{task.name}.jsonl"
    data.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    home = Path(lm_eval.tasks.__file__).parent
    config = {
        "include": str(home / task.definition),
        "task": task.name,
        "tag": None,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {
            "data_files": {task.split: str(data)},
            "cache_dir": str(folder / "cache"),
        },
        "training_split": None,
        "fewshot_split": task.split,
        **dict(task.extra),
    }
    # A JSON document is a YAML one.
    (folder / f"{task.name}.yaml").write_text(json.dumps(config), encoding="utf-8")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the harness's bars and logs out of what revisor prints."""
    import logging

    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)

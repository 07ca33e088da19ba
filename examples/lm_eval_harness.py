"""lm-evaluation-harness over a model with a store's facts:

    python examples/lm_eval_harness.py STORE TASK[,TASK...] [FOLDER]

FOLDER has task definitions of one's own. It needs `pip install 'revisor[eval]'`.
"""

import sys

import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.utils import make_table

from revisor import Store


def main(path: str, tasks: str, folder: str | None = None) -> None:
    """Measure with the facts and without."""
    manager = TaskManager(include_path=folder, include_defaults=folder is None)
    with Store.open(path) as store:
        model, tokenizer = store.loaded.model, store.tokenizer
        harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8)
        options = {"model": harness, "tasks": tasks.split(","), "task_manager": manager}
        with store.attached(model, tokenizer) as block:
            print(make_table(lm_eval.simple_evaluate(**options)))
            with block.disabled():
                print(make_table(lm_eval.simple_evaluate(**options)))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What a process that serves does with numpy's threads."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import numpy as np
np.ones((2, 2)) @ np.ones((2, 2))
from threadpoolctl import ThreadpoolController
from revisor.engines.threads import questions_on_one_thread

blas = ThreadpoolController().select(internal_api="openblas")
print([one["num_threads"] for one in blas.info()])
questions_on_one_thread()
print([one["num_threads"] for one in blas.info()])
"""


def test_questions_are_read_on_one_thread_of_openblas() -> None:
    """In a process of its own: the setting is of the whole process."""
    wide = os.environ | {"OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=wide, capture_output=True, text=True, check=True
    )
    before, after = map(eval, done.stdout.splitlines())
    assert len(before) == len(after)
    assert after == [1] * len(after)

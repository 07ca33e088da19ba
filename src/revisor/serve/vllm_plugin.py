"""The entry point that vLLM calls in each of its processes (group `vllm.general_plugins`).

What comes in: the variable REVISOR_STORE. What goes out: a vLLM whose model has the store's facts;
without the variable nothing is touched. What it does not do: the work (vllm.py), which is imported
only here, since vLLM goes on without a plugin that cannot be imported, but not with one that fails.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "REVISOR_STORE"


def register() -> None:
    """Give vLLM the facts of the store that REVISOR_STORE names, if it names one."""
    if path := os.environ.get(VARIABLE):
        from revisor.serve.vllm import install

        install(Path(path))

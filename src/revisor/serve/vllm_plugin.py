"""The entry points that vLLM calls: in each of its processes (group `vllm.general_plugins`), and in
that of the HTTP server (`vllm.endpoint_plugins`, if VLLM_PLUGINS names it).

What comes in: the variable REVISOR_STORE. What goes out: a vLLM whose model has the store's facts,
and whose answers name them; without the variable nothing is touched. What it does not do: the work
(vllm.py, vllm_http.py), which is imported only here, since vLLM goes on without a plugin that
cannot be imported, but not with one that fails.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from revisor.errors import UsageError

VARIABLE = "REVISOR_STORE"


def register() -> None:
    """Give vLLM the facts of the store that REVISOR_STORE names, if it names one."""
    if path := os.environ.get(VARIABLE):
        from revisor.serve.vllm import install

        install(Path(path))


def endpoints() -> Any:
    """The plugin that names the facts used in answers.

    Raises:
        UsageError: there is no store; vLLM logs it and serves without the plugin.
    """
    if not os.environ.get(VARIABLE):
        raise UsageError(f"VLLM_PLUGINS names revisor, and {VARIABLE} names no store.")
    from revisor.serve.vllm_http import FactsUsedPlugin

    return FactsUsedPlugin()

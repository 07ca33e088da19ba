"""How many threads numpy works on beside an engine's own."""

from __future__ import annotations


def questions_on_one_thread() -> None:
    """Limit numpy's OpenBLAS, which the question encoder uses, to one thread in this process.

    For a process that serves a model: OpenBLAS threads spin for a while after each product and keep
    the engine's threads from the cores; on two of them vLLM took 1.4 to 1.8 times as long with
    eight sequences.
    """
    from threadpoolctl import ThreadpoolController

    ThreadpoolController().select(internal_api="openblas").limit(limits=1)

"""How many threads numpy works on beside an engine's own."""

from __future__ import annotations


def questions_on_one_thread() -> None:
    """Have numpy's OpenBLAS, which reads questions, work on one thread from here on.

    Of the whole process: for one that serves a model. Threads of OpenBLAS spin for a while when a
    product is done, and keep the engine's threads from the cores: on two of them vLLM took 1.4 to
    1.8 times as long with eight sequences.
    """
    from threadpoolctl import ThreadpoolController

    ThreadpoolController().select(internal_api="openblas").limit(limits=1)

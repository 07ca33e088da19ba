"""vLLM's second model runner on a CPU: its kernels run in Triton's interpreter.

The build for CPUs has the first runner only, for want of a Triton that compiles for them. Import
this before vLLM.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"
os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "1"

from triton.backends import backends  # noqa: E402  (after the environment)

backends["cpu"] = SimpleNamespace(  # type: ignore[assignment]
    driver=SimpleNamespace(is_active=lambda: True), compiler=None
)


def schedule_asynchronously() -> None:
    """Have vLLM schedule as it does on a GPU: the next step is begun before the last one's tokens
    are known. Its platform for CPUs switches that off."""
    from vllm.platforms.cpu import CpuPlatform

    settle = CpuPlatform.check_and_update_config.__func__

    def settled(cls: type, config: Any) -> None:
        settle(cls, config)
        config.scheduler_config.async_scheduling = True

    CpuPlatform.check_and_update_config = classmethod(settled)  # type: ignore[assignment]

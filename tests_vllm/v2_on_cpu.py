"""vLLM's second model runner on a CPU: its kernels run in Triton's interpreter.

The build for CPUs has the first runner only, for want of a Triton that compiles for them. Import
this before vLLM.
"""

from __future__ import annotations

import os
from types import SimpleNamespace

os.environ["TRITON_INTERPRET"] = "1"
os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "1"

from triton.backends import backends  # noqa: E402  (after the environment)

backends["cpu"] = SimpleNamespace(  # type: ignore[assignment]
    driver=SimpleNamespace(is_active=lambda: True), compiler=None
)

"""revisor: a database of facts for any causal language model."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["Fact", "RevisorError", "Store", "Trace", "attach"]
__version__ = "0.2.0"

_HOMES = {
    "Fact": "revisor.facts.fact",
    "RevisorError": "revisor.errors",
    "Store": "revisor.store",
    "Trace": "revisor.gate.trace",
    "attach": "revisor.engines.attach",
}


def __getattr__(name: str) -> Any:
    """Names are imported when they are first used, so that `import revisor` alone is quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'revisor' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

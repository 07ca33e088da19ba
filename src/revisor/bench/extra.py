"""Packages that only measuring needs, imported when they are used."""

from __future__ import annotations

from importlib.util import find_spec

from revisor.errors import NotSupported


def need(module: str) -> None:
    """Raise NotSupported where a module of the extra `eval` is not installed."""
    if find_spec(module) is None:
        raise NotSupported(
            f"This needs the package '{module}', which is not installed.",
            "Install the extra: pip install 'revisor[eval]'",
        )

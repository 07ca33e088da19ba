"""Packages that only measuring needs, imported when they are used.

What comes in: a module's name. What goes out: nothing, or an error that names the extra to install.
"""

from __future__ import annotations

from importlib.util import find_spec

from revisor.errors import NotSupported


def need(module: str) -> None:
    """Raise where a module of the extra `eval` is not installed.

    Raises:
        NotSupported: it is not.
    """
    if find_spec(module) is None:
        raise NotSupported(
            f"This needs the package '{module}', which is not installed.",
            "Install the extra: pip install 'revisor[eval]'",
        )

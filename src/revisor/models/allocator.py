"""Keep freed memory inside the process: on a CPU, page faults cost more than arithmetic.

glibc hands every large block back to the kernel when it is freed, so each activation of a forward
pass is mapped, zeroed page by page and unmapped again; measured on two cores, that was three
quarters of the time of elementwise operations. Two settings of glibc's own allocator end it.
"""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h


def keep_freed_memory() -> bool:
    """Have glibc keep large freed blocks; False where the C library has no `mallopt` (macOS,
    musl)."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 1 << 28))
    return all(mallopt(name, value) == 1 for name, value in settings)

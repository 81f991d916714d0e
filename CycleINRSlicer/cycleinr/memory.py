"""Keep freed memory in the process: page faults cost more than the arithmetic when it goes back and forth.

glibc returns large blocks to the kernel on every ``free`` and takes fresh, zeroed pages on the next ``malloc``. A
network that allocates and frees the same activations thousands of times then spends most of its time in the kernel.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Make glibc reuse freed memory instead of handing it back; call once, early, before large allocations.

    Returns:
        Whether it took effect; False on systems without glibc, where nothing needs doing.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return False
    settings = [(_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_ARENA_MAX, 1)]
    return all(libc.mallopt(key, value) == 1 for key, value in settings)

"""The C allocator's habits during training on a CPU."""

from __future__ import annotations

import ctypes
import sys

# <malloc.h> of glibc
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Let glibc keep freed blocks for the next step instead of handing them back to the system.

    Every activation map is otherwise mapped, zeroed page by page and unmapped again in every step: a good tenth of a
    step on a CPU. Returns whether it took effect (on Linux with glibc).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none
        return False
    wanted = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_ARENA_MAX, 1))
    done = [mallopt(option, value) for option, value in wanted]  # each must be tried
    return all(done)

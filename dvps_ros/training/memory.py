"""Memory of training: free and used amounts, and settings of the C allocator on a CPU."""

from __future__ import annotations

import ctypes
import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

# <malloc.h> of glibc
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Let glibc keep freed blocks for the next step instead of returning them to the system.

    Otherwise every activation map is mapped, zeroed page by page and unmapped in every step, which takes over a tenth
    of a step on a CPU. Returns whether the settings were accepted (only by glibc on Linux).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has no mallopt
        return False
    wanted = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_ARENA_MAX, 1))
    accepted = [mallopt(option, value) for option, value in wanted]  # a list, so that all are set even if one fails
    return all(accepted)


def peak(device: torch.device) -> int:
    """Peak memory of this process in bytes: of tensors on a CUDA ``device``, else resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    found = status("VmHWM")
    if found is not None:
        return found
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage if sys.platform == "darwin" else 1024 * usage


def status(name: str) -> int | None:
    """A value in bytes from /proc/self/status, e.g. ``VmRSS`` or its peak ``VmHWM``; None if it is not there."""
    return _kilobytes(Path("/proc/self/status"), name)


def available(root: Path = Path("/")) -> int | None:
    """Bytes of main memory that this process can still use without swapping; None if unknown.

    The result is the minimum of the machine's ``MemAvailable`` and the limits of its control groups (v1 or v2).
    ``root`` is the folder of proc/ and sys/.
    """
    found = [_kilobytes(root / "proc" / "meminfo", "MemAvailable"), *_left_by_groups(root)]
    return min((value for value in found if value is not None), default=None)


def ran_out(error: BaseException) -> bool:
    """Whether an error means that memory of the GPU or CPU ran out, also if a loader process was killed."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    message = str(error)
    killed = "DataLoader worker" in message and "Killed" in message
    return isinstance(error, RuntimeError) and (killed or "can't allocate memory" in message)


def _kilobytes(path: Path, name: str) -> int | None:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB$", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return 1024 * int(found.group(1)) if found else None


def _left_by_groups(root: Path) -> Iterator[int | None]:
    """Free bytes under the limit of each control group of this process and its ancestors."""
    groups = root / "sys" / "fs" / "cgroup"
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if not controllers:  # version 2
            top, names = groups, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top, names = groups / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # in a container the path may be that of the host, of which only the top is visible
        folder = top / path.lstrip("/")
        for place in (folder, *folder.parents):
            yield _left(place, *names)
            if place == top:
                break


def _left(folder: Path, limit: str, usage: str, cache: str) -> int | None:
    try:
        most, used = (folder / limit).read_text().strip(), int((folder / usage).read_text())
        reclaimable = re.search(rf"^{cache} (\d+)$", (folder / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):
        return None
    if not most.isdecimal():  # "max"
        return None
    return max(0, int(most) - used + (int(reclaimable.group(1)) if reclaimable else 0))

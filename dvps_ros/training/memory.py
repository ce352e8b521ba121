"""Memory during training: how much there is and was used, and the C allocator's habits on a CPU."""

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


def peak(device: torch.device) -> int:
    """Bytes that this process has used at most: of tensors on a CUDA ``device``, else of resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    found = status("VmHWM")
    if found is not None:
        return found
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage if sys.platform == "darwin" else 1024 * usage


def status(name: str) -> int | None:
    """Bytes that Linux states of this process, e.g. ``VmRSS`` or its peak ``VmHWM``; None where it states none."""
    return _kilobytes(Path("/proc/self/status"), name)


def available(root: Path = Path("/")) -> int | None:
    """Bytes of main memory that this process can still take without swapping, or None where that is not known.

    The least of what the machine has (``MemAvailable``) and what its control groups (v1 or v2) leave. ``root`` is where
    proc/ and sys/ lie.
    """
    found = [_kilobytes(root / "proc" / "meminfo", "MemAvailable"), *_left_by_groups(root)]
    return min((value for value in found if value is not None), default=None)


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice: the GPU's, the CPU's, or a loader process was killed."""
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
    """Bytes left by the control groups of this process and all above them."""
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
        # inside a container the path may be the host's, of which only the top is to be seen
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

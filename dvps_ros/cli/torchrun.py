"""Being one of several processes that torchrun starts, each with a share of the sequences."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

#: The others wait for the slowest share at most this long.
_PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class Process:
    """Which process of how many this is.

    Attributes
    ----------
    rank, count : 0 .. count - 1, over all machines.
    local_rank : the same on this machine: which of its GPUs is this process's.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0


def this_process() -> Process:
    """As torchrun's environment variables say; the only one without them."""
    return Process(
        *(int(os.environ.get(name, alone)) for name, alone in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0)))
    )


@contextmanager
def together(process: Process) -> Iterator[None]:
    """``torch.distributed`` among all processes (by gloo: a few numbers are exchanged), if there are several."""
    import torch.distributed

    if process.count == 1:
        yield
        return
    torch.distributed.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def share(sequences: Mapping[int, Sequence[int]], process: Process) -> dict[int, Sequence[int]]:
    """The sequences, whole, that are this process's: the longest first, each to who has the fewest frames yet."""
    frames = [0] * process.count
    own = {}
    for name in sorted(sequences, key=lambda name: (-len(sequences[name]), name)):
        rank = frames.index(min(frames))
        frames[rank] += len(sequences[name])
        if rank == process.rank:
            own[name] = sequences[name]
    return {name: own[name] for name in sequences if name in own}


def own_device(device: str, process: Process) -> str:
    """``device``, with CUDA spread over the processes of one machine unless a GPU is named."""
    import torch

    if process.count == 1 or device not in ("auto", "cuda") or not torch.cuda.is_available():
        return device
    return f"cuda:{process.local_rank % torch.cuda.device_count()}"

"""Several processes that torchrun starts, each with a share of the sequences."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

#: Longest wait for the slowest process.
_PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class Process:
    """One of several processes.

    Attributes
    ----------
    rank : index of this process over all machines, 0 .. count - 1.
    count : number of processes on all machines.
    local_rank : index of this process on this machine, which selects its GPU.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0


def this_process() -> Process:
    """This process by torchrun's environment variables; without them, the only process."""
    return Process(
        *(int(os.environ.get(name, alone)) for name, alone in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0)))
    )


@contextmanager
def together(process: Process) -> Iterator[None]:
    """Set up ``torch.distributed`` (gloo, as only a few numbers are exchanged) if there are several processes."""
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
    """The sequences of this process. In order of length, each goes to the process with the fewest frames so far."""
    frames = [0] * process.count
    own = {}
    for name in sorted(sequences, key=lambda name: (-len(sequences[name]), name)):
        rank = frames.index(min(frames))
        frames[rank] += len(sequences[name])
        if rank == process.rank:
            own[name] = sequences[name]
    return {name: own[name] for name in sequences if name in own}


def own_device(device: str, process: Process) -> str:
    """``device``, or a GPU of its own for each process of a machine if ``device`` names none."""
    import torch

    if process.count == 1 or device not in ("auto", "cuda") or not torch.cuda.is_available():
        return device
    return f"cuda:{process.local_rank % torch.cuda.device_count()}"

"""An order of training frames that a resumed run can join in the middle."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import DataLoader, Sampler


class ContinuousSampler(Sampler):
    """Pairs (position, epoch) of shuffled frames, epoch after epoch, a function of the seed alone.

    One pass yields a whole training run, so no batch is cut short at an epoch's end, and a run resumed after n images
    yields what an uninterrupted one would have.

    Parameters
    ----------
    frames : number of frames in the data set.
    seed : of the order.
    length : images of the whole run, for this process.
    start : images of the run that are done, for this process.
    rank, world : this process among all.
    """

    def __init__(self, frames: int, seed: int, length: int, start: int = 0, rank: int = 0, world: int = 1) -> None:
        self.frames, self.seed, self.length, self.start = frames, seed, length, start
        self.rank, self.world = rank, world

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The pairs from ``start`` on."""
        order, current = None, -1
        for index in range(self.start, self.length):
            epoch, place = divmod(index * self.world + self.rank, self.frames)
            if epoch != current:
                order, current = np.random.default_rng((self.seed, epoch)).permutation(self.frames), epoch
            yield int(order[place]), epoch

    def __len__(self) -> int:
        # of the whole run: Lightning counts the batches done before a resume itself
        return self.length


def continuous_loader(loader: DataLoader, sampler: ContinuousSampler) -> DataLoader:
    """``loader`` (its data set, batch size, workers, collation) with another order of frames."""
    return DataLoader(
        loader.dataset,
        batch_size=loader.batch_size,
        sampler=sampler,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        drop_last=True,
        worker_init_fn=loader.worker_init_fn,
        persistent_workers=loader.persistent_workers,
    )

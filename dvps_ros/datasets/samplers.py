"""Samplers: which frames a process reads, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any, NamedTuple, cast

import numpy as np
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler


class Place(NamedTuple):
    """A frame's place in a training run. Its augmentation depends on nothing else but the seed.

    Attributes
    ----------
    position : index of the frame in its data set.
    epoch : number of complete passes over all frames before.
    batch : index of the batch in the run, the same in all processes; crops of a batch have one size.
    """

    position: int
    epoch: int
    batch: int = 0


class EpochSampler(DistributedSampler):
    """Places of this process in shuffled order, one epoch at a time.

    Parameters
    ----------
    dataset, *rest, **options : as for ``DistributedSampler``.
    batch_size : number of frames in one batch of this process.
    """

    def __init__(self, dataset: Dataset, batch_size: int, *rest: Any, **options: Any) -> None:
        super().__init__(dataset, *rest, **options)
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[Place]:
        """The places of one epoch. Lightning calls ``set_epoch`` before each."""
        first = self.epoch * -(-len(self) // self.batch_size)
        for number, position in enumerate(super().__iter__()):
            yield Place(position, self.epoch, first + number // self.batch_size)


class ShareSampler(DistributedSampler):
    """Every ``num_replicas``-th position in order: each frame exactly once. The parent class would repeat some.

    Both samplers derive from ``DistributedSampler`` so that Lightning does not replace them.
    """

    def __iter__(self) -> Iterator[int]:
        """The positions of this process."""
        return iter(self._share())

    def __len__(self) -> int:
        return len(self._share())

    def _share(self) -> range:
        return range(self.rank, len(cast("Sized", self.dataset)), self.num_replicas)


class ContinuousSampler(Sampler):
    """Places of shuffled frames, epoch after epoch, which depend on the seed only.

    One pass yields a whole training run, so no epoch ends with an incomplete batch. A run resumed after n images yields
    the same places as an uninterrupted one.

    Parameters
    ----------
    frames : number of frames in the data set.
    seed : seed of the order.
    length : number of images of the whole run, for this process.
    start : number of images of the run that are done, for this process.
    batch_size : number of images in one batch of this process.
    rank, world : index of this process, and number of processes.
    """

    def __init__(
        self,
        frames: int,
        seed: int,
        length: int,
        start: int = 0,
        batch_size: int = 1,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.frames, self.seed, self.length, self.start = frames, seed, length, start
        self.batch_size = batch_size
        self.rank, self.world = rank, world

    def __iter__(self) -> Iterator[Place]:
        """The places from ``start`` on."""
        order, current = np.zeros(0, np.int64), -1
        for index in range(self.start, self.length):
            epoch, place = divmod(index * self.world + self.rank, self.frames)
            if epoch != current:
                order, current = np.random.default_rng((self.seed, epoch)).permutation(self.frames), epoch
            yield Place(int(order[place]), epoch, index // self.batch_size)

    def __len__(self) -> int:
        # the length of the whole run: after a resume, Lightning subtracts the finished batches itself
        return self.length


def continuous_loader(loader: DataLoader, sampler: ContinuousSampler) -> DataLoader:
    """A loader with the data set, batch size, workers and collation of ``loader``, and the order of ``sampler``."""
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

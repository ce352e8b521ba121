"""The data of one training run: a torch data set of augmented frames, and Lightning's loaders for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from dvps_ros.config import Config
from dvps_ros.datasets.formats import open_split
from dvps_ros.datasets.frames import FrameReader, LabelledFrame, centered
from dvps_ros.datasets.targets import build_target
from dvps_ros.datasets.transforms import PADDING, apply_window, jitter_color, random_window, whole_window
from dvps_ros.labels import LABEL_SETS, VOID
from dvps_ros.structures import Target

Item = tuple[Tensor, Target]

#: So many samples in a row may be unreadable before the data set as a whole is called so.
_PATIENCE = 100
#: Side in pixels of what stands for an unreadable validation frame of unknown size.
_SMALL = 64


class SampleError(ValueError):
    """A sample that cannot be read; the message names the file."""


@dataclass(frozen=True)
class BrokenBatch:
    """In place of a batch: why there is none, so that it can be said without a loader process's traceback."""

    reason: str


class _Frames(Dataset):
    """Frames of one split, read as ``config`` says."""

    def __init__(self, reader: FrameReader, config: Config) -> None:
        self.reader = reader
        self.config = config

    def __len__(self) -> int:
        return len(self.reader)

    def __getitems__(self, keys: Sequence[Any]) -> list[Item | BrokenBatch]:
        """One batch's items, as loaders ask for them; a ``SampleError`` becomes a value."""
        try:
            return [self[key] for key in keys]
        except SampleError as error:
            return [BrokenBatch(str(error))]

    def _read(self, position: int) -> LabelledFrame:
        try:
            return self.reader.read(position, self.config.data.labels)
        except (ValueError, OSError) as error:
            raise SampleError(str(error)) from error

    def _target(self, frame: LabelledFrame) -> Target:
        return build_target(frame, self.reader.labels, self.config.network.canonical_focal)


class TrainingFrames(_Frames):
    """Augmented crops; item ``(position, epoch)`` is the same in every process and on every run of one seed.

    Each item is ``(image (3, H, W) uint8 RGB, Target)`` of the crop size in the configuration. A frame that cannot be
    read raises ``SampleError``, or with ``data.on_bad_sample: skip`` makes room for another one, drawn from the seed,
    whose target's ``skipped`` says why.
    """

    def __init__(self, reader: FrameReader, config: Config) -> None:
        super().__init__(reader, config)
        self._turns = {sequence: turn for turn, sequence in enumerate(reader.sequences())}

    def __getitem__(self, key: tuple[int, int]) -> Item:
        position, epoch = key
        data = self.config.data
        rng = np.random.default_rng((self.config.training.seed, epoch, position))
        frame, position, skipped = self._frame(position, epoch)
        if data.supervision == "thirds":
            frame = one_third(frame, self._turns[self.reader.files[position].sequence])
        window = random_window(*frame.image.shape[:2], data, rng)
        frame = apply_window(frame, window)
        image = jitter_color(frame.image, rng) if data.color_jitter else frame.image
        return _image_tensor(image), replace(self._target(frame), skipped=skipped)

    def _frame(self, position: int, epoch: int) -> tuple[LabelledFrame, int, tuple[str, ...]]:
        """The frame at ``position`` or what takes its place, the position of that, and why others were passed over."""
        skipped: list[str] = []
        for candidate in self._candidates(position, epoch):
            try:
                return self._read(candidate), candidate, tuple(skipped)
            except SampleError as error:
                if self.config.data.on_bad_sample == "error":
                    raise
                skipped.append(str(error))
        raise SampleError(f"{len(skipped)} samples in a row cannot be read, the last one: {skipped[-1]}")

    def _candidates(self, position: int, epoch: int) -> Iterator[int]:
        yield position
        # the 1 keeps these numbers apart from those of the augmentation
        order = np.random.default_rng((self.config.training.seed, epoch, position, 1)).permutation(len(self))
        yield from order[order != position][:_PATIENCE].tolist()


class ValidationFrames(_Frames):
    """Whole frames at the network's input size (the frame's own where the configuration says 0), not augmented.

    With ``data.on_bad_sample: skip`` a small black frame without labels, which counts for nothing, stands for one that
    cannot be read.
    """

    def __getitem__(self, position: int) -> Item:
        try:
            frame = self._read(position)
        except SampleError as error:
            if self.config.data.on_bad_sample == "error":
                raise
            return self._nothing(str(error))
        height, width = frame.image.shape[:2]
        size = (self.config.input.height or height, self.config.input.width or width)
        if size != (height, width):
            frame = apply_window(frame, whole_window(height, width, *size))
        return _image_tensor(frame.image), self._target(frame)

    def _nothing(self, reason: str) -> Item:
        height, width = (self.config.input.height or _SMALL, self.config.input.width or _SMALL)
        image = np.zeros((height, width, 3), np.uint8)
        frame = LabelledFrame(image, None, None, centered(self.config.data.focal, height, width), "")
        return _image_tensor(image), replace(self._target(frame), skipped=(reason,))


class EpochSampler(DistributedSampler):
    """Positions of this process in shuffled order, each with the epoch that seeds its augmentation."""

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Pairs (position, epoch); Lightning calls ``set_epoch``."""
        return ((position, self.epoch) for position in super().__iter__())


class ShareSampler(DistributedSampler):
    """Every ``num_replicas``-th position in order: each frame exactly once, where its parent class would repeat some.

    Both samplers derive from ``DistributedSampler`` so that Lightning leaves them as they are.
    """

    def __iter__(self) -> Iterator[int]:
        """Positions of this process."""
        return iter(self._share())

    def __len__(self) -> int:
        return len(self._share())

    def _share(self) -> range:
        return range(self.rank, len(self.dataset), self.num_replicas)


def one_third(frame: LabelledFrame, turn: int) -> LabelledFrame:
    """``frame`` with its panoptic label alone, its depth alone, or both, as ``turn`` is 0, 1 or 2 modulo 3.

    The set-up of incomplete labels of He et al., ICCV 2023, Table 5.
    """
    return (replace(frame, depth=None), replace(frame, panoptic=None), frame)[turn % 3]


def collate(items: Sequence[Item | BrokenBatch]) -> tuple[Tensor, list[Target]] | BrokenBatch:
    """Stack images (B, 3, H, W) uint8; smaller ones are padded on their right and below, there without any label."""
    if isinstance(items[0], BrokenBatch):
        return items[0]
    height = max(image.shape[1] for image, _ in items)
    width = max(image.shape[2] for image, _ in items)
    padded = [_pad(image, target, height, width) for image, target in items]
    return torch.stack([image for image, _ in padded]), [target for _, target in padded]


class DvpsData(lightning.LightningDataModule):
    """Loaders of the training and validation splits of ``config.data``.

    ``setup`` raises ``FileNotFoundError`` naming a folder that is missing or empty, ``ValueError`` when the data set's
    classes are not those of ``config.labels``, an image lacks its label, or there are fewer frames than one step of all
    processes needs. A batch with a broken sample raises ``SampleError`` when it is due.

    Parameters
    ----------
    config : of the run.
    processes : how many will train together.
    """

    def __init__(self, config: Config, processes: int = 1) -> None:
        super().__init__()
        self.config = config
        self.processes = processes
        self.train: TrainingFrames | None = None
        self.val: ValidationFrames | None = None

    def setup(self, stage: str | None = None) -> None:
        """Find the files of both splits (of ``val`` alone for the stages validate and test)."""
        if stage in (None, "fit"):
            self.train = TrainingFrames(self._open("train"), self.config)
            self._enough("training", self.train, self.config.training.batch_size)
        self.val = ValidationFrames(self._open("val"), self.config)
        self._enough("validation", self.val, 1)

    def val_labels(self) -> tuple[bool, bool]:
        """Whether any validation frame has a panoptic label, and whether any has depth (and they are to be used)."""
        labels, files = self.config.data.labels, self.val.reader.files
        has_panoptic = labels != "depth" and any(frame.panoptic for frame in files)
        return has_panoptic, labels != "panoptic" and any(frame.depth for frame in files)

    def on_before_batch_transfer(self, batch: Any, _: int) -> Any:
        """The batch as it is; ``SampleError`` naming the file of a broken one."""
        if isinstance(batch, BrokenBatch):
            hint = "" if self.config.data.on_bad_sample == "skip" else " (data.on_bad_sample=skip trains without it)"
            raise SampleError(batch.reason + hint)
        return batch

    def train_dataloader(self) -> DataLoader:
        """Shuffled, augmented, whole batches only; the order depends on the seed and the epoch alone."""
        return self._loader(
            self.train,
            sampler=EpochSampler(
                self.train, self._world(), self._rank(), seed=self.config.training.seed, drop_last=self._world() > 1
            ),
            drop_last=True,
        )

    def val_dataloader(self) -> DataLoader:
        """Every frame once, in order; with several processes each its share."""
        return self._loader(self.val, sampler=ShareSampler(self.val, self._world(), self._rank()), drop_last=False)

    def _loader(self, data: Dataset, **how: object) -> DataLoader:
        workers = self.config.data.workers
        return DataLoader(
            data,
            batch_size=self.config.training.batch_size,
            num_workers=workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
            worker_init_fn=_one_thread,
            **how,
        )

    def _open(self, split: str) -> FrameReader:
        reader = open_split(self.config.data, split)
        if reader.labels is not LABEL_SETS[self.config.labels]:
            raise ValueError(
                f"data format {self.config.data.format} has the classes of {reader.labels.name}, "
                f"labels says {self.config.labels}"
            )
        self._check_labels(reader, split)
        return reader

    def _check_labels(self, reader: FrameReader, split: str) -> None:
        data = self.config.data
        lacking = [(files.image, lack) for files in reader.files if (lack := files.lacks(data.labels))]
        if len(lacking) == len(reader) or (lacking and data.on_bad_sample == "error"):
            image, lack = lacking[0]
            more = f", nor have {len(lacking) - 1} other images of {split}" if len(lacking) > 1 else ""
            raise ValueError(f"{image}: {lack} (data.labels={data.labels}){more}")

    def _enough(self, what: str, frames: Dataset, batch: int) -> None:
        if len(frames) >= self.processes * batch:
            return
        share = f"one batch of {batch}" if batch > 1 else "one image"
        several = f" in each of {self.processes} processes" if self.processes > 1 else ""
        raise ValueError(f"{self.config.data.root}: {len(frames)} {what} frames are fewer than {share}{several}")

    def _world(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0


def _image_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _pad(image: Tensor, target: Target, height: int, width: int) -> Item:
    h, w = image.shape[1:]
    if (h, w) == (height, width):
        return image, target
    canvas = torch.tensor(PADDING, dtype=torch.uint8)[:, None, None].repeat(1, height, width)
    canvas[:, :h, :w] = image

    def extended(values: Tensor, fill: float) -> Tensor:
        return torch.nn.functional.pad(values, (0, width - w, 0, height - h), value=fill)

    return canvas, replace(
        target,
        masks=extended(target.masks, False),
        panoptic=extended(target.panoptic, VOID),
        depth=extended(target.depth, 0.0),
        labelled=extended(target.labelled, False),
    )


def _one_thread(worker: int) -> None:
    # the processes are the parallelism; OpenCV's own threads would fight them for the cores
    cv2.setNumThreads(0)

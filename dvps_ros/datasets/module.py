"""The data of one training run: a torch data set of augmented frames, and Lightning's loaders for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from dvps_ros.config import Config
from dvps_ros.datasets.formats import open_split
from dvps_ros.datasets.frames import FrameReader, LabelledFrame
from dvps_ros.datasets.targets import build_target
from dvps_ros.datasets.transforms import PADDING, apply_window, jitter_color, random_window, whole_window
from dvps_ros.labels import LABEL_SETS, VOID
from dvps_ros.structures import Target

Item = tuple[Tensor, Target]


class TrainingFrames(Dataset):
    """Augmented crops; item ``(position, epoch)`` is the same in every process and on every run of one seed.

    Each item is ``(image (3, H, W) uint8 RGB, Target)`` of the crop size in the configuration.
    """

    def __init__(self, reader: FrameReader, config: Config) -> None:
        self.reader = reader
        self.config = config
        self._turns = {sequence: turn for turn, sequence in enumerate(reader.sequences())}

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        position, epoch = key
        data = self.config.data
        rng = np.random.default_rng((self.config.training.seed, epoch, position))
        frame = self.reader[position]
        if data.supervision == "thirds":
            frame = one_third(frame, self._turns[self.reader.files[position].sequence])
        window = random_window(*frame.image.shape[:2], data, rng)
        frame = apply_window(frame, window)
        image = jitter_color(frame.image, rng) if data.color_jitter else frame.image
        target = build_target(frame, self.reader.labels, self.config.network.canonical_focal)
        return _image_tensor(image), target


class ValidationFrames(Dataset):
    """Whole frames at the network's input size (the frame's own where the configuration says 0), not augmented."""

    def __init__(self, reader: FrameReader, config: Config) -> None:
        self.reader = reader
        self.config = config

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, position: int) -> Item:
        frame = self.reader[position]
        height, width = frame.image.shape[:2]
        size = (self.config.input.height or height, self.config.input.width or width)
        if size != (height, width):
            frame = apply_window(frame, whole_window(height, width, *size))
        return _image_tensor(frame.image), build_target(frame, self.reader.labels, self.config.network.canonical_focal)


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


def collate(items: Sequence[Item]) -> tuple[Tensor, list[Target]]:
    """Stack images (B, 3, H, W) uint8; smaller ones are padded on their right and below, there without any label."""
    height = max(image.shape[1] for image, _ in items)
    width = max(image.shape[2] for image, _ in items)
    padded = [_pad(image, target, height, width) for image, target in items]
    return torch.stack([image for image, _ in padded]), [target for _, target in padded]


class DvpsData(lightning.LightningDataModule):
    """Loaders of the training and validation splits of ``config.data``.

    ``setup`` raises ``FileNotFoundError`` naming a folder that is missing or empty, ``ValueError`` when the data set's
    classes are not those of ``config.labels`` or there are fewer frames than one batch needs.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.train: TrainingFrames | None = None
        self.val: ValidationFrames | None = None

    def setup(self, stage: str | None = None) -> None:
        """Find the files of both splits (of ``val`` alone for the stages validate and test)."""
        if stage in (None, "fit"):
            self.train = TrainingFrames(self._open("train"), self.config)
            if len(self.train) < self.config.training.batch_size:
                raise ValueError(
                    f"{self.config.data.root}: {len(self.train)} training frames are fewer than one batch of "
                    f"{self.config.training.batch_size}"
                )
        self.val = ValidationFrames(self._open("val"), self.config)

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
        return reader

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

    return canvas, Target(
        classes=target.classes,
        masks=extended(target.masks, False),
        panoptic=extended(target.panoptic, VOID),
        depth=extended(target.depth, 0.0),
        has_panoptic=target.has_panoptic,
        has_depth=target.has_depth,
        labelled=extended(target.labelled, False),
        name=target.name,
    )


def _one_thread(worker: int) -> None:
    # the processes are the parallelism; OpenCV's own threads would fight them for the cores
    cv2.setNumThreads(0)

"""The data of one training run: its data sets, and Lightning's loaders for them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import cv2
import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from dvps_ros.config import Config, SourceConfig
from dvps_ros.config.crops import aspects
from dvps_ros.datasets.formats import open_source, training_sources, validation_sources
from dvps_ros.datasets.frames import FrameReader
from dvps_ros.datasets.items import BrokenBatch, SampleError, TrainingFrames, ValidationFrames, collate
from dvps_ros.datasets.mixture import Mixture, Part
from dvps_ros.datasets.samplers import EpochSampler, ShareSampler
from dvps_ros.labels import LABEL_SETS


class DvpsData(lightning.LightningDataModule):
    """Loaders of the training and validation splits of ``config.data``.

    ``setup`` raises ``FileNotFoundError`` naming a folder that is missing or empty. It raises ``ValueError`` if the
    data set's classes are not those of ``config.labels``, an image has no label, a range of ``config.data`` is empty,
    or the frames do not suffice for one step of all processes. A batch with a broken sample raises ``SampleError`` in
    its turn.

    Parameters
    ----------
    config : of the run.
    processes : number of training processes.
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
            aspects(self.config.data)
            self._check_thirds()
            self.train = TrainingFrames(self._open(training_sources(self.config.data), "train", False), self.config)
            self._enough("training", self.train, self.config.training.batch_size)
        self.val = ValidationFrames(self._open(validation_sources(self.config.data), "val", True), self.config)
        self._enough("validation", self.val, 1)

    def _check_thirds(self) -> None:
        sources = training_sources(self.config.data)
        if self.config.data.supervision == "thirds" and any(source.labels != "both" for source in sources):
            raise ValueError("data.supervision=thirds needs labels=both: it leaves out one kind of label itself")

    def val_labels(self) -> tuple[bool, bool, bool]:
        """Whether any validation frame has class labels, depth, and both, of those its source asks for."""
        kinds = {
            (s.labels != "depth" and bool(f.panoptic or f.semantic), s.labels != "panoptic" and bool(f.depth))
            for s, reader in self._val().frames.parts
            for f in reader.files
        }
        return any(classes for classes, _ in kinds), any(depth for _, depth in kinds), (True, True) in kinds

    def on_before_batch_transfer(self, batch: Any, _: int) -> Any:
        """The unchanged batch; raises ``SampleError`` naming the file of a broken one."""
        if isinstance(batch, BrokenBatch):
            hint = "" if self.config.data.on_bad_sample == "skip" else " (data.on_bad_sample=skip trains without it)"
            raise SampleError(batch.reason + hint)
        return batch

    def train_dataloader(self) -> DataLoader:
        """Shuffled, augmented, whole batches only; the order depends on the seed and the epoch alone."""
        assert self.train is not None, "setup comes first"
        return self._loader(
            self.train,
            sampler=EpochSampler(
                self.train,
                self.config.training.batch_size,
                self._world(),
                self._rank(),
                seed=self.config.training.seed,
                drop_last=self._world() > 1,
            ),
            drop_last=True,
        )

    def val_dataloader(self) -> DataLoader:
        """Every frame once, in order, or ``validate_batches`` frames spread over all; each process reads its share."""
        data, few = self._val(), self.config.training.validate_batches
        chosen: Dataset = data
        if 0 < few < len(data):
            chosen = Subset(data, np.linspace(0, len(data) - 1, few).round().astype(int).tolist())
        return self._loader(chosen, sampler=ShareSampler(chosen, self._world(), self._rank()), drop_last=False)

    def _val(self) -> ValidationFrames:
        assert self.val is not None, "setup comes first"
        return self.val

    def _loader(self, data: Dataset, **how: Any) -> DataLoader:
        workers = self.config.data.workers
        return DataLoader(
            data,
            batch_size=self.config.training.batch_size,
            num_workers=workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
            worker_init_fn=_start_worker,
            **how,
        )

    def _open(self, sources: Iterable[SourceConfig], split: str, whole: bool) -> Mixture:
        parts = [Part(source, self._open_source(source, split)) for source in sources]
        return Mixture(parts, self.config.training.seed, whole)

    def _open_source(self, source: SourceConfig, split: str) -> FrameReader:
        reader = open_source(source, split)
        if reader.labels is not LABEL_SETS[self.config.labels]:
            raise ValueError(
                f"data format {source.format} has the classes of {reader.labels.name}, labels is {self.config.labels}"
            )
        unlabelled = [
            (files.image, missing) for files in reader.files if (missing := files.missing_label(source.labels))
        ]
        if len(unlabelled) == len(reader) or (unlabelled and self.config.data.on_bad_sample == "error"):
            image, missing = unlabelled[0]
            more = f", nor have {len(unlabelled) - 1} other images of {split}" if len(unlabelled) > 1 else ""
            raise ValueError(f"{image}: {missing} (data.labels={source.labels}){more}")
        return reader

    def _enough(self, what: str, frames: TrainingFrames | ValidationFrames, batch: int) -> None:
        if len(frames) >= self.processes * batch:
            return
        share = f"one batch of {batch}" if batch > 1 else "one image"
        several = f" in each of {self.processes} processes" if self.processes > 1 else ""
        roots = ", ".join(part.source.root for part in frames.frames.parts)
        raise ValueError(f"{roots}: {len(frames)} {what} frames are fewer than {share}{several}")

    def _world(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0


def _start_worker(worker: int) -> None:
    # the loader's processes already use all cores; OpenCV's own threads would compete with them
    cv2.setNumThreads(0)
    # A terminal's Ctrl-C, `timeout` and batch systems signal the whole process group of a run. The loaders leave it,
    # because the training process completes its step first, and stops them itself.
    os.setpgid(0, 0)

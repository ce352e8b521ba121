"""Items of a training run: augmented crops and whole frames as tensors, and their collation to batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dvps_ros.camera.resizing import PADDING, resize
from dvps_ros.config import Config
from dvps_ros.config.crops import crop_size
from dvps_ros.datasets import appearance
from dvps_ros.datasets.formats import plain_source
from dvps_ros.datasets.frames import FrameReader, LabelledFrame, centered
from dvps_ros.datasets.mixture import Found, Mixture, Part
from dvps_ros.datasets.samplers import Place
from dvps_ros.datasets.targets import build_target
from dvps_ros.datasets.transforms import (
    apply_window,
    as_at_run_time,
    jitter_color,
    random_window,
    restore_padding,
    whole_window,
)
from dvps_ros.labels import LABEL_SETS, VOID, SemanticTable, identity_table
from dvps_ros.structures import Target

Item = tuple[Tensor, Target]

#: After this many unreadable samples in a row the data set is reported as unreadable.
_MAX_SKIPPED = 100
#: Side in pixels of the empty frame that replaces an unreadable validation frame.
_EMPTY_SIDE = 64


class SampleError(ValueError):
    """A sample that cannot be read; the message names the file."""


@dataclass(frozen=True)
class BrokenBatch:
    """Replaces a batch that could not be read.

    A value, not an exception: the loader process would add its traceback to the message.
    """

    reason: str


class _Frames(Dataset):
    """Frames of one split: those of a mixture, or of the single data set of ``config.data``."""

    def __init__(self, frames: Mixture | FrameReader, config: Config) -> None:
        if not isinstance(frames, Mixture):
            frames = Mixture([Part(plain_source(config.data), frames)], config.training.seed)
        self.frames = frames
        self.config = config

    def __len__(self) -> int:
        return len(self.frames)

    def __getitems__(self, keys: Sequence[Any]) -> list[Item | BrokenBatch]:
        """The items of one batch; a ``SampleError`` becomes a ``BrokenBatch``."""
        try:
            return [self[key] for key in keys]
        except SampleError as error:
            return [BrokenBatch(str(error))]

    def _read(self, position: int, epoch: int = 0) -> Found:
        try:
            return self.frames.read(position, epoch)
        except (ValueError, OSError) as error:
            raise SampleError(str(error)) from error

    def _target(self, frame: LabelledFrame, table: SemanticTable) -> Target:
        labels = LABEL_SETS[self.config.labels]
        return build_target(frame, labels, self.config.network.canonical_focal, table)


class TrainingFrames(_Frames):
    """Augmented crops. The item of a ``Place`` is the same in every process and in every run with the same seed.

    Each item is ``(image (3, H, W) uint8 RGB, Target)``; items of one batch have one size (``crop_size``). A frame that
    cannot be read raises ``SampleError``. With ``data.on_bad_sample: skip`` another frame, drawn from the seed,
    replaces it, and the target's ``skipped`` holds the reason.
    """

    def __getitem__(self, place: Place) -> Item:
        position, epoch, batch = Place(*place)
        data, seed = self.config.data, self.config.training.seed
        rng = np.random.default_rng((seed, epoch, position))
        # the 2 keeps these numbers apart from those of single frames
        crop = crop_size(data, np.random.default_rng((seed, batch, 0, 2)).random())
        (frame, table, turn), skipped = self._frame(position, epoch)
        if data.supervision == "thirds":
            frame = one_third(frame, turn)
        seen = as_at_run_time(frame, self.config.input.pixels)
        whole, window = frame.image.shape[:2], random_window(seen, crop, data, rng)
        frame = apply_window(frame, window)
        image = jitter_color(frame.image, rng) if data.color_jitter else frame.image
        image = restore_padding(appearance.vary(image, frame.depth, rng, data.appearance), whole, window)
        return _image_tensor(image), replace(self._target(frame, table), skipped=skipped)

    def _frame(self, position: int, epoch: int) -> tuple[Found, tuple[str, ...]]:
        """The frame at ``position`` or its replacement, and the errors of the frames that were skipped."""
        skipped: list[str] = []
        for candidate in self._candidates(position, epoch):
            try:
                return self._read(candidate, epoch), tuple(skipped)
            except SampleError as error:
                if self.config.data.on_bad_sample == "error":
                    raise
                skipped.append(str(error))
        raise SampleError(f"{len(skipped)} samples in a row cannot be read, the last one: {skipped[-1]}")

    def _candidates(self, position: int, epoch: int) -> Iterator[int]:
        yield position
        # the 1 keeps these numbers apart from those of the augmentation
        order = np.random.default_rng((self.config.training.seed, epoch, position, 1)).permutation(len(self))
        yield from order[order != position][:_MAX_SKIPPED].tolist()


class ValidationFrames(_Frames):
    """Whole frames, resized as at run time (``camera.resizing``), with their labels.

    With ``data.on_bad_sample: skip`` a small black frame without labels replaces one that cannot be read. It does not
    count in any measure.
    """

    def __getitem__(self, position: int) -> Item:
        try:
            frame, table, _ = self._read(position)
        except SampleError as error:
            if self.config.data.on_bad_sample == "error":
                raise
            return self._empty_item(str(error))
        seen = as_at_run_time(frame, self.config.input.pixels)
        image = resize(_image_tensor(frame.image)[None], seen)[0]
        return image, self._target(apply_window(frame, whole_window(seen)), table)

    def _empty_item(self, reason: str) -> Item:
        image = np.zeros((_EMPTY_SIDE, _EMPTY_SIDE, 3), np.uint8)
        frame = LabelledFrame(image, None, None, centered(1.0, _EMPTY_SIDE, _EMPTY_SIDE), "")
        return _image_tensor(image), replace(
            self._target(frame, identity_table(LABEL_SETS[self.config.labels])), skipped=(reason,)
        )


def one_third(frame: LabelledFrame, turn: int) -> LabelledFrame:
    """``frame`` with only its class labels, only its depth, or both: for ``turn`` modulo 3 of 0, 1 or 2.

    This is the experiment with incomplete labels of He et al., ICCV 2023, Table 5.
    """
    return (replace(frame, depth=None), replace(frame, panoptic=None, semantic=None), frame)[turn % 3]


def collate(items: Sequence[Item | BrokenBatch]) -> tuple[Tensor, list[Target]] | BrokenBatch:
    """Stack images to (B, 3, H, W) uint8. Smaller ones are padded at the right and bottom; padding is unlabelled."""
    if isinstance(items[0], BrokenBatch):
        return items[0]
    whole = [item for item in items if not isinstance(item, BrokenBatch)]
    height = max(image.shape[1] for image, _ in whole)
    width = max(image.shape[2] for image, _ in whole)
    padded = [_pad(image, target, height, width) for image, target in whole]
    return torch.stack([image for image, _ in padded]), [target for _, target in padded]


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
        labelled=None if target.labelled is None else extended(target.labelled, False),
        semantic=None if target.semantic is None else extended(target.semantic, -1),
    )

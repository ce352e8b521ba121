"""What every data set format gives: an index of files, and frames with labels read from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dvps_ros.datasets import png
from dvps_ros.labels import LabelSet
from dvps_ros.structures import Intrinsics


@dataclass(frozen=True)
class FrameFiles:
    """Where one frame lies.

    Attributes
    ----------
    sequence, frame : numbers of the sequence and of the frame inside it.
    name : what the file names share, without the kind at their end.
    image : path of the image.
    panoptic : paths of the panoptic label (SemKITTI-DVPS: class and instance); empty where there is none.
    depth : path of the depth label, or None.
    """

    sequence: int
    frame: int
    name: str
    image: Path
    panoptic: tuple[Path, ...] = ()
    depth: Path | None = None


@dataclass(frozen=True)
class LabelledFrame:
    """One frame with the labels it has.

    Attributes
    ----------
    image : (H, W, 3) uint8 RGB.
    panoptic : (H, W) int32, class * 1000 + instance, 255000 void; None without a label.
    depth : (H, W) float32 metres, 0 = no label; None without a label.
    intrinsics : the camera.
    name : where it came from.
    """

    image: np.ndarray
    panoptic: np.ndarray | None
    depth: np.ndarray | None
    intrinsics: Intrinsics
    name: str


class FrameReader(ABC):
    """One split of a data set: a sequence of labelled frames, by sequence and frame number.

    Attributes
    ----------
    labels : the class table of the format.
    files : where each frame lies.
    """

    labels: LabelSet

    def __init__(self, files: Sequence[FrameFiles]) -> None:
        self.files = list(files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, position: int) -> LabelledFrame:
        """Read one frame; ``ValueError`` naming a broken file, or a label of another size than the image."""
        files = self.files[position]
        image = self.image(files)
        height, width = image.shape[:2]
        panoptic = self.panoptic(files) if files.panoptic else None
        depth = None if files.depth is None else png.read_depth(files.depth)
        for label, path in ((panoptic, files.panoptic[:1]), (depth, (files.depth,))):
            if label is not None and label.shape != (height, width):
                raise ValueError(f"{path[0]}: size {label.shape} differs from the image's {(height, width)}")
        return LabelledFrame(image, panoptic, depth, self.intrinsics(files, height, width), files.name)

    def sequences(self) -> dict[int, list[int]]:
        """Positions of the frames of each sequence, in order."""
        result: dict[int, list[int]] = {}
        for position, files in enumerate(self.files):
            result.setdefault(files.sequence, []).append(position)
        return result

    def image(self, files: FrameFiles) -> np.ndarray:
        """(H, W, 3) uint8 RGB; ``ValueError`` naming a broken file."""
        return png.read_rgb(files.image)

    @abstractmethod
    def panoptic(self, files: FrameFiles) -> np.ndarray:
        """(H, W) int32 class * 1000 + instance, 255000 void, of a frame that has panoptic files."""

    @abstractmethod
    def intrinsics(self, files: FrameFiles, height: int, width: int) -> Intrinsics:
        """The camera of a frame whose image is ``height`` x ``width`` pixels."""


def centered(focal: float, height: int, width: int) -> Intrinsics:
    """A camera of which only the focal length in pixels is known: square pixels, principal point in the middle."""
    return Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)


def split_folder(root: Path, split: str) -> Path:
    """The folder of one split (``"train"`` or ``"val"``)."""
    return Path(root) / "video_sequence" / split

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

_DEPTH_LIMIT = np.iinfo(np.uint16).max


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

    def lacks(self, labels: str) -> str | None:
        """What this image lacks to be trained with ``labels`` (``"both"``, of which one is enough, ``"panoptic"`` or
        ``"depth"``), or None."""
        if labels == "both":
            return None if self.panoptic or self.depth else "has neither a panoptic nor a depth label"
        return None if (self.panoptic if labels == "panoptic" else self.depth) else f"has no {labels} label"

    def maps(self, labels: str = "both") -> tuple[Path, ...]:
        """Paths of those of its label files that belong to ``labels``."""
        return (() if labels == "depth" else self.panoptic) + (
            () if labels == "panoptic" or self.depth is None else (self.depth,)
        )


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
        """Read one frame; ids that the format does not know are void.

        ``ValueError`` naming a broken file, or a label of another size than the image.
        """
        return self._frame(self.files[position], "both", strict=False)

    def read(self, position: int, labels: str = "both") -> LabelledFrame:
        """Read one frame to train with: its ``labels`` alone (see ``FrameFiles.lacks``), and strictly.

        Raises ``ValueError`` or ``OSError`` naming the file where ``__getitem__`` does, and also for an image without
        its label, class ids out of range and depth at the format's limit.
        """
        files = self.files[position]
        if lack := files.lacks(labels):
            raise ValueError(f"{files.image}: {lack}")
        return self._frame(files, labels, strict=True)

    def _frame(self, files: FrameFiles, labels: str, strict: bool) -> LabelledFrame:
        image = self.image(files)
        height, width = image.shape[:2]
        maps = {path: png.read_values(path) for path in files.maps(labels)}
        for path, values in maps.items():
            if values.shape != (height, width):
                raise ValueError(f"{path}: size {values.shape} differs from the image's {(height, width)}")
            if strict and (fault := self.fault(files, path, values)):
                raise ValueError(f"{path}: {fault}")
        panoptic = [maps[path] for path in files.panoptic if path in maps]
        depth = maps.get(files.depth)
        return LabelledFrame(
            image,
            self.decode(files, panoptic) if panoptic else None,
            None if depth is None else png.metres(depth),
            self.intrinsics(files, height, width),
            files.name,
        )

    def fault(self, files: FrameFiles, path: Path, values: np.ndarray) -> str | None:
        """What no writer of the format means by ``values`` (H, W) of a label file ``path``, or None."""
        return depth_fault(values) if path == files.depth else self.class_fault(path, values)

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
    def decode(self, files: FrameFiles, values: Sequence[np.ndarray]) -> np.ndarray:
        """(H, W) int32 class * 1000 + instance, 255000 void, from the values of a frame's panoptic files."""

    @abstractmethod
    def class_fault(self, path: Path, values: np.ndarray) -> str | None:
        """What is wrong with the ids (H, W) in a panoptic file, or None."""

    @abstractmethod
    def intrinsics(self, files: FrameFiles, height: int, width: int) -> Intrinsics:
        """The camera of a frame whose image is ``height`` x ``width`` pixels."""


def out_of_range(what: str, ids: np.ndarray, allowed: np.ndarray) -> str | None:
    """Names the ``ids`` (H, W) where ``allowed`` is False, and how many pixels have them; None where there are none."""
    if allowed.all():
        return None
    bad = np.unique(ids[~allowed])
    some = ", ".join(map(str, bad[:5])) + (", ..." if bad.size > 5 else "")
    return f"{what} ids out of range: {some} ({np.count_nonzero(~allowed)} pixels)"


def depth_fault(values: np.ndarray) -> str | None:
    """What is wrong with a depth file's values (H, W), or None.

    The largest 16-bit value is no distance (it would be 255.996 m) but a measurement that was cut off, or a foreign "no
    label"; this project's writers leave such pixels unlabelled.
    """
    cut = np.count_nonzero(values == _DEPTH_LIMIT)
    return f"depth {_DEPTH_LIMIT}, the format's limit, at {cut} pixels" if cut else None


def centered(focal: float, height: int, width: int) -> Intrinsics:
    """A camera of which only the focal length in pixels is known: square pixels, principal point in the middle."""
    return Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)


def split_folder(root: Path, split: str) -> Path:
    """The folder of one split (``"train"`` or ``"val"``)."""
    return Path(root) / "video_sequence" / split

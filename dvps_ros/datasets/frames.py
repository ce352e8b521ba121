"""The interface of all data set formats: an index of files, and labelled frames read from them."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dvps_ros.datasets import class_labels, png
from dvps_ros.datasets.class_labels import ClassLabels
from dvps_ros.datasets.order import numbered
from dvps_ros.labels import VOID_CLASS, LabelSet, SemanticTable, identity_table
from dvps_ros.structures import Intrinsics

_DEPTH_LIMIT = np.iinfo(np.uint16).max
_FEW_BITS = "{} bits, depth has 16 (metres * 256)"
#: The ratio of the sides of a camera and of its image may differ by this share, from rounding.
_SAME_SHAPE = 0.02
#: From the name of a frame to the paths of its panoptic label (empty: none) and of its depth label (None: none).
FindLabels = Callable[[str], tuple[tuple[Path, ...], Path | None]]


@dataclass(frozen=True)
class FrameFiles:
    """The files of one frame.

    Attributes
    ----------
    sequence, frame : numbers of the sequence and of the frame inside it.
    name : the common part of the file names, without the kind at their end.
    image : path of the image.
    panoptic : paths of the panoptic label (SemKITTI-DVPS: class and instance); empty where there is none.
    depth : path of the depth label, or None.
    semantic : path of the label of classes without instances, or None.
    """

    sequence: int
    frame: int
    name: str
    image: Path
    panoptic: tuple[Path, ...] = ()
    depth: Path | None = None
    semantic: Path | None = None

    def missing_label(self, labels: str) -> str | None:
        """A message about the label that this frame lacks for training with ``labels``, or None.

        ``labels`` is ``"panoptic"``, ``"depth"`` or ``"both"``; for both, one of them is enough. A semantic label
        counts as a panoptic one.
        """
        has_classes = bool(self.panoptic) or self.semantic is not None
        if labels == "both":
            return None if has_classes or self.depth else "has neither a panoptic nor a depth label"
        return None if (has_classes if labels == "panoptic" else self.depth) else f"has no {labels} label"

    def maps(self, labels: str = "both") -> tuple[Path, ...]:
        """Paths of its label files that ``labels`` (see ``missing_label``) includes."""
        classes = () if labels == "depth" else (*self.panoptic, self.semantic)
        depth = () if labels == "panoptic" else (self.depth,)
        return tuple(path for path in (*classes, *depth) if path is not None)


@dataclass(frozen=True)
class LabelledFrame:
    """One frame with the labels it has.

    Attributes
    ----------
    image : (H, W, 3) uint8 RGB.
    panoptic : (H, W) int32, class * 1000 + instance, 255000 void; None without a label of classes.
    depth : (H, W) float32 metres, 0 = no label; None without a label.
    intrinsics : the camera.
    name : common part of its file names.
    semantic, segmented : see ``ClassLabels``.
    """

    image: np.ndarray
    panoptic: np.ndarray | None
    depth: np.ndarray | None
    intrinsics: Intrinsics
    name: str
    semantic: np.ndarray | None = None
    segmented: frozenset[int] | None = None


class FrameReader(ABC):
    """One split of a data set: a sequence of labelled frames, by sequence and frame number.

    Attributes
    ----------
    labels : the class table of the format.
    files : where each frame lies.
    focal : fx in pixels for cameras that the data set does not give.
    focal_widths : the same in image widths; it replaces ``focal`` unless it is 0.
    table : meaning of the rows of a frame's ``semantic`` map; each class has a row of its own.
    """

    labels: LabelSet
    focal: float
    focal_widths: float = 0.0

    @property
    def table(self) -> SemanticTable:
        """The table of ``semantic`` maps; in formats without one, each class is its own row."""
        return identity_table(self.labels)

    def __init__(self, files: Sequence[FrameFiles], focal: float) -> None:
        self.files = list(files)
        self.focal = focal

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, position: int) -> LabelledFrame:
        """Read one frame; ids that the format does not define become void.

        Raises ``ValueError`` naming a broken file, or a label of another size than the image.
        """
        return self._frame(self.files[position], "both", strict=False)

    def read(self, position: int, labels: str = "both") -> LabelledFrame:
        """Read one frame for training, with ``labels`` only (see ``FrameFiles.missing_label``) and strict checks.

        Raises ``ValueError`` or ``OSError`` naming the file as ``__getitem__`` does. Raises ``ValueError`` also for a
        missing label, class ids out of range and depth at the format's limit.
        """
        files = self.files[position]
        if missing := files.missing_label(labels):
            raise ValueError(f"{files.image}: {missing}")
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
        decoded = self.decode(files, maps)
        depth = None if files.depth is None else maps.get(files.depth)
        if files.depth is not None and depth is not None and png.bits(files.depth) != 16:
            raise ValueError(f"{files.depth}: {_FEW_BITS.format(png.bits(files.depth))}")
        return LabelledFrame(
            image,
            None if decoded is None else decoded.panoptic,
            None if depth is None else png.metres(depth),
            self.intrinsics(files, height, width),
            files.name,
            None if decoded is None else decoded.semantic,
            None if decoded is None else decoded.segmented,
        )

    def decode(self, files: FrameFiles, maps: Mapping[Path, np.ndarray]) -> ClassLabels | None:
        """Class labels from a frame's label files; None if none of them holds classes.

        ``maps`` are the (H, W) values of the files that were read. Raises ``ValueError`` naming a semantic label that
        contradicts the panoptic one.
        """
        values = [maps[path] for path in files.panoptic if path in maps]
        panoptic = self.decode_panoptic(files, values) if values else None
        if files.semantic is None or files.semantic not in maps:
            return panoptic
        semantic = class_labels.from_values(maps[files.semantic], self.table)
        if panoptic is None:
            return semantic
        if wrong := class_labels.disagreement(panoptic, semantic, self.table):
            raise ValueError(f"{files.semantic}: {wrong}")
        return class_labels.joined(panoptic, semantic)

    def fault(self, files: FrameFiles, path: Path, values: np.ndarray) -> str | None:
        """A message about invalid ``values`` (H, W) in the label file ``path``, or None."""
        if path == files.depth:
            return depth_fault(values) if png.bits(path) == 16 else _FEW_BITS.format(png.bits(path))
        return self.value_fault(values) if path == files.semantic else self.class_fault(path, values)

    def value_fault(self, values: np.ndarray) -> str | None:
        """A message about the (H, W) values of a semantic file that the table lacks, or None."""
        known = np.isin(values, [*self.table.values, VOID_CLASS])
        return out_of_range("label values without a class in the table:", values, known)

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
    def decode_panoptic(self, files: FrameFiles, values: Sequence[np.ndarray]) -> ClassLabels:
        """Segments, and classes without segments, from the values (H, W) of a frame's panoptic files."""

    @abstractmethod
    def class_fault(self, path: Path, values: np.ndarray) -> str | None:
        """A message about invalid ids (H, W) in a panoptic file, or None."""

    def sequence_name(self, files: FrameFiles) -> str:
        """Name of a frame's sequence: its number in six digits, or its folder."""
        return f"{files.sequence:06d}"

    def camera_unknown(self, height: int, width: int) -> Intrinsics:
        """A camera of the given focal length for an image of ``height`` x ``width`` pixels, centered."""
        return centered(self.focal_widths * width if self.focal_widths else self.focal, height, width)

    @abstractmethod
    def has_camera(self, files: FrameFiles) -> bool:
        """Whether the data set gives the focal length of a frame's camera."""

    @abstractmethod
    def intrinsics(self, files: FrameFiles, height: int, width: int) -> Intrinsics:
        """The camera of a frame whose image is ``height`` x ``width`` pixels."""


def out_of_range(what: str, ids: np.ndarray, allowed: np.ndarray) -> str | None:
    """A message with the ``ids`` (H, W) that are not ``allowed`` (H, W) and their number of pixels; None if all are."""
    if allowed.all():
        return None
    bad = np.unique(ids[~allowed])
    some = ", ".join(map(str, bad[:5])) + (", ..." if bad.size > 5 else "")
    return f"{what} {some} ({np.count_nonzero(~allowed)} pixels)"


def depth_fault(values: np.ndarray) -> str | None:
    """A message about invalid values (H, W) of a depth file, or None.

    The largest 16-bit value (255.996 m) is not a distance: a writer clipped the measurement, or used it for "no label".
    This project's writers leave such pixels unlabelled.
    """
    cut = np.count_nonzero(values == _DEPTH_LIMIT)
    return f"depth {_DEPTH_LIMIT}, the format's limit, at {cut} pixels" if cut else None


def of_size(camera: Intrinsics, height: int, width: int, name: str) -> Intrinsics:
    """The camera at the size of its image ``name``; raises ``ValueError`` if its sides have another ratio."""
    if (camera.width, camera.height) == (width, height):
        return camera
    if abs(width * camera.height / (height * camera.width) - 1) > _SAME_SHAPE:
        raise ValueError(
            f"{name}: the camera is {camera.width}x{camera.height}, the image {width}x{height}: not its size"
        )
    return camera.resized(width, height)


def centered(focal: float, height: int, width: int) -> Intrinsics:
    """A camera with this focal length in pixels, square pixels and the principal point at the image's center."""
    return Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)


def split_folder(root: Path, split: str) -> Path:
    """The folder of one split (``"train"`` or ``"val"``)."""
    return Path(root) / "video_sequence" / split


def index_split(
    root: Path,
    split: str,
    pattern: re.Pattern[str],
    kind: str,
    find_labels: Callable[[Path, set[str]], FindLabels],
) -> list[FrameFiles]:
    """All frames of a split that have an image, by sequence and frame number.

    Parameters
    ----------
    root, split : see ``split_folder``.
    pattern : matches the names of images; has the groups ``name``, ``sequence`` and ``frame``.
    kind : end of the names of images, before ``.png``.
    find_labels : called once with the folder and the names of its files; returns the function that finds the labels of
        a frame.

    Raises ``FileNotFoundError`` naming a folder that is missing or has no image. Raises ``ValueError`` naming an image
    whose name lacks a sequence or frame number, or has the same numbers as another image.
    """
    folder = split_folder(root, split)
    if not folder.is_dir():
        raise FileNotFoundError(f"no data set folder {folder}")
    present = {path.name for path in folder.iterdir()}
    labels_of = find_labels(folder, present)
    frames = []
    for match in numbered(folder, present, pattern, f"_{kind}.png"):
        panoptic, depth = labels_of(match["name"])
        numbers = int(match["sequence"]), int(match["frame"])
        frames.append(FrameFiles(*numbers, match["name"], folder / match.group(), panoptic, depth))
    if not frames:
        raise FileNotFoundError(f"no *_{kind}.png in data set folder {folder}")
    return frames

"""The SemKITTI-DVPS format (Qiao et al., ViP-DeepLab, CVPR 2021): reader and writer.

``root/video_sequence/{train,val}/SSSSSS_FFFFFF_<kind>.png``, kind one of ``leftImg8bit`` (RGB), ``gtFine_class`` (train
id, void 255), ``gtFine_instance`` and ``depth_<focal>`` (16 bit, metres * 256, 0 = no label; the focal length in pixels
is part of the name). Labels come from projected LiDAR points, so most pixels have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from dvps_ros.datasets import class_labels, png
from dvps_ros.datasets.class_labels import ClassLabels
from dvps_ros.datasets.frames import FindLabels, FrameFiles, FrameReader, centered, index_split, out_of_range
from dvps_ros.datasets.instance_numbers import renumber
from dvps_ros.labels import DIVISOR, SEMKITTI, VOID, VOID_CLASS
from dvps_ros.structures import Intrinsics

IMAGE, CLASS, INSTANCE = "leftImg8bit", "gtFine_class", "gtFine_instance"

_IMAGE_NAME = re.compile(r"(?P<name>(?P<sequence>\d+)_(?P<frame>\d+))_" + IMAGE + r"\.png")
_DEPTH_NAME = re.compile(r"(?P<name>\d+_\d+)_depth_(?P<focal>\d+(?:\.\d+)?)\.png")


def index(root: Path, split: str) -> list[FrameFiles]:
    """All frames of a split that have an image; label files that do not exist are None. Raises as ``index_split``."""
    return index_split(root, split, _IMAGE_NAME, IMAGE, _find_labels)


def _find_labels(folder: Path, present: set[str]) -> FindLabels:
    # the focal length in the name of a depth file is not known in advance
    depth = {match["name"]: folder / match.group() for match in map(_DEPTH_NAME.fullmatch, sorted(present)) if match}

    def find(name: str) -> tuple[tuple[Path, ...], Path | None]:
        panoptic = tuple(f"{name}_{kind}.png" for kind in (CLASS, INSTANCE))
        both = present.issuperset(panoptic)  # one of the two files alone is not a label
        return tuple(folder / file for file in panoptic) if both else (), depth.get(name)

    return find


def join_labels(classes: np.ndarray, instances: np.ndarray, numbers: Mapping[int, int] | None = None) -> np.ndarray:
    """Class and instance maps (H, W) to (H, W) int32, class * 1000 + instance, void 255000, stuff without instances.

    Parameters
    ----------
    classes, instances : (H, W) int, as in the files.
    numbers : instance number below 1000 for each ``pair`` of class and instance, from ``pair_numbers`` of the sequence;
        None: computed from this frame only.
    """
    classes = np.where(classes < len(SEMKITTI), classes, VOID_CLASS)
    is_thing = np.zeros(VOID_CLASS + 1, bool)
    is_thing[list(SEMKITTI.things)] = True
    instances = np.where(is_thing[classes], instances, 0)
    if instances.size and instances.max() >= DIVISOR:
        pairs, index = np.unique(pair(classes, instances), return_inverse=True)
        numbers = pair_numbers([pairs]) if numbers is None else numbers
        instances = np.array([numbers.get(int(p), 0) for p in pairs])[index.reshape(instances.shape)]
    return (classes * DIVISOR + instances).astype(np.int32)


def pair(classes: np.ndarray, instances: np.ndarray) -> np.ndarray:
    """One number for a class and an instance, both ints of any shape."""
    return classes.astype(np.int64) << 16 | instances


def pair_numbers(frames: Iterable[np.ndarray]) -> dict[int, int]:
    """Instance numbers below 1000 by ``pair``, from the pairs (N,) of each frame of a sequence, in order.

    The format numbers instances through a whole sequence and over all classes. Numbers of things above 999 are replaced
    such that each tube of a sequence keeps one number. Raises ``ValueError`` as ``renumber``.
    """
    spans: dict[int, dict[int, tuple[int, int]]] = {}
    for time, pairs in enumerate(frames):
        for value in np.unique(pairs).tolist():
            class_id, instance = value >> 16, value & 0xFFFF
            if instance and class_id < len(SEMKITTI) and SEMKITTI.is_thing[class_id]:
                of_class = spans.setdefault(class_id, {})
                of_class[instance] = (of_class.get(instance, (time, time))[0], time)
    return {
        class_id << 16 | instance: number
        for class_id, of_class in spans.items()
        for instance, number in renumber(of_class).items()
    }


def focal_of(depth: Path) -> float | None:
    """The focal length in pixels in a depth file's name, or None."""
    match = _DEPTH_NAME.fullmatch(depth.name)
    return float(match["focal"]) if match else None


def write_frame(
    folder: Path,
    sequence: int,
    frame: int,
    rgb: np.ndarray,
    panoptic: np.ndarray | None,
    depth: np.ndarray | None,
    focal: float,
) -> None:
    """Write one frame into a split's folder, each file atomically, the image last.

    Parameters
    ----------
    rgb : (H, W, 3) uint8.
    panoptic : (H, W) int, class * 1000 + instance, 255000 void; None writes no label.
    depth : (H, W) metres, 0 = no label; None writes no label.
    focal : fx in pixels, for the depth file's name.

    Raises
    ------
    ValueError : sizes differ.
    """
    for label, what in ((panoptic, "panoptic"), (depth, "depth")):
        if label is not None and label.shape != rgb.shape[:2]:
            raise ValueError(f"{what} label of size {label.shape} for an image of size {rgb.shape[:2]}")
    folder, name = Path(folder), f"{sequence:06d}_{frame:06d}"
    if panoptic is not None:
        instances = np.where(panoptic == VOID, 0, panoptic % DIVISOR)
        png.write(folder / f"{name}_{CLASS}.png", (panoptic // DIVISOR).astype(np.uint8))
        png.write(folder / f"{name}_{INSTANCE}.png", instances.astype(np.uint16))
    if depth is not None:
        png.write(folder / f"{name}_depth_{float(focal)}.png", png.encode_depth(depth))
    png.write(folder / f"{name}_{IMAGE}.png", rgb)


class SemkittiDvps(FrameReader):
    """A split of this format; the camera's focal length comes from the depth file's name.

    Parameters
    ----------
    root : the folder that holds ``video_sequence``.
    split : ``"train"`` or ``"val"``.
    focal : fx in pixels for frames without a depth file.

    Raises
    ------
    FileNotFoundError : naming a folder that is missing or holds no image.
    ValueError : naming an image that ``index`` refuses.
    """

    labels = SEMKITTI

    def __init__(self, root: Path, split: str, focal: float) -> None:
        super().__init__(index(root, split), focal)
        self._numbers: dict[int, dict[int, int]] = {}

    def decode_panoptic(self, files: FrameFiles, values: Sequence[np.ndarray]) -> ClassLabels:
        """Class labels from the class and instance maps (H, W); a thing with instance 0 has no instance.

        Raises ``ValueError`` naming the file when the two maps differ in size.
        """
        classes, instances = values
        if classes.shape != instances.shape:
            raise ValueError(f"{files.panoptic[1]}: size {instances.shape} differs from the class map's")
        numbers = self._numbers_of(files.sequence) if instances.max(initial=0) >= DIVISOR else None
        return class_labels.from_panoptic(join_labels(classes, instances, numbers), instances == 0, self.table)

    def _numbers_of(self, sequence: int) -> dict[int, int]:
        """The sequence's instance numbers, read once from all its label files, and only if a number exceeds 999."""
        if sequence not in self._numbers:
            frames = [files for files in self.files if files.sequence == sequence and files.panoptic]
            self._numbers[sequence] = pair_numbers(map(_pairs_of, frames))
        return self._numbers[sequence]

    def class_fault(self, path: Path, values: np.ndarray) -> str | None:
        """A message about (H, W) class ids that are neither a class nor void, or None; any instance number is valid."""
        if path.name.endswith(f"{INSTANCE}.png"):
            return None
        return out_of_range("class ids out of range:", values, (values < len(self.labels)) | (values == VOID_CLASS))

    def has_camera(self, files: FrameFiles) -> bool:
        """Whether the frame has a depth file, whose name holds the focal length."""
        return files.depth is not None

    def intrinsics(self, files: FrameFiles, height: int, width: int) -> Intrinsics:
        """The focal length in the file name; the principal point, which the format lacks, is the image's center."""
        focal = None if files.depth is None else focal_of(files.depth)
        return self.camera_unknown(height, width) if focal is None else centered(focal, height, width)


def _pairs_of(files: FrameFiles) -> np.ndarray:
    try:
        return np.unique(pair(*(png.read_values(path) for path in files.panoptic)))
    except (ValueError, OSError):  # reported when this frame itself is read
        return np.empty(0, np.int64)

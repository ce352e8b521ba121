"""The SemKITTI-DVPS format (Qiao et al., ViP-DeepLab, CVPR 2021): reader and writer.

``root/video_sequence/{train,val}/SSSSSS_FFFFFF_<kind>.png``, kind one of ``leftImg8bit`` (RGB), ``gtFine_class`` (train
id, void 255), ``gtFine_instance`` and ``depth_<focal>`` (16 bit, metres * 256, 0 = no label; the focal length in pixels
is part of the name). Labels come from projected LiDAR points: most pixels have none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dvps_ros.datasets import png
from dvps_ros.datasets.frames import FrameFiles, FrameReader, centered, out_of_range, split_folder
from dvps_ros.labels import DIVISOR, SEMKITTI, VOID, VOID_CLASS
from dvps_ros.structures import Intrinsics

IMAGE, CLASS, INSTANCE = "leftImg8bit", "gtFine_class", "gtFine_instance"

_IMAGE_NAME = re.compile(r"(?P<name>(?P<sequence>\d{6})_(?P<frame>\d{6}))_" + IMAGE + r"\.png")
_DEPTH_NAME = re.compile(r"(?P<name>\d{6}_\d{6})_depth_(?P<focal>\d+(?:\.\d+)?)\.png")


def index(root: Path, split: str) -> list[FrameFiles]:
    """All frames of a split that have an image, by sequence and frame; label files that do not exist are left out.

    Raises ``FileNotFoundError`` naming the folder that is missing or has no image.
    """
    folder = split_folder(root, split)
    if not folder.is_dir():
        raise FileNotFoundError(f"no data set folder {folder}")
    present = {path.name for path in folder.iterdir()}
    depth = {match["name"]: folder / match.group() for match in map(_DEPTH_NAME.fullmatch, sorted(present)) if match}
    frames = []
    for match in filter(None, map(_IMAGE_NAME.fullmatch, sorted(present))):
        name = match["name"]
        panoptic = tuple(f"{name}_{kind}.png" for kind in (CLASS, INSTANCE))
        frames.append(
            FrameFiles(
                sequence=int(match["sequence"]),
                frame=int(match["frame"]),
                name=name,
                image=folder / match.group(),
                # one of the two is no label
                panoptic=tuple(folder / file for file in panoptic) if present.issuperset(panoptic) else (),
                depth=depth.get(name),
            )
        )
    if not frames:
        raise FileNotFoundError(f"no *_{IMAGE}.png in data set folder {folder}")
    return frames


def join_labels(classes: np.ndarray, instances: np.ndarray) -> np.ndarray:
    """Class and instance maps (H, W) to class * 1000 + instance (int32), void 255000, stuff without instances.

    Instance numbers count through a whole sequence; those above 999 start again at 0.
    """
    classes = np.where(classes < len(SEMKITTI), classes, VOID_CLASS)
    is_thing = np.zeros(VOID_CLASS + 1, bool)
    is_thing[list(SEMKITTI.things)] = True
    return (classes * DIVISOR + np.where(is_thing[classes], instances % DIVISOR, 0)).astype(np.int32)


def focal_of(depth: Path) -> float | None:
    """The focal length in pixels that a depth file's name gives, or None."""
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
    """Write one frame into a split's folder, each file whole or not at all, the image last.

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
    """

    labels = SEMKITTI

    def __init__(self, root: Path, split: str, focal: float) -> None:
        super().__init__(index(root, split))
        self.focal = focal

    def decode(self, files: FrameFiles, values: Sequence[np.ndarray]) -> np.ndarray:
        """(H, W) int32, see ``join_labels``; ``ValueError`` naming the file when the two maps differ in size."""
        classes, instances = values
        if classes.shape != instances.shape:
            raise ValueError(f"{files.panoptic[1]}: size {instances.shape} differs from the class map's")
        return join_labels(classes, instances)

    def class_fault(self, path: Path, values: np.ndarray) -> str | None:
        """Names those of (H, W) class ids that are neither a class nor void; any instance number is allowed."""
        if path.name.endswith(f"{INSTANCE}.png"):
            return None
        return out_of_range("class", values, (values < len(self.labels)) | (values == VOID_CLASS))

    def intrinsics(self, files: FrameFiles, height: int, width: int) -> Intrinsics:
        """The focal length of the file name, principal point in the middle (the format does not tell it)."""
        focal = None if files.depth is None else focal_of(files.depth)
        return centered(self.focal if focal is None else focal, height, width)

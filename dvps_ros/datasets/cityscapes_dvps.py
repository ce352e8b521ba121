"""The Cityscapes-DVPS format (Qiao et al., ViP-DeepLab, CVPR 2021): index, reader and writer.

``root/video_sequence/{train,val}/SSSSSS_FFFFFF_<city>_<sequence>_<frame>_<kind>.png``, kind one of ``leftImg8bit``
(RGB), ``gtFine_instanceTrainIds`` (16 bit panoptic) and ``depth`` (16 bit, metres * 256, 0 = no label). This project
adds an optional file ``cameras.json``: ``{"SSSSSS": {"fx", "fy", "cx", "cy", "width", "height"}}``. For a lens with
distortion it also holds ``"distortion_model"`` and ``"distortion"``, as in sensor_msgs/CameraInfo.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dvps_ros.datasets import class_labels, png
from dvps_ros.datasets.cameras_file import check_camera
from dvps_ros.datasets.class_labels import ClassLabels
from dvps_ros.datasets.frames import (
    FindLabels,
    FrameFiles,
    FrameReader,
    index_split,
    of_size,
    out_of_range,
    split_folder,
)
from dvps_ros.files import write_bytes
from dvps_ros.labels import CITYSCAPES, DIVISOR, VOID, VOID_CLASS
from dvps_ros.structures import Intrinsics

IMAGE, PANOPTIC, DEPTH = "leftImg8bit", "gtFine_instanceTrainIds", "depth"
#: Void of the class * 1000 + instance encoding; the other encoding's is 255.
FILE_VOID = 32 * DIVISOR

_NAME = re.compile(r"(?P<name>(?P<sequence>\d+)_(?P<frame>\d+)_.+)_" + IMAGE + r"\.png")


def index(root: Path, split: str) -> list[FrameFiles]:
    """All frames of a split that have an image; label files that do not exist are None. Raises as ``index_split``."""
    return index_split(root, split, _NAME, IMAGE, _find_labels)


def _find_labels(folder: Path, present: set[str]) -> FindLabels:
    def find(name: str) -> tuple[tuple[Path, ...], Path | None]:
        panoptic, depth = (f"{name}_{kind}.png" for kind in (PANOPTIC, DEPTH))
        return (folder / panoptic,) if panoptic in present else (), folder / depth if depth in present else None

    return find


def decode_panoptic(values: np.ndarray) -> np.ndarray:
    """Both published encodings to class * 1000 + instance, (H, W) int32.

    A value below 1000 is a class without an instance (stuff, or 255 void). Other values are class * 1000 + instance.
    Classes above 18 are void.
    """
    values = values.astype(np.int32)
    panoptic = np.where(values < DIVISOR, values * DIVISOR, values)
    return np.where(panoptic >= len(CITYSCAPES) * DIVISOR, VOID, panoptic).astype(np.int32)


def encode_panoptic(panoptic: np.ndarray) -> np.ndarray:
    """(H, W) class * 1000 + instance to the 16-bit file values, void 32000, stuff without instance numbers.

    Raises ``ValueError`` naming an id that is negative, or neither void nor of a known class.
    """
    panoptic = np.asarray(panoptic)
    void = panoptic >= VOID
    bad = (panoptic < 0) | (~void & (panoptic >= len(CITYSCAPES) * DIVISOR))
    if bad.any():
        raise ValueError(f"panoptic id {int(panoptic[bad][0])} has no Cityscapes class")
    is_thing = np.array([*CITYSCAPES.is_thing, False])[np.where(void, len(CITYSCAPES), panoptic // DIVISOR)]
    # a value below 1000 would be read as a class by itself
    return np.where(void, FILE_VOID, np.where(is_thing, panoptic, panoptic // DIVISOR * DIVISOR)).astype(np.uint16)


def write_frame(
    folder: Path,
    sequence: int,
    frame: int,
    rgb: np.ndarray,
    panoptic: np.ndarray | None,
    depth: np.ndarray | None,
    city: str = "street",
) -> None:
    """Write one frame into a split's folder (``split_folder``), each file atomically, the image last.

    Parameters
    ----------
    folder : created when missing.
    sequence, frame : numbers, 0..999999.
    rgb : (H, W, 3) uint8.
    panoptic : (H, W) int, class * 1000 + instance, 255000 void; None writes no label.
    depth : (H, W) metres, 0 = no label; None writes no label.

    Raises
    ------
    ValueError : sizes differ, a number does not fit the file name, or an id is of no class.
    """
    if not (0 <= sequence < 10**6 and 0 <= frame < 10**6):
        raise ValueError(f"sequence {sequence}, frame {frame}: file names hold six digits each")
    for label, what in ((panoptic, "panoptic"), (depth, "depth")):
        if label is not None and label.shape != rgb.shape[:2]:
            raise ValueError(f"{what} label of size {label.shape} for an image of size {rgb.shape[:2]}")
    stem = Path(folder) / f"{sequence:06d}_{frame:06d}_{city}_{sequence:06d}_{frame:06d}"
    if panoptic is not None:
        png.write(stem.with_name(f"{stem.name}_{PANOPTIC}.png"), encode_panoptic(panoptic))
    if depth is not None:
        png.write(stem.with_name(f"{stem.name}_{DEPTH}.png"), png.encode_depth(depth))
    # readers find a frame by its image, so the image comes after its labels
    png.write(stem.with_name(f"{stem.name}_{IMAGE}.png"), rgb)


def write_cameras(folder: Path, cameras: Mapping[int, Intrinsics]) -> None:
    """Add cameras (by sequence number) to a split's ``cameras.json``; those of other sequences stay.

    Several processes may write the sequences of one split at the same time.
    """
    path = Path(folder) / "cameras.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):
        rows = _read_json(path) if path.is_file() else {}
        rows.update({f"{sequence:06d}": _row(camera) for sequence, camera in cameras.items()})
        write_bytes(path, (json.dumps(dict(sorted(rows.items())), indent=1) + "\n").encode())


def read_cameras(folder: Path) -> dict[int, Intrinsics]:
    """Cameras by sequence number from ``cameras.json``; empty if there is none.

    Raises ``ValueError`` naming the file and its fault.
    """
    path = Path(folder) / "cameras.json"
    if not path.is_file():
        return {}
    try:
        cameras = {
            int(sequence): Intrinsics(
                float(row["fx"]),
                float(row["fy"]),
                float(row["cx"]),
                float(row["cy"]),
                int(row["width"]),
                int(row["height"]),
                str(row.get("distortion_model", "")),
                tuple(float(value) for value in row.get("distortion", ())),
            )
            for sequence, row in _read_json(path).items()
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: a camera needs a sequence number, fx, fy, cx, cy, width and height") from error
    for sequence, camera in cameras.items():
        check_camera(camera, f"{path}: {sequence:06d}")
    return cameras


class CityscapesDvps(FrameReader):
    """A split of this format, with one camera per sequence.

    Parameters
    ----------
    root : the folder that holds ``video_sequence``.
    split : ``"train"`` or ``"val"``.
    focal : fx in pixels for sequences that ``cameras.json`` does not name.

    Raises
    ------
    FileNotFoundError : naming a folder that is missing or holds no image.
    ValueError : naming an image that ``index`` refuses, a broken ``cameras.json``, or, if a sequence has no camera, a
        camera there whose sequence does not exist.
    """

    labels = CITYSCAPES

    def __init__(self, root: Path, split: str, focal: float) -> None:
        super().__init__(index(root, split), focal)
        self.cameras = read_cameras(split_folder(root, split))
        sequences = {files.sequence for files in self.files}
        # an interrupted rendering only leaves an unused camera; a mistyped number also leaves a sequence without one
        if (unknown := set(self.cameras) - sequences) and sequences - set(self.cameras):
            file = split_folder(root, split) / "cameras.json"
            raise ValueError(f"{file}: {min(unknown):06d}: the split has no such sequence")

    def decode_panoptic(self, files: FrameFiles, values: Sequence[np.ndarray]) -> ClassLabels:
        """Class labels from (H, W) values of either encoding; a thing class without an instance is a crowd."""
        return class_labels.from_panoptic(decode_panoptic(values[0]), values[0] < DIVISOR, self.table)

    def class_fault(self, path: Path, values: np.ndarray) -> str | None:
        """The ids in (H, W) values that are neither a class nor void of one of the two encodings; None if all are."""
        classes = np.where(values < DIVISOR, values, values // DIVISOR)
        void = (values == VOID_CLASS) | (values // DIVISOR == FILE_VOID // DIVISOR)
        return out_of_range("class ids out of range:", classes, (classes < len(self.labels)) | void)

    def has_camera(self, files: FrameFiles) -> bool:
        """Whether ``cameras.json`` names the sequence."""
        return files.sequence in self.cameras

    def intrinsics(self, files: FrameFiles, height: int, width: int) -> Intrinsics:
        """The camera in ``cameras.json``, scaled to the image size; without one, ``focal`` and the image's center."""
        camera = self.cameras.get(files.sequence)
        if camera is None:
            return self.camera_unknown(height, width)
        return of_size(camera, height, width, str(files.image))


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # releases the lock


def _row(camera: Intrinsics) -> dict[str, Any]:
    keys = ["fx", "fy", "cx", "cy", "width", "height"]
    return {key: getattr(camera, key) for key in keys + ["distortion_model", "distortion"] * bool(camera.distortion)}


def _read_json(path: Path) -> dict:
    try:
        tree = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: expected an object of cameras by sequence")
    return tree

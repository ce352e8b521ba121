"""One's own data in plain folders: index, reader and writer.

::

    root/cameras.yaml                              class table and cameras
    root/{train,val}/images/SEQUENCE/FRAME.png     8 bit RGB; .jpg and .jpeg too
    root/{train,val}/panoptic/SEQUENCE/FRAME.png   16 bit class * 1000 + instance, or 8 bit train ids; may be missing
    root/{train,val}/depth/SEQUENCE/FRAME.png      16 bit, metres * 256, 0 = no label; may be missing

SEQUENCE is any folder name; pictures that lie directly in ``images/`` are one sequence. Frames of a sequence follow one
another by name. Classes that the class table does not have (the writer's 65535, also 255 in 8 bit) are void.
``cameras.yaml`` names the class table and the cameras, in pixels of a ``width`` x ``height`` picture::

    labels: cityscapes
    default: {fx: 700.0, fy: 700.0, cx: 639.5, cy: 359.5, width: 1280, height: 720}
    sequences:
      drive_2: {fx: 910.0, fy: 910.0, cx: 639.5, cy: 359.5, width: 1280, height: 720,
                distortion_model: plumb_bob, distortion: [-0.1, 0.01, 0, 0, 0]}

A sequence without a camera of its own has the default; without that, or without the file, only a focal length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dvps_ros.datasets import png
from dvps_ros.datasets.cityscapes_dvps import FILE_VOID as CITYSCAPES_FILE_VOID
from dvps_ros.datasets.frames import FrameFiles, FrameReader, centered, out_of_range
from dvps_ros.datasets.pictures import read_picture
from dvps_ros.labels import CITYSCAPES, DIVISOR, LABEL_SETS, VOID, VOID_CLASS, LabelSet
from dvps_ros.structures import Intrinsics

IMAGES, PANOPTIC, DEPTH = "images", "panoptic", "depth"
CAMERAS = "cameras.yaml"
SUFFIXES = (".png", ".jpg", ".jpeg")
#: Void in the files that ``write_frame`` makes.
FILE_VOID = 65535

_NUMBERS = ("fx", "fy", "cx", "cy", "width", "height")


@dataclass(frozen=True)
class Cameras:
    """What ``cameras.yaml`` says.

    Attributes
    ----------
    labels : the class table.
    default : the camera of sequences that are not named, or None.
    sequences : cameras by the name of their sequence.
    """

    labels: LabelSet = CITYSCAPES
    default: Intrinsics | None = None
    sequences: Mapping[str, Intrinsics] = field(default_factory=dict)


def read_cameras(root: Path) -> Cameras:
    """``cameras.yaml`` of a data set; the default ``Cameras`` without one; ``ValueError`` naming a broken file."""
    path = Path(root) / CAMERAS
    if not path.is_file():
        return Cameras()
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as YAML ({' '.join(str(error).split())})") from error
    known = {"labels", "default", "sequences"}
    if not isinstance(content, dict) or not known.issuperset(content):
        raise ValueError(f"{path}: expected the keys labels, default and sequences, nothing else")
    labels = content.get("labels", CITYSCAPES.name)
    if labels not in LABEL_SETS:
        raise ValueError(f"{path}: labels is {labels!r}, must be one of {', '.join(LABEL_SETS)}")
    default, sequences = content.get("default"), content.get("sequences") or {}
    if not isinstance(sequences, dict):
        raise ValueError(f"{path}: sequences must map names to cameras")
    return Cameras(
        LABEL_SETS[labels],
        None if default is None else _camera(default, f"{path}: default"),
        {str(name): _camera(row, f"{path}: sequences.{name}") for name, row in sequences.items()},
    )


def write_cameras(root: Path, cameras: Cameras) -> None:
    """Write ``cameras.yaml``, whole or not at all."""
    content: dict[str, Any] = {"labels": cameras.labels.name}
    if cameras.default is not None:
        content["default"] = _row(cameras.default)
    content["sequences"] = {name: _row(camera) for name, camera in sorted(cameras.sequences.items())}
    png.write_bytes(Path(root) / CAMERAS, yaml.safe_dump(content, sort_keys=False, default_flow_style=None).encode())


def split_folder(root: Path, split: str) -> Path:
    """The folder of one split (``"train"`` or ``"val"``)."""
    return Path(root) / split


def index(root: Path, split: str) -> list[FrameFiles]:
    """All frames of a split that have an image, by sequence and name; label files that do not exist are left out.

    Raises ``FileNotFoundError`` naming the folder that is missing or has no image, ``ValueError`` naming two images
    that differ only in their suffix.
    """
    folder = split_folder(root, split)
    images = folder / IMAGES
    if not images.is_dir():
        raise FileNotFoundError(f"no data set folder {images}")
    sequences = [images, *sorted(path for path in images.iterdir() if path.is_dir() and path.name[0] != ".")]
    pictures = [path for sequence in sequences for path in _pictures(sequence)]
    if not pictures:
        raise FileNotFoundError(f"no .png or .jpg in data set folder {images}")
    numbers = {parent: number for number, parent in enumerate(dict.fromkeys(path.parent for path in pictures))}
    counts = dict.fromkeys(numbers, 0)
    frames: list[FrameFiles] = []
    for path in pictures:
        name = path.relative_to(images).with_suffix("")
        if frames and frames[-1].name == name.as_posix():
            raise ValueError(f"{frames[-1].image} and {path} are one frame twice")
        panoptic, depth = ((folder / kind / name).with_name(f"{name.name}.png") for kind in (PANOPTIC, DEPTH))
        frames.append(
            FrameFiles(
                sequence=numbers[path.parent],
                frame=counts[path.parent],
                name=name.as_posix(),
                image=path,
                panoptic=(panoptic,) if panoptic.is_file() else (),
                depth=depth if depth.is_file() else None,
            )
        )
        counts[path.parent] += 1
    return frames


def classes_and_instances(path: Path, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classes and instances, both (H, W) int, of a panoptic file's values; an 8-bit file holds classes alone."""
    with path.open("rb") as file:
        depth = file.read(25)[-1]  # bits per sample (PNG specification, section 11.2.2)
    return (values, np.zeros_like(values)) if depth <= 8 else (values // DIVISOR, values % DIVISOR)


def write_frame(
    folder: Path, sequence: str, frame: str, rgb: np.ndarray, panoptic: np.ndarray | None, depth: np.ndarray | None
) -> None:
    """Write one frame into a split's folder (``split_folder``), each file whole or not at all, the image last.

    Parameters
    ----------
    sequence, frame : names of the sequence's folder and of the files in it.
    rgb : (H, W, 3) uint8.
    panoptic : (H, W) int, class * 1000 + instance, 255000 void; None writes no label.
    depth : (H, W) metres, 0 = no label; None writes no label.

    Raises
    ------
    ValueError : sizes differ, a name is no file name, or an id does not fit 16 bits.
    """
    if any(not name or name.startswith(".") or Path(name).name != name for name in (sequence, frame)):
        raise ValueError(f"sequence {sequence!r}, frame {frame!r}: not names of a folder and a file")
    for label, what in ((panoptic, PANOPTIC), (depth, DEPTH)):
        if label is not None and label.shape != rgb.shape[:2]:
            raise ValueError(f"{what} label of size {label.shape} for an image of size {rgb.shape[:2]}")
    folder = Path(folder)
    if panoptic is not None:
        png.write(folder / PANOPTIC / sequence / f"{frame}.png", encode_panoptic(panoptic))
    if depth is not None:
        png.write(folder / DEPTH / sequence / f"{frame}.png", png.encode_depth(depth))
    png.write(folder / IMAGES / sequence / f"{frame}.png", rgb)


def encode_panoptic(panoptic: np.ndarray) -> np.ndarray:
    """(H, W) class * 1000 + instance to the 16-bit file values, void 65535; ``ValueError`` naming an id without place.

    16 bits hold the classes 0 to 64.
    """
    panoptic = np.asarray(panoptic)
    void = panoptic >= VOID
    bad = (panoptic < 0) | (~void & (panoptic >= FILE_VOID // DIVISOR * DIVISOR))
    if bad.any():
        raise ValueError(f"panoptic id {int(panoptic[bad][0])} does not fit a 16-bit file")
    return np.where(void, FILE_VOID, panoptic).astype(np.uint16)


class Folder(FrameReader):
    """A split of this format.

    Parameters
    ----------
    root : the folder that holds ``train/`` and ``val/``.
    split : ``"train"`` or ``"val"``.
    focal : fx in pixels for sequences without a camera.

    Raises
    ------
    FileNotFoundError : naming a folder that is missing or holds no image.
    ValueError : naming a broken ``cameras.yaml`` or a frame that is there twice.
    """

    def __init__(self, root: Path, split: str, focal: float) -> None:
        super().__init__(index(root, split))
        self.cameras = read_cameras(root)
        self.labels = self.cameras.labels
        self.focal = focal

    def image(self, files: FrameFiles) -> np.ndarray:
        """(H, W, 3) uint8 RGB of a PNG or JPEG file; ``ValueError`` naming a broken one."""
        return read_picture(files.image)

    def decode(self, files: FrameFiles, values: Sequence[np.ndarray]) -> np.ndarray:
        """(H, W) int32 class * 1000 + instance, 255000 void; stuff has no instances."""
        classes, instances = classes_and_instances(files.panoptic[0], values[0])
        known = classes < len(self.labels)
        is_thing = np.array(self.labels.is_thing)[np.where(known, classes, 0)]
        return np.where(known, classes * DIVISOR + np.where(is_thing, instances, 0), VOID).astype(np.int32)

    def class_fault(self, path: Path, values: np.ndarray) -> str | None:
        """Names those of (H, W) ids that are neither a class nor one of the usual values for void."""
        classes, _ = classes_and_instances(path, values)
        void = np.isin(values, (VOID_CLASS, FILE_VOID, CITYSCAPES_FILE_VOID))
        return out_of_range("class", classes, (classes < len(self.labels)) | void)

    def intrinsics(self, files: FrameFiles, height: int, width: int) -> Intrinsics:
        """From ``cameras.yaml``, resized to the image when that differs; else the focal length given, centered."""
        camera = self.cameras.sequences.get(files.name.rpartition("/")[0], self.cameras.default)
        if camera is None:
            return centered(self.focal, height, width)
        return camera if (camera.width, camera.height) == (width, height) else camera.resized(width, height)


def _pictures(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != "."]
    return sorted(found, key=lambda path: (path.stem, path.suffix))


def _camera(row: Any, where: str) -> Intrinsics:
    known = {*_NUMBERS, "distortion_model", "distortion"}
    if not isinstance(row, dict) or not known.issuperset(row):
        raise ValueError(f"{where}: a camera has {', '.join(_NUMBERS)}, distortion_model, distortion; got {row!r}")
    try:
        fx, fy, cx, cy, width, height = (float(row[key]) for key in _NUMBERS)
        distortion = tuple(float(value) for value in row.get("distortion", ()))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: a camera needs numbers {', '.join(_NUMBERS)}") from error
    model = str(row.get("distortion_model", ""))
    camera = Intrinsics(fx, fy, cx, cy, int(width), int(height), model, distortion)
    if not camera.valid or width < 1 or height < 1:
        raise ValueError(f"{where}: fx, fy, width and height must be above 0 and all numbers finite")
    return camera


def _row(camera: Intrinsics) -> dict[str, Any]:
    row: dict[str, Any] = {key: float(getattr(camera, key)) for key in _NUMBERS[:4]}
    row |= {"width": camera.width, "height": camera.height}
    if camera.distortion:
        row |= {"distortion_model": camera.distortion_model, "distortion": list(camera.distortion)}
    return row

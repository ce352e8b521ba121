"""The folder format, for own data: index, reader and writer.

::

    root/cameras.yaml                              class table and cameras
    root/labels.yaml                               what the values in semantic/ mean, see datasets/semantic_tables.py
    root/{train,val}/images/SEQUENCE/FRAME.png     8 bit RGB; .jpg and .jpeg too
    root/{train,val}/panoptic/SEQUENCE/FRAME.png   16 bit class * 1000 + instance, or 8 bit train ids; may be missing
    root/{train,val}/semantic/SEQUENCE/FRAME.png   8 bit, a value of labels.yaml (without it a train id); may be missing
    root/{train,val}/depth/SEQUENCE/FRAME.png      16 bit, metres * 256, 0 = no label; may be missing

SEQUENCE is any folder name. Pictures directly in ``images/`` form one sequence. Frames of a sequence are ordered by
name, where numbers count by their value. ``decode_values`` documents the values of panoptic files,
``datasets/cameras_file.py`` documents ``cameras.yaml``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dvps_ros.camera.pictures import read_picture
from dvps_ros.datasets import class_labels, png, semantic_tables
from dvps_ros.datasets.cameras_file import check_cameras, read_cameras
from dvps_ros.datasets.cityscapes_dvps import FILE_VOID as CITYSCAPES_FILE_VOID
from dvps_ros.datasets.class_labels import ClassLabels
from dvps_ros.datasets.frames import FrameFiles, FrameReader, of_size, out_of_range
from dvps_ros.datasets.order import natural
from dvps_ros.labels import (
    CITYSCAPES,
    DIVISOR,
    VOID,
    VOID_CLASS,
    LabelSet,
    SemanticTable,
    identity_table,
)
from dvps_ros.structures import Intrinsics

IMAGES, PANOPTIC, SEMANTIC, DEPTH = "images", "panoptic", "semantic", "depth"
SUFFIXES = (".png", ".jpg", ".jpeg")
#: Void in the files that ``write_frame`` makes.
FILE_VOID = 65535


def split_folder(root: Path, split: str) -> Path:
    """The folder of one split (``"train"`` or ``"val"``)."""
    return Path(root) / split


def index(root: Path, split: str) -> list[FrameFiles]:
    """All frames of a split that have an image, by sequence and name; label files that do not exist are None.

    Raises ``FileNotFoundError`` naming the folder that is missing or has no image, ``ValueError`` naming two images
    that differ only in their suffix.
    """
    folder = split_folder(root, split)
    images = folder / IMAGES
    if not images.is_dir():
        raise FileNotFoundError(f"no data set folder {images}")
    pictures = [path for sequence in (images, *_subfolders(images)) for path in _pictures(sequence)]
    if not pictures:
        raise FileNotFoundError(f"no .png or .jpg in data set folder {images}")
    numbers = {parent: number for number, parent in enumerate(dict.fromkeys(path.parent for path in pictures))}
    counts = dict.fromkeys(numbers, 0)
    frames: list[FrameFiles] = []
    for path in pictures:
        name = path.relative_to(images).with_suffix("")
        if frames and frames[-1].name == name.as_posix():
            raise ValueError(f"{frames[-1].image} and {path} are the same frame")
        panoptic, semantic, depth = (
            (folder / kind / name).with_name(f"{name.name}.png") for kind in (PANOPTIC, SEMANTIC, DEPTH)
        )
        frames.append(
            FrameFiles(
                sequence=numbers[path.parent],
                frame=counts[path.parent],
                name=name.as_posix(),
                image=path,
                panoptic=(panoptic,) if panoptic.is_file() else (),
                depth=depth if depth.is_file() else None,
                semantic=semantic if semantic.is_file() else None,
            )
        )
        counts[path.parent] += 1
    return frames


def decode_values(values: np.ndarray, bits: int, labels: LabelSet) -> tuple[np.ndarray, np.ndarray]:
    """Decode the values of a panoptic file.

    In 8 bits the values are train ids, and 255 is void. In 16 bits a value from 1000 on is class * 1000 + instance, a
    smaller value is a class without an instance, and 255, 32000 and 65535 are void. If class 0 is a thing
    (SemanticKITTI's car), 1 to 999 are its instances instead.

    Parameters
    ----------
    values : (H, W) int.
    bits : per sample of the file.
    labels : the class table.

    Returns
    -------
    panoptic : (H, W) int32, class * 1000 + instance; 255000 for void and for invalid values; stuff has instance 0.
    class_only : (H, W) bool, where the file gives a class and no instance.
    """
    counts_class_0 = bits > 8 and labels.is_thing[0]
    class_only = np.ones(values.shape, bool) if bits <= 8 else values < (1 if counts_class_0 else DIVISOR)
    classes = np.where(class_only, values, values // DIVISOR)
    known = classes < len(labels)
    is_thing = np.array(labels.is_thing)[np.where(known, classes, 0)]
    instances = np.where(is_thing & ~class_only, values % DIVISOR, 0)
    return np.where(known, classes * DIVISOR + instances, VOID).astype(np.int32), class_only


def value_fault(values: np.ndarray, bits: int, labels: LabelSet) -> str | None:
    """A message about invalid (H, W) values of a panoptic file (see ``decode_values``), or None."""
    panoptic, class_only = decode_values(values, bits, labels)
    if bits > 8 and labels.is_thing[0] and values.size and 0 < values.max() < DIVISOR:
        return f"all values are below {DIVISOR}: class ids without instances need an 8-bit file, as class 0 is a thing"
    void = values == VOID_CLASS if bits <= 8 else np.isin(values, (VOID_CLASS, FILE_VOID, CITYSCAPES_FILE_VOID))
    return out_of_range(
        "class ids out of range:", np.where(class_only, values, values // DIVISOR), (panoptic != VOID) | void
    )


def write_frame(
    folder: Path,
    sequence: str,
    frame: str,
    rgb: np.ndarray,
    panoptic: np.ndarray | None,
    depth: np.ndarray | None,
    labels: LabelSet = CITYSCAPES,
) -> None:
    """Write one frame into a split's folder (``split_folder``), each file atomically, the image last.

    Parameters
    ----------
    sequence, frame : names of the sequence's folder and of the files in it.
    rgb : (H, W, 3) uint8.
    panoptic : (H, W) int, class * 1000 + instance, 255000 void; None writes no label.
    depth : (H, W) metres, 0 = no label; None writes no label.
    labels : the class table, as ``cameras.yaml`` names it.

    Raises
    ------
    ValueError : sizes differ, a name is not a valid file name, or an id has no class.
    """
    if any(not name or name.startswith(".") or Path(name).name != name for name in (sequence, frame)):
        raise ValueError(f"sequence {sequence!r}, frame {frame!r}: not names of a folder and a file")
    for label, what in ((panoptic, PANOPTIC), (depth, DEPTH)):
        if label is not None and label.shape != rgb.shape[:2]:
            raise ValueError(f"{what} label of size {label.shape} for an image of size {rgb.shape[:2]}")
    folder = Path(folder)
    if panoptic is not None:
        png.write(folder / PANOPTIC / sequence / f"{frame}.png", encode_panoptic(panoptic, labels))
    if depth is not None:
        png.write(folder / DEPTH / sequence / f"{frame}.png", png.encode_depth(depth))
    png.write(folder / IMAGES / sequence / f"{frame}.png", rgb)


def encode_panoptic(panoptic: np.ndarray, labels: LabelSet = CITYSCAPES) -> np.ndarray:
    """(H, W) class * 1000 + instance to the 16-bit file values, void 65535, stuff without instance numbers.

    Raises ``ValueError`` naming an id that has no class, or does not fit 16 bits (classes from 65 on).
    """
    panoptic = np.asarray(panoptic)
    void = panoptic >= VOID
    bad = (panoptic < 0) | (~void & (panoptic >= min(len(labels), FILE_VOID // DIVISOR) * DIVISOR))
    if bad.any():
        raise ValueError(f"panoptic id {int(panoptic[bad][0])} has no class of {labels.name}, or does not fit 16 bits")
    is_thing = np.array([*labels.is_thing, False])[np.where(void, len(labels), panoptic // DIVISOR)]
    # a stuff value with an instance number could be read as another class without an instance
    return np.where(void, FILE_VOID, np.where(is_thing, panoptic, panoptic // DIVISOR * DIVISOR)).astype(np.uint16)


class Folder(FrameReader):
    """A split of this format.

    Parameters
    ----------
    root : the folder that holds ``train/`` and ``val/``.
    split : ``"train"`` or ``"val"``.
    focal : fx in pixels for sequences without a camera.
    table : file with the meaning of the values in ``semantic/``; None: ``labels.yaml`` if there is one, else each value
        is a train id.

    Raises
    ------
    FileNotFoundError : naming a folder or table that is missing, or a folder that holds no image.
    ValueError : naming a broken ``cameras.yaml`` or table, a camera whose sequence does not exist, or a frame with two
        images.
    """

    def __init__(self, root: Path, split: str, focal: float, table: Path | None = None) -> None:
        super().__init__(index(root, split), focal)
        self.cameras = read_cameras(root)
        check_cameras(root, self.cameras)
        self.labels = self.cameras.labels
        own = Path(root) / semantic_tables.FILE
        path = own if table is None and own.is_file() else table
        given = identity_table(self.labels) if path is None else semantic_tables.read_table(path, self.labels)
        self._table = given.with_classes()

    @property
    def table(self) -> SemanticTable:
        """The table of label values, with a row for each class that panoptic files can hold."""
        return self._table

    def image(self, files: FrameFiles) -> np.ndarray:
        """(H, W, 3) uint8 RGB of a PNG or JPEG file; ``ValueError`` naming a broken one."""
        return read_picture(files.image)

    def decode_panoptic(self, files: FrameFiles, values: Sequence[np.ndarray]) -> ClassLabels:
        """Class labels from the (H, W) values of one panoptic file, see ``decode_values``."""
        return class_labels.from_panoptic(
            *decode_values(values[0], png.bits(files.panoptic[0]), self.labels), self.table
        )

    def class_fault(self, path: Path, values: np.ndarray) -> str | None:
        """A message about the ids in (H, W) values that are neither a class nor void, or None."""
        return value_fault(values, png.bits(path), self.labels)

    def sequence_name(self, files: FrameFiles) -> str:
        """Name of the sequence's folder; empty for pictures directly in ``images/``."""
        return files.name.rpartition("/")[0]

    def has_camera(self, files: FrameFiles) -> bool:
        """Whether ``cameras.yaml`` names the sequence, or a default."""
        return self.cameras.default is not None or self.sequence_name(files) in self.cameras.sequences

    def intrinsics(self, files: FrameFiles, height: int, width: int) -> Intrinsics:
        """The camera in ``cameras.yaml``, scaled to the image size; without one, ``focal`` and the image's center."""
        camera = self.cameras.sequences.get(self.sequence_name(files), self.cameras.default)
        if camera is None:
            return self.camera_unknown(height, width)
        return of_size(camera, height, width, str(files.image))


def _subfolders(folder: Path) -> list[Path]:
    return natural(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def _pictures(folder: Path) -> list[Path]:
    return natural(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != ".")

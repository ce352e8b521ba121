"""Data sets of labelled frames, and their augmentation in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dvps_ros.config.fields import option

_TABLE = (
    "Format folder: YAML file with the classes of the values in semantic/, e.g. config/labels/camvid.yaml; "
    "empty: labels.yaml in the data set's folder; without that file each value is a train id."
)


@dataclass(frozen=True)
class SourceConfig:
    """One data set of several."""

    root: str = option("", "Folder of the data set, with video_sequence/ (format folder: train/ and val/).")
    name: str = option("", "Name of the data set in messages and figures; empty: the name of its folder.")
    format: Literal["cityscapes_dvps", "semkitti_dvps", "folder"] = option(
        "cityscapes_dvps", "Folder format of the data set."
    )
    split: str = option("", "Split to read; empty: train for training, val for validation.")
    share: float = option(
        1.0, "Share of the training images, relative to the shares of the other sources; above 0.", low=0.0
    )
    labels: Literal["both", "panoptic", "depth"] = option(
        "both", "Labels to use; both: all that an image has, but at least one."
    )
    semantic_table: str = option("", _TABLE)
    include: tuple[str, ...] = option(
        (), "Patterns (* and ?) of sequences to use: folder names, or numbers of six digits; empty: all."
    )
    exclude: tuple[str, ...] = option((), "Patterns of sequences to leave out of those.")
    focal: float = option(0.0, "fx in pixels of cameras without an intrinsics file; 0: unknown.", low=0.0)
    focal_widths: float = option(0.0, "The same in image widths (CamVid: 0.88); 0: unknown.", low=0.0)


@dataclass(frozen=True)
class DataConfig:
    """Data sets for training and validation, and augmentation."""

    format: Literal["cityscapes_dvps", "semkitti_dvps", "folder"] = option(
        "cityscapes_dvps", "Folder format of the data set; folder is the format for own data, see datasets/folder.py."
    )
    root: str = option("data/street", "Folder of the data set, with video_sequence/ (format folder: train/ and val/).")
    sources: tuple[SourceConfig, ...] = option(
        (), "Several data sets to train on, instead of root and its settings; needs validation."
    )
    validation: tuple[SourceConfig, ...] = option(
        (), "Data sets to validate on, together; empty: the split val of root."
    )
    labels: Literal["both", "panoptic", "depth"] = option(
        "both", "Labels to train and validate with; both: all that an image has, but at least one."
    )
    semantic_table: str = option("", _TABLE)
    include: tuple[str, ...] = option((), "Patterns (* and ?) of sequences to use; empty: all.")
    exclude: tuple[str, ...] = option((), "Patterns of sequences to leave out of those.")
    on_bad_sample: Literal["error", "skip"] = option(
        "error",
        "error: a sample that cannot be read ends the run; skip: another one replaces it, and the log counts it.",
    )
    crop_height: int = option(512, "Training crop height in pixels.", low=32)
    crop_width: int = option(1024, "Training crop width in pixels.", low=32)
    min_aspect: float = option(
        0.0,
        "Smallest width / height of a crop. Each batch draws its own (uniform in the logarithm); the area is that of "
        "crop_height x crop_width, and sides are multiples of 32. 0: crop_width / crop_height.",
        low=0.0,
        high=20.0,
    )
    max_aspect: float = option(
        0.0, "Largest width / height of a crop; 0: crop_width / crop_height.", low=0.0, high=20.0
    )
    min_scale: float = option(
        0.5, "Smallest factor on the size of the whole frame at run time (input.pixels).", low=0.05
    )
    max_scale: float = option(2.0, "Largest factor on that size.", low=0.05)
    flip: float = option(0.5, "Probability of mirroring left to right.", low=0.0, high=1.0)
    color_jitter: bool = option(True, "Vary brightness, contrast, saturation and hue (Liu et al., SSD, ECCV 2016).")
    appearance: float = option(
        0.0,
        "Strength 0..1 of random weather, dirt, lens, sensor and compression in training images: the factor on the "
        "probabilities of datasets/appearance.py.",
        low=0.0,
        high=1.0,
    )
    focal: float = option(
        0.0,
        "fx in pixels of cameras without an intrinsics file; 0: unknown, and 2262.52 in the format cityscapes_dvps.",
        low=0.0,
    )
    focal_widths: float = option(0.0, "The same in image widths, instead of focal; 0: focal is used.", low=0.0)
    supervision: Literal["full", "thirds"] = option(
        "full", "thirds: of every three sequences, one trains with panoptic labels only, one with depth only."
    )
    workers: int = option(2, "Loader processes.", low=0)

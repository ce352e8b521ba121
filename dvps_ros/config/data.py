"""Where labelled frames lie, and how training varies them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dvps_ros.config.fields import option

_TABLE = (
    "Format folder: YAML that says which classes the values in semantic/ may be, e.g. config/labels/camvid.yaml; "
    "empty: labels.yaml in the data set's folder, or each value is a train id."
)


@dataclass(frozen=True)
class SourceConfig:
    """One data set of several."""

    root: str = option("", "Folder of the data set: holds video_sequence/ (format folder: train/ and val/).")
    name: str = option("", "What messages and figures call it; empty: the name of its folder.")
    format: Literal["cityscapes_dvps", "semkitti_dvps", "folder"] = option(
        "cityscapes_dvps", "Folder format of the data set."
    )
    split: str = option("", "Split to take; empty: train for training, val for validation.")
    share: float = option(
        1.0, "How much of the training images come from it, relative to the shares of the others; above 0.", low=0.0
    )
    labels: Literal["both", "panoptic", "depth"] = option(
        "both", "Labels to use; both: those that each image has, one of the two is enough."
    )
    semantic_table: str = option("", _TABLE)
    include: tuple[str, ...] = option(
        (), "Patterns (* and ?) of sequences to take: folder names, or numbers of six digits; empty: all."
    )
    exclude: tuple[str, ...] = option((), "Patterns of sequences to hold out, of those that are taken.")
    focal: float = option(0.0, "fx in pixels of cameras without an intrinsics file; 0: not known so.", low=0.0)
    focal_widths: float = option(0.0, "The same in widths of the image (CamVid: 0.88); 0: not known so.", low=0.0)


@dataclass(frozen=True)
class DataConfig:
    """Where training data lies, and how it is varied."""

    format: Literal["cityscapes_dvps", "semkitti_dvps", "folder"] = option(
        "cityscapes_dvps", "Folder format of the data set; folder: one's own data, see datasets/folder.py."
    )
    root: str = option("data/street", "Folder of the data set: holds video_sequence/ (format folder: train/ and val/).")
    sources: tuple[SourceConfig, ...] = option(
        (), "Several data sets to train with at once, instead of root and what belongs to it; needs validation."
    )
    validation: tuple[SourceConfig, ...] = option(
        (), "Data sets to validate on, all together; empty: the split val of root."
    )
    labels: Literal["both", "panoptic", "depth"] = option(
        "both", "Labels to train and validate with; both: those that each image has, one of the two is enough."
    )
    semantic_table: str = option("", _TABLE)
    include: tuple[str, ...] = option((), "Patterns (* and ?) of sequences to take; empty: all.")
    exclude: tuple[str, ...] = option((), "Patterns of sequences to hold out.")
    on_bad_sample: Literal["error", "skip"] = option(
        "error", "A sample that cannot be read ends the run, or another one takes its place (counted in the log)."
    )
    crop_height: int = option(512, "Training crop height in pixels.", low=32)
    crop_width: int = option(1024, "Training crop width in pixels.", low=32)
    min_aspect: float = option(
        0.0,
        "Least width / height of a crop; each batch has another one (its logarithm uniform), its area that of "
        "crop_height x crop_width, its sides multiples of 32; 0: that of crop_width / crop_height.",
        low=0.0,
        high=20.0,
    )
    max_aspect: float = option(
        0.0, "Greatest width / height of a crop; 0: that of crop_width / crop_height.", low=0.0, high=20.0
    )
    min_scale: float = option(
        0.5, "Smallest factor on the size at which the network sees the whole frame (input.pixels).", low=0.05
    )
    max_scale: float = option(2.0, "Largest factor on that size.", low=0.05)
    flip: float = option(0.5, "Probability of a left-right mirror.", low=0.0, high=1.0)
    color_jitter: bool = option(True, "Vary brightness, contrast, saturation and hue (Liu et al., SSD, ECCV 2016).")
    focal: float = option(2262.52, "fx in pixels of cameras without an intrinsics file (Cityscapes: 2262.52).", low=1.0)
    focal_widths: float = option(
        0.0, "The same in widths of the image, where that is what is known; 0: focal counts.", low=0.0
    )
    supervision: Literal["full", "thirds"] = option(
        "full", "thirds: of every three sequences one trains with panoptic labels alone, one with depth alone."
    )
    workers: int = option(2, "Loader processes.", low=0)

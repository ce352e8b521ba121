"""What every data set format gives: an index of files, and frames with labels read from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

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

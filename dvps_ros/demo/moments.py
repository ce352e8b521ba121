"""Selected frames of a run, and their montage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sensor_msgs.msg import Image, PointCloud2

from dvps_ros.drawing.birds_eye import birds_eye
from dvps_ros.drawing.montage import compose
from dvps_ros.drawing.overlay import colorize_depth
from dvps_ros.labels import LabelSet
from dvps_ros.nodes.packing import POINT
from dvps_ros.structures import SegmentCloud

COLUMNS = ("camera", "labels and objects", "depth", "bird's-eye view of the cloud")
#: Size (height, width) of a bird's-eye view in pixels.
_BIRDS_EYE = (512, 768)
#: NumPy types of the supported image encodings.
_VALUES = {"rgb8": ("<u1", 3), "32SC1": ("<i4", 1), "32FC1": ("<f4", 1)}


@dataclass(frozen=True)
class Moment:
    """One answered frame.

    Attributes
    ----------
    seconds : time since the first answer, seconds.
    age : age of the answer, seconds.
    objects : number of things in it.
    image, overlay : (H, W, 3) uint8 RGB.
    depth : (H, W) float32 metres.
    cloud : the frame's points.
    """

    seconds: float
    age: float
    objects: int
    image: np.ndarray
    overlay: np.ndarray
    depth: np.ndarray
    cloud: SegmentCloud


def choose(moments: Sequence[Moment], count: int) -> list[Moment]:
    """At most ``count`` moments: the one with most objects of each of ``count`` equal parts of the run."""
    stretches = np.array_split(np.arange(len(moments)), min(count, len(moments))) if moments else []
    return [max((moments[i] for i in stretch), key=lambda m: m.objects) for stretch in stretches]


def montage(title: str, moments: Sequence[Moment], labels: LabelSet, max_depth: float) -> np.ndarray:
    """The moments as rows of a montage (H, W, 3) uint8 RGB; depth colors end at ``max_depth`` metres.

    Raises ``ValueError`` if there are no moments.
    """
    rows = []
    for moment in moments:
        age = 1000 * moment.age
        pictures = (
            moment.image,
            moment.overlay,
            colorize_depth(moment.depth, far=max_depth),
            birds_eye(moment.cloud, labels, size=_BIRDS_EYE),
        )
        rows.append((f"{moment.seconds:.0f} s    {moment.objects} objects    answer after {age:.0f} ms", pictures))
    return compose(title, COLUMNS, rows)


def values_of(message: Image) -> np.ndarray:
    """The values of an rgb8, 32SC1 or 32FC1 image message, (H, W, 3) or (H, W); a view of its data.

    Raises ``ValueError`` for another encoding, or for big-endian data.
    """
    if message.encoding not in _VALUES or message.is_bigendian:
        raise ValueError(f"cannot read a {message.encoding} image")
    kind, channels = _VALUES[message.encoding]
    size = np.dtype(kind).itemsize
    shape, strides = (message.height, message.width, channels), (message.step, channels * size, size)
    values = np.ndarray(shape, kind, buffer=message.data, strides=strides)
    return values[..., 0] if channels == 1 else values


def cloud_of(message: PointCloud2) -> SegmentCloud:
    """The points (N, ...) of a cloud of the perception node, without those at NaN.

    Raises ``ValueError`` for a cloud with another layout.
    """
    if message.point_step != POINT.itemsize or [field.name for field in message.fields] != list(POINT.names or ()):
        raise ValueError(f"cannot read a cloud of {message.point_step} bytes per point")
    points = np.frombuffer(message.data, POINT)
    points = points[np.isfinite(points["z"])]
    color = points["rgb"].astype(np.int64)
    columns = (
        np.stack([points[axis] for axis in "xyz"], -1),
        np.stack([color >> 16 & 255, color >> 8 & 255, color & 255], -1).astype(np.uint8),
        points["label"].astype(np.int32),
        points["instance"].astype(np.int32),
        points["score"].copy(),
    )
    return SegmentCloud(*map(torch.from_numpy, columns))

"""Colors of classes and instances; the instance number of a thing determines its color in every picture."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from dvps_ros.labels import DIVISOR, LabelSet

Array = np.ndarray | Tensor


@lru_cache(maxsize=1024)
def instance_color(instance: int) -> tuple[int, int, int]:
    """RGB color of an instance number: bright, with hues in golden ratio steps, so that neighbours differ."""
    hue = (0.02 + instance * 0.61803399) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.78, 0.6, 0.92)[instance % 3], 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def color_of(identity: int, labels: LabelSet) -> tuple[int, int, int]:
    """RGB color of a panoptic value: that of the instance for things, of the class for stuff, grey for void."""
    class_id, instance = divmod(int(identity), DIVISOR)
    if class_id >= len(labels):
        return 96, 96, 104
    return instance_color(instance) if labels.is_thing[class_id] and instance else labels.colors[class_id]


def darkened(color: tuple[int, int, int]) -> tuple[int, int, int]:
    """``color``, darkened as a background of white text."""
    red, green, blue = (round(0.45 * c) for c in color)
    return red, green, blue


def to_host(values: Array) -> np.ndarray:
    """An array or tensor (any shape, any device) as a NumPy array of the same shape."""
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)

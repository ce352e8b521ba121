"""Sizes of training crops: multiples of the network's coarsest stride, from an area and a range of aspect ratios."""

from __future__ import annotations

import math

from dvps_ros.config.data import DataConfig
from dvps_ros.config.network import COARSEST_STRIDE

#: Number of aspect ratios that are tried to find the largest crop.
_SHAPES = 64


def sides(pixels: int, aspect: float) -> tuple[int, int]:
    """(h, w), multiples of 32, with an area of about ``pixels`` and w / h of about ``aspect``."""
    height = _multiple(math.sqrt(pixels / aspect))
    return height, _multiple(pixels / height)


def _multiple(side: float) -> int:
    """The nearest size that needs no padding."""
    return max(1, round(side / COARSEST_STRIDE)) * COARSEST_STRIDE


def aspects(config: DataConfig) -> tuple[float, float]:
    """Smallest and largest width / height of crops.

    Raises ``ValueError`` if the smallest exceeds the largest, also for the range of scales.
    """
    own = config.crop_width / config.crop_height
    low, high = config.min_aspect or own, config.max_aspect or own
    for name, least, greatest in (("aspect", low, high), ("scale", config.min_scale, config.max_scale)):
        if least > greatest:
            raise ValueError(f"data.min_{name} {least:g} is above data.max_{name} {greatest:g}")
    return low, high


def crop_size(config: DataConfig, share: float) -> tuple[int, int]:
    """(h, w) of a crop; ``share`` (0..1) interpolates the logarithm of the aspect ratio from smallest to largest.

    The area is that of the configured crop, as closely as multiples of 32 allow. Without a range of aspect ratios the
    result is the configured crop, even if its sides are not multiples of 32.
    """
    if not (config.min_aspect or config.max_aspect):
        return config.crop_height, config.crop_width
    low, high = map(math.log, aspects(config))
    return sides(config.crop_height * config.crop_width, math.exp(low + share * (high - low)))


def largest_crop(config: DataConfig) -> tuple[int, int]:
    """(h, w) of the crop of ``crop_size`` with most pixels."""
    return max((crop_size(config, k / _SHAPES) for k in range(_SHAPES + 1)), key=math.prod)

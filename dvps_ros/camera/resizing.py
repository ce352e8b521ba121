"""Resizing of images to the network's input, with square pixels and the same factor in both directions.

The same rule applies at run time, in validation, in training and for programs of one fixed size. Depth depends on the
focal length at the network's resolution, so factors are exact. Sizes are rounded down afterwards, and fractions of a
pixel at the right and bottom are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from dvps_ros.camera.calibration import LONGEST_PIXEL
from dvps_ros.structures import Intrinsics

#: Color of the padding at the right and bottom: the mean color that the network subtracts, so that it becomes 0.
PADDING = (124, 116, 104)
#: Relative difference of fx and fy up to which pixels are considered square: calibrations vary by that much.
_CALIBRATION_SCATTER = 0.02
#: Smallest side in pixels, for which padding to multiples of 32 at most doubles the number of pixels.
_THINNEST = 16
#: A product this little below a whole number of pixels, because of rounding, counts as that number.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Resizing:
    """The transformation of an image to the network's input.

    Image pixel (u, v) moves to ((u + 0.5) * scale_x - 0.5, (v + 0.5) * scale_y - 0.5).

    Attributes
    ----------
    scale_x, scale_y : network pixels per image pixel; equal for square pixels.
    size : (h, w) size of the resized image in whole pixels.
    extent : (h, w) size with fractions of a pixel, less than one pixel larger than ``size``.
    canvas : (h, w) size of the network's input; beyond ``size`` it is padding at the right and bottom.
    """

    scale_x: float
    scale_y: float
    size: tuple[int, int]
    extent: tuple[float, float]
    canvas: tuple[int, int]

    def camera(self, camera: Intrinsics) -> Intrinsics:
        """The intrinsics of the resized image; ``camera`` are those of the image."""
        return camera.scaled(self.scale_x, self.scale_y, self.size[1], self.size[0])


def to_budget(image_size: tuple[int, int], pixels: int = 0, camera: Intrinsics | None = None) -> Resizing:
    """Resizing to an area: the factor with which the image with square pixels has that number of pixels.

    Sizes are rounded down, so that the area never exceeds the budget. An image of exactly that area does not change.

    Parameters
    ----------
    image_size : (H, W).
    pixels : area of the network's input in pixels; 0: that of the image.
    camera : intrinsics of the image. If fx and fy differ by more than 2 %, pixels are not square, and the height is
        changed to make them square; fx is kept.

    Raises ``ValueError`` if fx and fy differ by more than a factor of four.
    """
    height, width = _square(image_size, camera)
    if not pixels:
        return _resizing(image_size, height, 1.0)
    scale = min(math.sqrt(pixels / (height * width)), pixels / _THINNEST / max(height, width))
    return _resizing(image_size, height, scale)


def to_canvas(image_size: tuple[int, int], canvas: tuple[int, int], camera: Intrinsics | None = None) -> Resizing:
    """Resizing to the largest size that fits into ``canvas`` (h, w); the rest is padding.

    Pixels become square, and ``ValueError`` is raised, as in ``to_budget``.
    """
    height, width = _square(image_size, camera)
    return replace(_resizing(image_size, height, min(canvas[0] / height, canvas[1] / width)), canvas=canvas)


def to_size(image_size: tuple[int, int], size: tuple[int, int]) -> Resizing:
    """Resizing to exactly ``size`` (h, w), each side by its own factor, for networks that were trained so."""
    scale_y, scale_x = (new / old for new, old in zip(size, image_size, strict=True))
    return Resizing(scale_x, scale_y, size, (float(size[0]), float(size[1])), size)


def square_height(height: int, camera: Intrinsics | None) -> float:
    """The height in square pixels of an image with ``height`` rows.

    Raises ``ValueError`` as ``to_budget``.
    """
    if camera is None or not camera.valid:
        return float(height)
    ratio = camera.fx / camera.fy
    if not 1 / LONGEST_PIXEL <= ratio <= LONGEST_PIXEL:
        raise ValueError(f"fx {camera.fx:g} and fy {camera.fy:g} are not of one camera: they differ more than fourfold")
    return float(height) if abs(ratio - 1) <= _CALIBRATION_SCATTER else height * ratio


def resize(images: Tensor, resizing: Resizing) -> Tensor:
    """Resize and pad images (B, 3, H, W) RGB 0..255, uint8 or float32, to the network's input (B, 3, *canvas).

    Interpolation is bilinear with antialiasing. Images that have the size already do not change. On the CPU uint8
    stays uint8.
    """
    if (resizing.scale_x, resizing.scale_y) != (1.0, 1.0):
        if images.device.type != "cpu":  # only the CPU resizes bytes
            images = images.float()
        # F.interpolate takes a size or factors; from factors it would compute another size
        images = torch.ops.aten._upsample_bilinear2d_aa(
            images, resizing.size, False, resizing.scale_y, resizing.scale_x
        )
    if resizing.canvas == resizing.size:
        return images
    padding = torch.tensor(PADDING, dtype=images.dtype, device=images.device).view(3, 1, 1)
    below, right = (full - part for full, part in zip(resizing.canvas, resizing.size, strict=True))
    inside = F.pad(torch.ones(1, 1, *resizing.size, dtype=torch.bool, device=images.device), (0, right, 0, below))
    return torch.where(inside, F.pad(images, (0, right, 0, below)), padding)


def _square(image_size: tuple[int, int], camera: Intrinsics | None) -> tuple[float, float]:
    return square_height(image_size[0], camera), float(image_size[1])


def _resizing(image_size: tuple[int, int], height: float, scale: float) -> Resizing:
    """Resizing by ``scale`` of an image with ``height`` rows of square pixels."""
    scale_x, scale_y = scale, scale * (height / image_size[0])
    extent = (image_size[0] * scale_y, image_size[1] * scale_x)
    size = (max(1, math.floor(extent[0] + _ROUNDING)), max(1, math.floor(extent[1] + _ROUNDING)))
    return Resizing(scale_x, scale_y, size, extent, size)

"""How a picture becomes the network's input: made square, resized by one factor, never squeezed.

One rule for everything that shows pictures to a network: at run time, in validation, in training and for programs of
one fixed size. Depth follows from the focal length at the network's resolution, so the factors are kept exactly; whole
pixels are counted afterwards, and what is left of a pixel on the right and below is not looked at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from dvps_ros.structures import Intrinsics

#: What stands on the right and below of a picture that fills its canvas only in part: the mean color that the network
#: subtracts, so that it becomes zeros there.
PADDING = (124, 116, 104)
#: fx and fy that differ by less say nothing of the sensor: calibrations of square pixels scatter by that much.
_CALIBRATION_SCATTER = 0.02
#: Pixels longer than this, in widths, are none of a camera (interlaced fields have 2).
_LONGEST_PIXEL = 4.0
#: The network pads to multiples of 32; a side may become so long that this at most doubles the pixels.
_THINNEST = 16
#: A product that rounding left this far below a whole number of pixels is that number.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Resizing:
    """The way from an image to the network's.

    Image pixel (u, v) is seen at ((u + 0.5) * scale_x - 0.5, (v + 0.5) * scale_y - 0.5).

    Attributes
    ----------
    scale_x, scale_y : network pixels per image pixel; equal where the image's pixels are square.
    size : (h, w) whole pixels of the resized image.
    extent : (h, w) network pixels that the image covers, fractions included: less than one more than ``size``.
    canvas : (h, w) pixels that the network is given, the rest of them padding on the right and below.
    """

    scale_x: float
    scale_y: float
    size: tuple[int, int]
    extent: tuple[float, float]
    canvas: tuple[int, int]

    def camera(self, camera: Intrinsics) -> Intrinsics:
        """The camera of the resized image, whose own is ``camera``."""
        return scaled(camera, self.scale_x, self.scale_y, self.size)


def to_budget(image_size: tuple[int, int], pixels: int = 0, camera: Intrinsics | None = None) -> Resizing:
    """Resizing to a number of pixels: the factor with which the square-pixel image has that area.

    Sizes are rounded down, so that the area never exceeds the budget. An image of exactly that area stays as it is.

    Parameters
    ----------
    image_size : (H, W).
    pixels : area in pixels of the network's image; 0: the image's own.
    camera : of the image. Where fx and fy differ by more than 2 %, its pixels are not square: the image is made so in
        height, fx staying what it is.

    Raises ``ValueError`` for a camera whose pixels are more than four times as long as wide (or the reverse).
    """
    height, width = _square(image_size, camera)
    if not pixels:
        return _resizing(image_size, height, 1.0)
    scale = min(math.sqrt(pixels / (height * width)), pixels / _THINNEST / max(height, width))
    return _resizing(image_size, height, scale)


def to_canvas(image_size: tuple[int, int], canvas: tuple[int, int], camera: Intrinsics | None = None) -> Resizing:
    """Resizing to the largest size that fits into ``canvas`` (h, w); the rest of it is padding.

    Pixels that are not square are made so, and ``ValueError`` is raised, as in ``to_budget``.
    """
    height, width = _square(image_size, camera)
    return replace(_resizing(image_size, height, min(canvas[0] / height, canvas[1] / width)), canvas=canvas)


def to_size(image_size: tuple[int, int], size: tuple[int, int]) -> Resizing:
    """Resizing to exactly ``size`` (h, w), each side by its own factor: for networks that are used to it."""
    scale_y, scale_x = (new / old for new, old in zip(size, image_size, strict=True))
    return Resizing(scale_x, scale_y, size, (float(size[0]), float(size[1])), size)


def square_height(height: int, camera: Intrinsics | None) -> float:
    """The height in pixels of an image of ``height`` rows, were its pixels as high as they are wide.

    Raises ``ValueError`` as ``to_budget`` does.
    """
    if camera is None or not camera.valid:
        return float(height)
    ratio = camera.fx / camera.fy
    if not 1 / _LONGEST_PIXEL <= ratio <= _LONGEST_PIXEL:
        raise ValueError(f"fx {camera.fx:g} and fy {camera.fy:g} are not of one camera: they differ more than fourfold")
    return float(height) if abs(ratio - 1) <= _CALIBRATION_SCATTER else height * ratio


def resize(images: Tensor, how: Resizing) -> Tensor:
    """Images (B, 3, H, W) RGB 0..255, uint8 or float32, as the network is given them: (B, 3, *canvas).

    Bilinear with antialiasing; unchanged where there is nothing to do. On the CPU bytes stay bytes.
    """
    if (how.scale_x, how.scale_y) != (1.0, 1.0):
        if images.device.type != "cpu":  # only the CPU resizes bytes
            images = images.float()
        # F.interpolate takes a size or factors, and would round a size of its own from these
        images = torch.ops.aten._upsample_bilinear2d_aa(images, how.size, False, how.scale_y, how.scale_x)
    if how.canvas == how.size:
        return images
    padding = torch.tensor(PADDING, dtype=images.dtype, device=images.device).view(3, 1, 1)
    below, right = (full - part for full, part in zip(how.canvas, how.size, strict=True))
    inside = F.pad(torch.ones(1, 1, *how.size, dtype=torch.bool, device=images.device), (0, right, 0, below))
    return torch.where(inside, F.pad(images, (0, right, 0, below)), padding)


def scaled(camera: Intrinsics, scale_x: float, scale_y: float, size: tuple[int, int]) -> Intrinsics:
    """The camera of an image resized by these factors exactly, of which ``size`` (h, w) whole pixels are looked at."""
    return replace(
        camera,
        fx=camera.fx * scale_x,
        fy=camera.fy * scale_y,
        cx=(camera.cx + 0.5) * scale_x - 0.5,
        cy=(camera.cy + 0.5) * scale_y - 0.5,
        width=size[1],
        height=size[0],
    )


def _square(image_size: tuple[int, int], camera: Intrinsics | None) -> tuple[float, float]:
    return square_height(image_size[0], camera), float(image_size[1])


def _resizing(image_size: tuple[int, int], height: float, scale: float) -> Resizing:
    """By one factor, after ``image_size`` was made ``height`` pixels high."""
    scale_x, scale_y = scale, scale * (height / image_size[0])
    extent = (image_size[0] * scale_y, image_size[1] * scale_x)
    size = (max(1, math.floor(extent[0] + _ROUNDING)), max(1, math.floor(extent[1] + _ROUNDING)))
    return Resizing(scale_x, scale_y, size, extent, size)

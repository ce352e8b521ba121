"""Pixel formats of sensor_msgs/Image: what they hold, and their way to RGB.

For messages of any origin with sensor_msgs' fields: a node's from rclpy, a recording's without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np


class ImageMessage(Protocol):
    """The fields of sensor_msgs/Image that say what its pixels are; ``data`` offers its bytes as a buffer."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


@dataclass(frozen=True)
class PixelFormat:
    """Memory layout of one encoding of sensor_msgs/image_encodings.

    Attributes
    ----------
    channels : values per pixel.
    bytes : bytes per value.
    to_rgb : OpenCV's conversion code to RGB, None where it is RGB already.
    even_width, even_height : True where pixels come in pairs.
    """

    channels: int
    bytes: int
    to_rgb: int | None
    even_width: bool = False
    even_height: bool = False


def _bayer(code: int) -> dict[int, PixelFormat]:
    return {bits: PixelFormat(1, bits // 8, code, even_width=True, even_height=True) for bits in (8, 16)}


# OpenCV names a Bayer pattern after its second row's second and third pixel, ROS after the first two rows' first two.
_BAYER = {
    "rggb": _bayer(cv2.COLOR_BayerBG2RGB),
    "bggr": _bayer(cv2.COLOR_BayerRG2RGB),
    "gbrg": _bayer(cv2.COLOR_BayerGR2RGB),
    "grbg": _bayer(cv2.COLOR_BayerGB2RGB),
}

#: Every encoding that can be read, by its name in sensor_msgs/image_encodings.
FORMATS: dict[str, PixelFormat] = {
    "rgb8": PixelFormat(3, 1, None),
    "bgr8": PixelFormat(3, 1, cv2.COLOR_BGR2RGB),
    "rgba8": PixelFormat(4, 1, cv2.COLOR_RGBA2RGB),
    "bgra8": PixelFormat(4, 1, cv2.COLOR_BGRA2RGB),
    "mono8": PixelFormat(1, 1, cv2.COLOR_GRAY2RGB),
    "mono16": PixelFormat(1, 2, cv2.COLOR_GRAY2RGB),
    **{f"bayer_{name}{bits}": layout for name, sizes in _BAYER.items() for bits, layout in sizes.items()},
    "yuv422": PixelFormat(2, 1, cv2.COLOR_YUV2RGB_UYVY, even_width=True),
    "uyvy": PixelFormat(2, 1, cv2.COLOR_YUV2RGB_UYVY, even_width=True),
    "yuv422_yuy2": PixelFormat(2, 1, cv2.COLOR_YUV2RGB_YUYV, even_width=True),
    "yuyv": PixelFormat(2, 1, cv2.COLOR_YUV2RGB_YUYV, even_width=True),
}


def check_image(message: ImageMessage, max_pixels: int) -> None:
    """Raise ``ValueError`` saying what is wrong with an image message: encoding, size, step or amount of data."""
    layout = FORMATS.get(message.encoding)
    if layout is None:
        raise ValueError(f"image encoding {message.encoding[:40]!r} is not one of {', '.join(FORMATS)}")
    height, width, step, size = message.height, message.width, message.step, len(message.data)
    if height == 0 or width == 0:
        raise ValueError(f"image is empty ({width}x{height})")
    if height * width > max_pixels:
        raise ValueError(f"image of {width}x{height} has more than max_pixels = {max_pixels} pixels")
    if step < width * layout.channels * layout.bytes:
        raise ValueError(f"image step {step} is shorter than {width} pixels of {message.encoding}")
    if size != step * height:
        raise ValueError(f"image of {height} rows of {step} bytes has {size} bytes of data, not {step * height}")
    if (layout.even_width and width % 2) or (layout.even_height and height % 2):
        raise ValueError(f"{message.encoding} cannot be {width}x{height}: pixels come in pairs")


def view(message: ImageMessage) -> np.ndarray:
    """(H, W) or (H, W, C) view of a checked message's values; a native-endian copy where the bytes are swapped."""
    layout = FORMATS[message.encoding]
    order = ">" if message.is_bigendian else "<"
    shape = (message.height, message.width, layout.channels)
    strides = (message.step, layout.channels * layout.bytes, layout.bytes)
    pixels = np.ndarray(shape, f"{order}u{layout.bytes}", buffer=message.data, strides=strides)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return pixels[..., 0] if layout.channels == 1 else pixels


def to_rgb(pixels: np.ndarray, encoding: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB, contiguous, of values as ``view`` gives them; 16 bits are scaled to 8, alpha is dropped."""
    layout = FORMATS[encoding]
    pixels = np.ascontiguousarray(pixels)
    if layout.to_rgb is None:
        return pixels
    # demosaic before narrowing: interpolation then rounds once
    rgb = cv2.cvtColor(pixels, layout.to_rgb)
    return cv2.convertScaleAbs(rgb, alpha=255 / 65535) if layout.bytes == 2 else rgb

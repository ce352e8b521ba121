"""Pixel formats of sensor_msgs/Image: what they hold, and their way to RGB.

For messages of any origin with sensor_msgs' fields: a node's from rclpy, a recording's without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np

#: The largest value of 16 bits.
FULL = 65535


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


@dataclass(frozen=True)
class Pixels:
    """A picture as its camera sent it: not demosaiced, not narrowed to 8 bits.

    Attributes
    ----------
    values : (H, W) or (H, W, C) uint8 or uint16, native byte order.
    encoding : how to read them, a key of ``FORMATS``.
    narrowed : the camera's values were 16 bits wide, and a JPEG has kept their upper 8.
    colorless : why the colors of the camera are not in it, empty where they are.
    """

    values: np.ndarray
    encoding: str
    narrowed: bool = False
    colorless: str = ""

    @property
    def wide(self) -> bool:
        """Whether the camera's values were 16 bits wide."""
        return self.narrowed or FORMATS[self.encoding].bytes == 2


def _color(name: str, channels: int, code: int | None) -> dict[str, PixelFormat]:
    return {f"{name}{bits}": PixelFormat(channels, bits // 8, code) for bits in (8, 16)}


def _bayer(name: str, code: int) -> dict[str, PixelFormat]:
    return {f"bayer_{name}{bits}": PixelFormat(1, bits // 8, code, True, True) for bits in (8, 16)}


#: Every encoding that can be read, by its name in sensor_msgs/image_encodings.
FORMATS: dict[str, PixelFormat] = {
    **_color("rgb", 3, None),
    **_color("bgr", 3, cv2.COLOR_BGR2RGB),
    **_color("rgba", 4, cv2.COLOR_RGBA2RGB),
    **_color("bgra", 4, cv2.COLOR_BGRA2RGB),
    **_color("mono", 1, cv2.COLOR_GRAY2RGB),
    "8UC1": PixelFormat(1, 1, cv2.COLOR_GRAY2RGB),
    "16UC1": PixelFormat(1, 2, cv2.COLOR_GRAY2RGB),
    # OpenCV names a Bayer pattern after its second row's second and third pixel, ROS after the first two rows' first
    # two.
    **_bayer("rggb", cv2.COLOR_BayerBG2RGB),
    **_bayer("bggr", cv2.COLOR_BayerRG2RGB),
    **_bayer("gbrg", cv2.COLOR_BayerGR2RGB),
    **_bayer("grbg", cv2.COLOR_BayerGB2RGB),
    "yuv422": PixelFormat(2, 1, cv2.COLOR_YUV2RGB_UYVY, even_width=True),
    "uyvy": PixelFormat(2, 1, cv2.COLOR_YUV2RGB_UYVY, even_width=True),
    "yuv422_yuy2": PixelFormat(2, 1, cv2.COLOR_YUV2RGB_YUYV, even_width=True),
    "yuyv": PixelFormat(2, 1, cv2.COLOR_YUV2RGB_YUYV, even_width=True),
}
#: One channel of 16 bits, which holds depth maps more often than pictures: read where asked for, never chosen.
MAYBE_DEPTH = ("mono16", "16UC1")


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
    check_pairs(message.encoding, width, height)


def check_pairs(encoding: str, width: int, height: int) -> None:
    """Raise ``ValueError`` where pixels of ``encoding`` come in pairs and a size cuts one apart."""
    layout = FORMATS[encoding]
    if (layout.even_width and width % 2) or (layout.even_height and height % 2):
        raise ValueError(f"{encoding} cannot be {width}x{height}: pixels come in pairs")


def raw_pixels(message: ImageMessage, max_pixels: int) -> Pixels:
    """The pixels of a sensor_msgs/Image, a view of its data where the byte order is native.

    Raises ``ValueError`` as ``check_image`` does.
    """
    check_image(message, max_pixels)
    layout = FORMATS[message.encoding]
    order = ">" if message.is_bigendian else "<"
    shape = (message.height, message.width, layout.channels)
    strides = (message.step, layout.channels * layout.bytes, layout.bytes)
    values = np.ndarray(shape, f"{order}u{layout.bytes}", buffer=message.data, strides=strides)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    return Pixels(values[..., 0] if layout.channels == 1 else values, message.encoding)


def to_rgb(pixels: Pixels, bits: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 RGB, contiguous, possibly a view of the pixels; alpha is dropped.

    Parameters
    ----------
    bits : how many bits of a camera's 16 carry its picture (10, 12, 14): the largest number of so many bits becomes
        255, and what exceeds it too. 0: all 16. Of no effect where the camera's values are 8 bits wide.
    """
    layout = FORMATS[pixels.encoding]
    values = np.ascontiguousarray(pixels.values)
    # demosaic before narrowing: interpolation then rounds once
    rgb = values if layout.to_rgb is None else cv2.cvtColor(values, layout.to_rgb)
    white = white_of(bits)
    if layout.bytes == 2:
        return cv2.convertScaleAbs(rgb, alpha=255 / white)
    if pixels.narrowed and white != FULL:
        return cv2.convertScaleAbs(rgb, alpha=FULL / white)
    return rgb


def white_of(bits: int) -> int:
    """The value of 16-bit pixels that is white, where ``bits`` of them carry the picture (0: all)."""
    return (1 << bits) - 1 if bits else FULL

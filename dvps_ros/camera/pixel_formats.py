"""Pixel formats of sensor_msgs/Image, and their conversion to RGB.

A message is any object with the fields of sensor_msgs/Image, from rclpy or from a recording.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np

#: The largest value of 16 bits.
FULL = 65535


class ImageMessage(Protocol):
    """The fields of sensor_msgs/Image that are used; ``data`` supports the buffer protocol."""

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
    to_rgb : OpenCV's conversion code to RGB, None for RGB.
    even_width, even_height : whether pixels come in pairs along this side.
    """

    channels: int
    bytes: int
    to_rgb: int | None
    even_width: bool = False
    even_height: bool = False


@dataclass(frozen=True)
class Pixels:
    """Pixels as the camera sent them, before demosaicing and conversion to 8 bits.

    Attributes
    ----------
    values : (H, W) or (H, W, C) uint8 or uint16, native byte order.
    encoding : pixel format of ``values``, a key of ``FORMATS``.
    narrowed : whether the camera's values had 16 bits, of which a JPEG kept the upper 8.
    colorless : why the camera's colors are lost; empty if they are not.
    """

    values: np.ndarray
    encoding: str
    narrowed: bool = False
    colorless: str = ""

    @property
    def wide(self) -> bool:
        """Whether the camera's values had 16 bits."""
        return self.narrowed or FORMATS[self.encoding].bytes == 2


def _color(name: str, channels: int, code: int | None) -> dict[str, PixelFormat]:
    return {f"{name}{bits}": PixelFormat(channels, bits // 8, code) for bits in (8, 16)}


def _bayer(name: str, code: int) -> dict[str, PixelFormat]:
    return {f"bayer_{name}{bits}": PixelFormat(1, bits // 8, code, True, True) for bits in (8, 16)}


#: All supported encodings, by their names in sensor_msgs/image_encodings.
FORMATS: dict[str, PixelFormat] = {
    **_color("rgb", 3, None),
    **_color("bgr", 3, cv2.COLOR_BGR2RGB),
    **_color("rgba", 4, cv2.COLOR_RGBA2RGB),
    **_color("bgra", 4, cv2.COLOR_BGRA2RGB),
    **_color("mono", 1, cv2.COLOR_GRAY2RGB),
    "8UC1": PixelFormat(1, 1, cv2.COLOR_GRAY2RGB),
    "16UC1": PixelFormat(1, 2, cv2.COLOR_GRAY2RGB),
    # OpenCV names a Bayer pattern by the second and third pixel of its second row, ROS by its upper left 2x2 pixels.
    **_bayer("rggb", cv2.COLOR_BayerBG2RGB),
    **_bayer("bggr", cv2.COLOR_BayerRG2RGB),
    **_bayer("gbrg", cv2.COLOR_BayerGR2RGB),
    **_bayer("grbg", cv2.COLOR_BayerGB2RGB),
    "yuv422": PixelFormat(2, 1, cv2.COLOR_YUV2RGB_UYVY, even_width=True),
    "uyvy": PixelFormat(2, 1, cv2.COLOR_YUV2RGB_UYVY, even_width=True),
    "yuv422_yuy2": PixelFormat(2, 1, cv2.COLOR_YUV2RGB_YUYV, even_width=True),
    "yuyv": PixelFormat(2, 1, cv2.COLOR_YUV2RGB_YUYV, even_width=True),
}
#: One channel of 16 bits is more often a depth map than a picture, so such topics are read only on request.
MAYBE_DEPTH = ("mono16", "16UC1")


def check_image(message: ImageMessage, max_pixels: int) -> None:
    """Raise ``ValueError`` if encoding, size, step or amount of data of an image message are wrong."""
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
    """Raise ``ValueError`` for an odd size if pixels of ``encoding`` come in pairs."""
    layout = FORMATS[encoding]
    if (layout.even_width and width % 2) or (layout.even_height and height % 2):
        raise ValueError(f"{encoding} cannot be {width}x{height}: pixels come in pairs")


def raw_pixels(message: ImageMessage, max_pixels: int) -> Pixels:
    """The pixels of a sensor_msgs/Image, a view of its data if the byte order is native.

    Raises ``ValueError`` as ``check_image``.
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
    bits : number of significant bits of 16-bit values (10, 12, 14): the largest value of this many bits and larger
        values become 255. 0: all 16. It has no effect on 8-bit values.
    """
    layout = FORMATS[pixels.encoding]
    values = np.ascontiguousarray(pixels.values)
    # demosaic before the conversion to 8 bits, so that values are rounded once
    rgb = values if layout.to_rgb is None else cv2.cvtColor(values, layout.to_rgb)
    white = white_of(bits)
    if layout.bytes == 2:
        return cv2.convertScaleAbs(rgb, alpha=255 / white)
    if pixels.narrowed and white != FULL:
        return cv2.convertScaleAbs(rgb, alpha=FULL / white)
    return rgb


def white_of(bits: int) -> int:
    """The value of white in 16-bit pixels with ``bits`` significant bits (0: all)."""
    return (1 << bits) - 1 if bits else FULL

"""Decoding of JPEG and PNG. Headers and checksums are checked before a decoder allocates the size in the header."""

from __future__ import annotations

import struct
import zlib
from typing import Any, Protocol

import cv2
import numpy as np

from dvps_ros.camera.pixel_formats import Pixels
from dvps_ros.camera.transport import read_format

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
#: Markers of a JPEG's frame headers, which hold the size: SOF, without DHT, JPG and DAC (ITU-T T.81, table B.1).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: Markers without a segment: TEM, RST0 to RST7.
_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})


class CompressedMessage(Protocol):
    """The fields of sensor_msgs/CompressedImage that are used; ``data`` supports the buffer protocol."""

    format: str
    data: Any


def compressed_pixels(message: CompressedMessage, max_pixels: int) -> Pixels:
    """The pixels of a sensor_msgs/CompressedImage, decoded by its ``format``.

    An EXIF orientation is ignored, because camera_info refers to the sensor.

    Raises
    ------
    ValueError : the codec or pixel format is not supported, or as ``decode``.
    """
    try:
        payload = read_format(message.format)
        return payload.pixels(decode(bytes(message.data), cv2.IMREAD_UNCHANGED, max_pixels))
    except ValueError as error:
        raise ValueError(f"compressed image ({message.format[:40]!r}) cannot be decoded: {error}") from error


def decode(data: bytes, flags: int, max_pixels: int) -> np.ndarray:
    """(H, W) or (H, W, C) values of a JPEG or PNG, from OpenCV's imdecode with these flags.

    Raises ``ValueError`` as ``check_compressed``, and if the decoder fails.
    """
    check_compressed(data, max_pixels)
    return decode_unchecked(data, flags)


def decode_unchecked(data: bytes, flags: int) -> np.ndarray:
    """(H, W) or (H, W, C) values of a picture in any format of OpenCV; raises ``ValueError`` if it cannot be decoded.

    A truncated file may give a picture that is partly gray or black, so use ``decode`` for JPEG and PNG.
    """
    try:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error as error:
        raise ValueError(f"damaged ({error.err})") from error
    if values is None:
        raise ValueError("damaged")
    return values


def check_compressed(data: bytes, max_pixels: int) -> tuple[int, int]:
    """Width and height of a JPEG or PNG, from its own bytes.

    Raises
    ------
    ValueError : it is neither, truncated, damaged, empty, or has more than ``max_pixels`` pixels.
    """
    if not data:
        raise ValueError("no data")
    if data.startswith(PNG):
        size = _png_size(data)
    elif data.startswith(JPEG):
        size = _jpeg_size(data)
    else:
        raise ValueError("neither JPEG nor PNG")
    if size is None:
        raise ValueError("truncated, a part is missing")
    width, height = size
    if width == 0 or height == 0:
        raise ValueError(f"empty ({width}x{height})")
    if width * height > max_pixels:
        raise ValueError(f"image of {width}x{height} has more than max_pixels = {max_pixels} pixels")
    return width, height


def _png_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in the header; None if a chunk is incomplete.

    Every chunk is checked, because OpenCV allocates a chunk's stated length: gigabytes after one flipped bit.
    """
    at, size = len(PNG), None
    while at + 12 <= len(data):
        (length,), kind = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data) or (kind == b"IHDR") != (size is None):  # the header must be first, and unique
            return None
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ValueError("damaged, a checksum is wrong")
        if size is None:
            if length != 13:
                return None
            size = struct.unpack_from(">II", data, at + 8)
        if kind == b"IEND":
            return size
        at = end
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in the frame header, which precedes the first scan; None if it or the end marker is missing."""
    # the marker cannot occur inside a scan; an end marker before the last scan belongs to an embedded thumbnail
    if data.rfind(_JPEG_END) <= data.rfind(_JPEG_SCAN):
        return None
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _JPEG_ALONE:
            at += 2
        elif marker in _JPEG_FRAMES and at + 9 <= len(data):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        elif marker in (0xD9, 0xDA):
            return None
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None

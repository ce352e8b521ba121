"""Picture files and compressed image messages: strict reading, so that a half picture is never taken for a whole."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

#: What ``read_picture`` is known to read.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")

_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_JPEG, _JPEG_SCAN, _JPEG_END = b"\xff\xd8\xff", b"\xff\xda", b"\xff\xd9"


def read_picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a picture file, turned upright by its EXIF orientation.

    Raises ``ValueError`` naming a file that is truncated or no picture, ``FileNotFoundError`` a missing one.
    """
    try:
        return decode(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def decode(data: bytes | np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an encoded picture; ``ValueError`` saying what is wrong with it."""
    raw = bytes(data)
    if _torn(raw):
        raise ValueError("truncated picture")
    try:
        bgr = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR) if raw else None
    except cv2.error as error:
        raise ValueError(f"not a readable picture ({error.err})") from error
    if bgr is None:
        raise ValueError("not a readable picture")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def _torn(data: bytes) -> bool:
    """Whether the end is missing, which OpenCV replaces by gray or black without a word."""
    if data.startswith(_PNG):
        return _PNG_END not in data[-64:]
    if data.startswith(_JPEG):
        # inside a scan these two bytes cannot occur; an end before the last scan is that of an embedded thumbnail
        return data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN)
    return False

"""Strict reading of picture files: a truncated picture is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dvps_ros.camera.compressed import JPEG, PNG, decode, decode_unchecked
from dvps_ros.camera.pixel_formats import Pixels, to_rgb

#: Suffixes of the files that ``read_picture`` supports.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
#: A header with more pixels is considered damaged.
MAX_PIXELS = 2**28


def read_picture(path: Path, bits: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a picture file; ``to_rgb`` converts 16 bits with ``bits``.

    Raises as ``read_pixels``.
    """
    return to_rgb(read_pixels(path), bits)


def read_pixels(path: Path) -> Pixels:
    """The pixels of a picture file, (H, W, 3) uint8 or uint16, turned upright by the EXIF orientation.

    A calibration for such files refers to the upright pictures.

    Raises ``ValueError`` naming a file that is truncated or not a picture, ``FileNotFoundError`` naming a missing one.
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    data = Path(path).read_bytes()
    strict = data.startswith((PNG, JPEG))
    try:
        values = decode(data, flags, MAX_PIXELS) if strict else decode_unchecked(data, flags)
    except ValueError as error:
        raise ValueError(f"{path}: {error if strict else f'not a readable picture ({error})'}") from error
    if values.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{path}: not a readable picture (its values are of type {values.dtype})")
    return Pixels(values, f"bgr{8 * values.dtype.itemsize}")

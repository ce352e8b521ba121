"""Picture files, read strictly: half a picture is never taken for a whole."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dvps_ros.camera.compressed import JPEG, PNG, decode, decode_unchecked
from dvps_ros.camera.pixel_formats import Pixels, to_rgb

#: What ``read_picture`` is known to read.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
#: Larger pictures are taken for a damaged header.
MAX_PIXELS = 2**28


def read_picture(path: Path, bits: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a picture file; 16 bits become 8 as ``to_rgb`` does it.

    Raises as ``read_pixels`` does.
    """
    return to_rgb(read_pixels(path), bits)


def read_pixels(path: Path) -> Pixels:
    """The pixels of a picture file, (H, W, 3) uint8 or uint16, turned upright by its EXIF orientation.

    A calibration for such files is that of the upright pictures.

    Raises ``ValueError`` naming a file that is truncated or no picture, ``FileNotFoundError`` a missing one.
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

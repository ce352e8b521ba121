"""PNG files: strict reading, atomic writing."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dvps_ros.camera.compressed import PNG, decode
from dvps_ros.camera.pictures import MAX_PIXELS
from dvps_ros.files import write_bytes

#: Depth steps per metre in the 16-bit depth files of both data sets.
DEPTH_SCALE = 256.0


def read_rgb(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an 8-bit PNG.

    Raises ``ValueError`` naming a broken file, ``FileNotFoundError`` naming a missing one.
    """
    return cv2.cvtColor(_decode(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_values(path: Path) -> np.ndarray:
    """(H, W) int32 values of an 8- or 16-bit one-channel PNG.

    The type is signed because differences of uint16 would wrap around. Raises ``ValueError`` naming a broken file or
    one with several channels or fewer bits, whose values OpenCV would stretch to 0..255; ``FileNotFoundError`` naming a
    missing one.
    """
    values = _decode(path, cv2.IMREAD_UNCHANGED)
    if values.ndim != 2:
        raise ValueError(f"{path}: {values.shape[2]} channels, expected one")
    if bits(path) not in (8, 16):
        raise ValueError(f"{path}: {bits(path)} bits, expected 8 or 16")
    return values.astype(np.int32)


def bits(path: Path) -> int:
    """Bits per sample of a PNG file, from its header (PNG specification, section 11.2.2)."""
    with Path(path).open("rb") as file:
        return file.read(25)[-1]


def read_depth(path: Path) -> np.ndarray:
    """(H, W) float32 metres of a 16-bit depth file, 0 = no label; errors as in ``read_rgb``."""
    return metres(read_values(path))


def metres(values: np.ndarray) -> np.ndarray:
    """(H, W) float32 metres from the values of a depth file."""
    return values.astype(np.float32) / np.float32(DEPTH_SCALE)


def encode_depth(depth: np.ndarray) -> np.ndarray:
    """(H, W) metres to (H, W) 16-bit file values; 0 where not finite, not positive or beyond the format (256 m)."""
    depth = np.asarray(depth, np.float64)
    valid = np.isfinite(depth) & (depth > 0)
    steps = np.rint(np.where(valid, depth, 0.0) * DEPTH_SCALE)
    valid &= steps < np.iinfo(np.uint16).max
    return np.where(valid, np.maximum(steps, 1), 0).astype(np.uint16)


def write(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W) uint8 or uint16, or (H, W, 3) uint8 RGB, as PNG, atomically.

    Raises ``ValueError`` naming the file if the array has another shape or type.
    """
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise ValueError(f"{path}: {pixels.dtype} {pixels.shape} cannot be written as PNG")
    write_bytes(path, data.tobytes())


def _decode(path: Path, mode: int) -> np.ndarray:
    data = Path(path).read_bytes()
    try:
        if not data.startswith(PNG):
            raise ValueError("truncated or not a PNG file")
        return decode(data, mode, MAX_PIXELS)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error

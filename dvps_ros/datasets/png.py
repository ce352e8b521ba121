"""PNG files: strict reading, and writing that never leaves half a file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import cv2
import numpy as np

#: A PNG ends with the empty IEND chunk and its checksum (PNG specification, section 11.2.5).
_END = b"IEND\xaeB`\x82"
#: Depth steps per metre in the 16-bit depth files of both data sets.
DEPTH_SCALE = 256.0


def read_rgb(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an 8-bit PNG; ``ValueError`` naming a broken file, ``FileNotFoundError`` a missing one."""
    return cv2.cvtColor(_decode(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_values(path: Path) -> np.ndarray:
    """(H, W) int32 values of an 8- or 16-bit one-channel PNG.

    Signed on purpose: differences of the file's own uint16 would wrap around. ``ValueError``
    naming a broken file or one of several channels, ``FileNotFoundError`` a missing one.
    """
    values = _decode(path, cv2.IMREAD_UNCHANGED)
    if values.ndim != 2:
        raise ValueError(f"{path}: {values.shape[2]} channels where one was expected")
    return values.astype(np.int32)


def read_depth(path: Path) -> np.ndarray:
    """(H, W) float32 metres of a 16-bit depth file, 0 = no label; errors as in ``read_rgb``."""
    return metres(read_values(path))


def metres(values: np.ndarray) -> np.ndarray:
    """(H, W) float32 metres from the values of a depth file."""
    return values.astype(np.float32) / np.float32(DEPTH_SCALE)


def encode_depth(depth: np.ndarray) -> np.ndarray:
    """(H, W) metres to the 16-bit file values; 0 where not finite, not positive or beyond the format (256 m)."""
    depth = np.asarray(depth, np.float64)
    valid = np.isfinite(depth) & (depth > 0)
    steps = np.rint(np.where(valid, depth, 0.0) * DEPTH_SCALE)
    valid &= steps < np.iinfo(np.uint16).max
    return np.where(valid, np.maximum(steps, 1), 0).astype(np.uint16)


def write(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W) uint8 or uint16, or (H, W, 3) uint8 RGB, as PNG, under a temporary name first.

    Raises ``ValueError`` naming the file when the array is none of these.
    """
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise ValueError(f"{path}: {pixels.dtype} {pixels.shape} cannot be written as PNG")
    write_bytes(path, data.tobytes())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file under a temporary name in its folder, then rename it: readers see all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp gives 0600, which other users could not read
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _decode(path: Path, mode: int) -> np.ndarray:
    data = Path(path).read_bytes()
    # OpenCV fills the missing rows of a truncated PNG with zeros and says nothing
    if _END not in data[-64:]:
        raise ValueError(f"{path}: truncated or not a PNG file")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    except cv2.error as error:  # a header that promises more pixels than OpenCV takes
        raise ValueError(f"{path}: not a readable PNG file ({error.err})") from error
    if pixels is None:
        raise ValueError(f"{path}: not a readable PNG file")
    return pixels

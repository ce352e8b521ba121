"""From messages to arrays: images in every common encoding, and cameras.

Every fault of a message becomes a ``ValueError`` of one line, which a node can log and count.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from dvps_ros.camera.calibration import intrinsics_of
from dvps_ros.camera.compressed import compressed_pixels
from dvps_ros.camera.pixel_formats import Pixels, check_image, raw_pixels, to_rgb
from dvps_ros.errors import joined
from dvps_ros.nodes.image_conversion import ImageBridge
from dvps_ros.structures import Intrinsics

__all__ = ["check_image", "image_to_rgb", "info_of", "intrinsics_of", "nanoseconds"]


def image_to_rgb(
    message: Image | CompressedImage,
    bridge: ImageBridge | None,
    max_pixels: int,
    bits: int = 0,
    look: Callable[[Pixels, int], None] | None = None,
) -> np.ndarray:
    """(H, W, 3) uint8 RGB, contiguous, of an image message; possibly a view of its data.

    Gray becomes three equal channels, a mosaic is demosaiced, 16 bits are scaled to 8, alpha is dropped.

    Parameters
    ----------
    bridge : converts the raw images that it takes; all others are converted as those of recordings.
    bits : how many bits of 16 carry the picture (see ``pixel_formats.to_rgb``).
    look : called with the unconverted pixels, and ``bits``.

    Raises
    ------
    ValueError : one line, for anything truncated, empty, oversized, or of an encoding that is not listed in
        ``FORMATS``; oversized ones before memory is taken for them.
    """
    read = compressed_pixels if isinstance(message, CompressedImage) else raw_pixels
    pixels = read(message, max_pixels)
    if look is not None:
        look(pixels, bits)
    if bridge is None or isinstance(message, CompressedImage) or not bridge.takes(message):
        return to_rgb(pixels, bits)
    try:
        rgb = bridge.to_rgb(message)
    except Exception as error:  # cv_bridge raises many kinds, each for a fault of the message
        raise ValueError(f"{message.encoding} image cannot be decoded: {joined(error)}") from error
    return np.ascontiguousarray(rgb)


def info_of(camera: Intrinsics) -> CameraInfo:
    """A CameraInfo (without header) that describes ``camera``; R is the identity, P = K without distortion."""
    k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    p = [camera.fx, 0.0, camera.cx, 0.0, 0.0, camera.fy, camera.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return CameraInfo(
        width=int(camera.width),
        height=int(camera.height),
        distortion_model=camera.distortion_model or "plumb_bob",
        d=[float(value) for value in camera.distortion] or [0.0] * 5,
        k=[float(value) for value in k],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[float(value) for value in p],
    )


def nanoseconds(stamp: Time) -> int:
    """A stamp as nanoseconds; negative for one before the epoch, which no clock of ROS gives."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec

"""From messages to arrays: images in every common encoding, and cameras.

Whatever is wrong with a message becomes a ``ValueError`` of one line, so that a node can log and count it and go on.
"""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from dvps_ros.camera.calibration import intrinsics_of
from dvps_ros.camera.compressed import check_compressed
from dvps_ros.camera.pixel_formats import check_image
from dvps_ros.nodes.image_conversion import ImageBridge
from dvps_ros.structures import Intrinsics

__all__ = ["check_image", "image_to_rgb", "info_of", "intrinsics_of", "nanoseconds"]


def image_to_rgb(message: Image | CompressedImage, bridge: ImageBridge, max_pixels: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB, contiguous, of an image message; possibly a view of its data.

    Gray becomes three equal channels; 16 bits are scaled to 8; alpha is dropped.

    Raises
    ------
    ValueError : one line, for anything torn, empty, oversized, or of an encoding that is not listed in ``FORMATS``;
        oversized ones before memory is taken for them.
    """
    compressed = isinstance(message, CompressedImage)
    if not compressed:
        check_image(message, max_pixels)
    try:
        if compressed:
            check_compressed(bytes(message.data), max_pixels)
        convert = bridge.compressed_imgmsg_to_cv2 if compressed else bridge.imgmsg_to_cv2
        rgb = convert(message, "rgb8")
    except Exception as error:  # cv_bridge raises many kinds, each for a fault of the message
        what = f"compressed image ({message.format[:40]!r})" if compressed else f"{message.encoding} image"
        raise ValueError(f"{what} cannot be decoded: {' '.join(str(error).split())}") from error
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
    """A stamp as nanoseconds; negative for one that lies before the epoch, which no clock of ROS has."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec

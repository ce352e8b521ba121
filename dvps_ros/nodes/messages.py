"""From messages to arrays: images in every common encoding, and cameras.

Whatever is wrong with a message becomes a ``ValueError`` of one line, so that a node can log and count it and go on.
"""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from dvps_ros.nodes.image_conversion import FORMATS, ImageBridge
from dvps_ros.structures import Intrinsics

#: Fewest and most coefficients of each distortion model of sensor_msgs/CameraInfo; zeros may follow.
DISTORTION_LENGTHS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 8), "equidistant": (4, 4)}


def check_image(message: Image, max_pixels: int) -> None:
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
    if (layout.even_width and width % 2) or (layout.even_height and height % 2):
        raise ValueError(f"{message.encoding} cannot be {width}x{height}: pixels come in pairs")


def image_to_rgb(message: Image | CompressedImage, bridge: ImageBridge, max_pixels: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB, contiguous, of an image message; possibly a view of its data.

    Gray becomes three equal channels; 16 bits are scaled to 8; alpha is dropped.

    Raises
    ------
    ValueError : one line, for anything torn, empty, oversized, or of an encoding that is not listed in ``FORMATS``.
    """
    compressed = isinstance(message, CompressedImage)
    if not compressed:
        check_image(message, max_pixels)
    try:
        convert = bridge.compressed_imgmsg_to_cv2 if compressed else bridge.imgmsg_to_cv2
        rgb = convert(message, "rgb8")
    except Exception as error:  # cv_bridge raises many kinds, each for a fault of the message
        what = f"compressed image ({message.format[:40]!r})" if compressed else f"{message.encoding} image"
        raise ValueError(f"{what}: {' '.join(str(error).split())}") from error
    if rgb.shape[0] * rgb.shape[1] > max_pixels:
        raise ValueError(f"image of {rgb.shape[1]}x{rgb.shape[0]} has more than max_pixels = {max_pixels} pixels")
    return np.ascontiguousarray(rgb)


def intrinsics_of(info: CameraInfo, width: int, height: int, rectified: bool = False) -> Intrinsics:
    """The camera behind a ``width`` x ``height`` image.

    An image whose camera has no distortion (D empty or zero), or that is said to be ``rectified``, is read through P
    (K where P is not filled in); otherwise through K and D. The region of interest, then the binning, turn the full
    sensor's camera into the image's (REP 104, sensor_msgs/CameraInfo).

    Raises
    ------
    ValueError : one line, when uncalibrated (K[0] = 0), not finite, of an unknown distortion model, or of another size.
    """
    _check_size(info, width, height)
    distortion = tuple(float(value) for value in info.d)
    straight = rectified or not any(distortion)
    use_p = straight and info.p[0] != 0
    fx, fy, cx, cy = (info.p[0], info.p[5], info.p[2], info.p[6]) if use_p else _pinhole(info)
    if fx == 0:
        raise ValueError("camera_info is uncalibrated (K[0] is 0)")
    camera = Intrinsics(float(fx), float(fy), float(cx), float(cy), int(info.width), int(info.height))
    if not straight:
        camera = Intrinsics(
            *(camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height),
            distortion_model=info.distortion_model,
            distortion=_checked(info.distortion_model, distortion),
        )
    if not camera.valid:
        raise ValueError(f"camera_info is not valid: fx {fx}, fy {fy}, cx {cx}, cy {cy}, D {distortion}")
    roi = info.roi
    if roi.width or roi.height:
        camera = camera.cropped(int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height))
    return camera if (camera.width, camera.height) == (width, height) else camera.resized(width, height)


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


def _check_size(info: CameraInfo, width: int, height: int) -> None:
    full = (info.roi.width, info.roi.height) if info.roi.width or info.roi.height else (info.width, info.height)
    expected = (full[0] // max(info.binning_x, 1), full[1] // max(info.binning_y, 1))
    if expected != (width, height):
        raise ValueError(f"camera_info is for {expected[0]}x{expected[1]}, the image is {width}x{height}")


def _pinhole(info: CameraInfo) -> tuple[float, float, float, float]:
    return info.k[0], info.k[4], info.k[2], info.k[5]


def _checked(model: str, distortion: tuple[float, ...]) -> tuple[float, ...]:
    """The coefficients without surplus zeros; ``ValueError`` for an unknown model or another number of them."""
    if model not in DISTORTION_LENGTHS:
        raise ValueError(f"camera_info's distortion_model {model[:40]!r} is not one of {', '.join(DISTORTION_LENGTHS)}")
    least, most = DISTORTION_LENGTHS[model]
    if len(distortion) < least or any(distortion[most:]):
        raise ValueError(f"camera_info's {model} has {len(distortion)} distortion coefficients, expected {most}")
    return distortion[:most]

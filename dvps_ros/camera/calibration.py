"""A camera_info message as a camera.

For messages of any origin with sensor_msgs' fields: a node's from rclpy, a recording's without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from dvps_ros.structures import Intrinsics

#: Fewest and most coefficients of each distortion model of sensor_msgs/CameraInfo; zeros may follow.
DISTORTION_LENGTHS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 8), "equidistant": (4, 4)}
#: No camera's focal length or principal point is more pixels than this.
_FARTHEST = 1e6


class InfoMessage(Protocol):
    """The fields of sensor_msgs/CameraInfo that make a camera; ``roi`` is a sensor_msgs/RegionOfInterest."""

    width: int
    height: int
    distortion_model: str
    d: Sequence[float]
    k: Sequence[float]
    p: Sequence[float]
    binning_x: int
    binning_y: int
    roi: Any


def intrinsics_of(info: InfoMessage, width: int, height: int, rectified: bool = False) -> Intrinsics:
    """The camera behind a ``width`` x ``height`` image.

    An image whose camera has no distortion (D empty or zero), or that is said to be ``rectified``, is read through P
    (K where P is not filled in); otherwise through K and D. The region of interest, then the binning, turn the full
    sensor's camera into the image's (REP 104, sensor_msgs/CameraInfo).

    Raises
    ------
    ValueError : one line, when uncalibrated (K[0] = 0), not finite or beyond reason, of an unknown distortion model, of
        another size, or with a region of interest that leaves the sensor.
    """
    _check_size(info, width, height)
    distortion = tuple(float(value) for value in info.d)
    straight = rectified or not any(distortion)
    use_p = straight and info.p[0] != 0
    if info.k[0] == 0:  # whatever P says: it is how sensor_msgs/CameraInfo says so
        raise ValueError("camera_info is uncalibrated (K[0] is 0)")
    fx, fy, cx, cy = (info.p[0], info.p[5], info.p[2], info.p[6]) if use_p else _pinhole(info)
    camera = Intrinsics(float(fx), float(fy), float(cx), float(cy), int(info.width), int(info.height))
    if not straight:
        camera = Intrinsics(
            *(camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height),
            distortion_model=info.distortion_model,
            distortion=_checked(info.distortion_model, distortion),
        )
    if not camera.valid or not _plausible(camera):
        raise ValueError(f"camera_info is not valid: fx {fx}, fy {fy}, cx {cx}, cy {cy}, D {list(camera.distortion)}")
    roi = info.roi
    if roi.width or roi.height:
        camera = camera.cropped(int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height))
    return camera if (camera.width, camera.height) == (width, height) else camera.resized(width, height)


def _check_size(info: InfoMessage, width: int, height: int) -> None:
    full = (info.width, info.height)
    if info.roi.width or info.roi.height:
        full, start = (info.roi.width, info.roi.height), (info.roi.x_offset, info.roi.y_offset)
        if start[0] + full[0] > info.width or start[1] + full[1] > info.height:
            at = f"{full[0]}x{full[1]} at ({start[0]}, {start[1]})"
            raise ValueError(f"camera_info's region of interest, {at}, leaves its {info.width}x{info.height} pixels")
    expected = (full[0] // max(info.binning_x, 1), full[1] // max(info.binning_y, 1))
    if expected != (width, height):
        raise ValueError(f"camera_info is for {expected[0]}x{expected[1]}, the image is {width}x{height}")


def _plausible(camera: Intrinsics) -> bool:
    """Whether focal lengths and principal point could be pixels; others would put points out of float32's reach."""
    focal, center = (camera.fx, camera.fy), (camera.cx, camera.cy)
    return all(1 <= value <= _FARTHEST for value in focal) and all(abs(value) <= _FARTHEST for value in center)


def _pinhole(info: InfoMessage) -> tuple[float, float, float, float]:
    return info.k[0], info.k[4], info.k[2], info.k[5]


def _checked(model: str, distortion: tuple[float, ...]) -> tuple[float, ...]:
    """The coefficients without surplus zeros; ``ValueError`` for an unknown model or another number of them."""
    if model not in DISTORTION_LENGTHS:
        raise ValueError(f"camera_info's distortion_model {model[:40]!r} is not one of {', '.join(DISTORTION_LENGTHS)}")
    least, most = DISTORTION_LENGTHS[model]
    if len(distortion) < least or any(distortion[most:]):
        raise ValueError(f"camera_info's {model} has {len(distortion)} distortion coefficients, expected {most}")
    return distortion[:most]

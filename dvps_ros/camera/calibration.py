"""Camera intrinsics from camera_info messages.

A message is any object with the fields of sensor_msgs/CameraInfo, from rclpy or from a recording.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, Protocol

import numpy as np

from dvps_ros.structures import Intrinsics

#: Minimum and maximum number of coefficients of each distortion model of sensor_msgs/CameraInfo; zeros may follow.
DISTORTION_LENGTHS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 8), "equidistant": (4, 4)}
#: Largest difference of an equal K and P: as a share of the focal lengths, and for principal points of the image size.
EQUAL = 0.01
#: Largest ratio of the focal lengths of K and P, with any distortion.
FAR = 4.0
#: Largest distance of the principal points of K and P, as a share of the image size.
SHIFTED = 0.2
#: Largest difference of an element of R from the identity, less than a pixel in any image.
UNROTATED = 1e-4
#: Words in the name of a topic of rectified images.
RECTIFIED = frozenset(("rect", "rectified"))
#: Upper limit of focal lengths and principal points, pixels.
_FARTHEST = 1e6
#: Largest plausible aspect of a pixel (interlaced fields have 2).
LONGEST_PIXEL = 4.0


class InfoMessage(Protocol):
    """The fields of sensor_msgs/CameraInfo that are used; ``roi`` is a sensor_msgs/RegionOfInterest."""

    width: int
    height: int
    distortion_model: str
    d: Sequence[float]
    k: Sequence[float]
    r: Sequence[float]
    p: Sequence[float]
    binning_x: int
    binning_y: int
    roi: Any


def intrinsics_of(info: InfoMessage, width: int, height: int, rectified: bool = False) -> Intrinsics:
    """The intrinsics of a ``width`` x ``height`` image.

    A ``rectified`` image has the intrinsics P, or K if P is not filled in. So has the image of a camera without
    distortion (D empty or zero) and rotation (R the identity, or not filled in). Any other image has K and D. The
    region of interest and then the binning are applied to the full sensor's intrinsics (REP 104,
    sensor_msgs/CameraInfo).

    ``roi.do_rectify`` does not mean that the image is rectified: it only tells how the region of a rectified image
    would be computed.

    Raises
    ------
    ValueError : the camera is uncalibrated (K[0] = 0), its values are not finite or implausible, its distortion model
        is unknown, its size differs, or its region of interest exceeds the sensor.
    """
    expected = image_size(info)
    if expected != (width, height):
        raise ValueError(f"camera_info is for {expected[0]}x{expected[1]}, the image is {width}x{height}")
    if info.k[0] == 0:  # sensor_msgs/CameraInfo's mark of an uncalibrated camera, whatever P holds
        raise ValueError("camera_info is uncalibrated (K[0] is 0)")
    distortion = tuple(float(value) for value in info.d)
    straight = rectified or not any(distortion)
    fx, fy, cx, cy = _projection(info) if _uses_p(info, rectified) else _pinhole(info)
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
    if (camera.width, camera.height) != (width, height):
        camera = camera.scaled(1 / max(info.binning_x, 1), 1 / max(info.binning_y, 1), width, height)
        if not _plausible(camera):
            raise ValueError(f"camera_info's binning makes focal lengths of {camera.fx:g} and {camera.fy:g}")
    return camera


def image_size(info: InfoMessage) -> tuple[int, int]:
    """Width and height of the images of a camera_info: its region of interest after binning.

    Raises ``ValueError`` if the region of interest exceeds the sensor.
    """
    full, roi = (info.width, info.height), info.roi
    if roi.width or roi.height:
        full = (roi.width, roi.height)
        if roi.x_offset + full[0] > info.width or roi.y_offset + full[1] > info.height:
            at = f"{full[0]}x{full[1]} at ({roi.x_offset}, {roi.y_offset})"
            raise ValueError(f"camera_info's region of interest, {at}, leaves its {info.width}x{info.height} pixels")
    return full[0] // max(info.binning_x, 1), full[1] // max(info.binning_y, 1)


def contradiction(info: InfoMessage, rectified: bool = False) -> str:
    """One line about a contradiction within a usable camera_info; empty if there is none.

    Without distortion and rotation P must equal K (sensor_msgs/CameraInfo). With them P is another camera with a
    similar view: its principal point lies in the image near that of K, and the focal lengths are similar.
    """
    k, p, size = _pinhole(info), _projection(info), (info.width, info.height)
    if p[0] == 0:
        if rectified and any(info.d):
            return "camera_info has no P, which rectified images need: K is used, without distortion"
        return ""
    used = "P" if _uses_p(info, rectified) else "K"
    values = ", ".join(f"{name} {a:g} and {b:g}" for name, a, b in zip(("fx", "fy", "cx", "cy"), k, p, strict=True))
    ratios = [b / a if a else math.inf for a, b in zip(k[:2], p[:2], strict=True)]
    shifts = [abs(b - a) / side for a, b, side in zip(k[2:], p[2:], size, strict=True)]
    if not any(info.d) and _unrotated(info) and max(*shifts, *(abs(ratio - 1) for ratio in ratios)) > EQUAL:
        return f"camera_info's K and P contradict each other, without any distortion ({values}): {used} is used"
    near = all(0 <= center <= side for center, side in zip(p[2:], size, strict=True)) and max(shifts) <= SHIFTED
    if not near or not all(1 / FAR <= ratio <= FAR for ratio in ratios):
        return f"camera_info's K and P cannot be of one camera and size ({values}): {used} is used"
    if info.distortion_model == "equidistant" and len(info.d) and not any(info.d) and not rectified:
        return "camera_info's model is equidistant with D all zero: read as a rectified camera, not as a fisheye"
    return ""


def content(info: InfoMessage) -> Hashable:
    """The calibration in a camera_info, for comparisons bit by bit, in which NaN equals NaN."""
    numbers = (np.asarray(values, np.float64).tobytes() for values in (info.d, info.k, info.r, info.p))
    roi = info.roi
    window = (roi.x_offset, roi.y_offset, roi.width, roi.height, roi.do_rectify)
    return info.width, info.height, info.distortion_model, *numbers, info.binning_x, info.binning_y, *window


def is_rectified(topic: str) -> bool:
    """Whether the name of an image topic marks its images as rectified, as by image_proc and drivers.

    Examples: ``image_rect``, ``image_rect_color``, ``image_rect_raw/compressed``, ``left_rectified``,
    ``color/rect/image``.
    """
    *folders, name = topic.removesuffix("/compressed").strip("/").lower().split("/")
    words = name.split("_")
    if not RECTIFIED.isdisjoint(words):
        return True
    return "raw" not in words and not RECTIFIED.isdisjoint(folders)


def _uses_p(info: InfoMessage, rectified: bool) -> bool:
    return info.p[0] != 0 and (rectified or (not any(info.d) and _unrotated(info)))


def _unrotated(info: InfoMessage) -> bool:
    """Whether R is the identity, or is not filled in."""
    rotation = np.asarray(info.r, np.float64).reshape(3, 3)
    return not rotation.any() or bool(np.abs(rotation - np.eye(3)).max() <= UNROTATED)


def _plausible(camera: Intrinsics) -> bool:
    """Whether focal lengths and principal point are plausible; others would move points out of float32's range."""
    focal, center = (camera.fx, camera.fy), (camera.cx, camera.cy)
    if not 1 / LONGEST_PIXEL <= camera.fx / camera.fy <= LONGEST_PIXEL:
        return False
    return all(1 <= value <= _FARTHEST for value in focal) and all(abs(value) <= _FARTHEST for value in center)


def _pinhole(info: InfoMessage) -> tuple[float, float, float, float]:
    return info.k[0], info.k[4], info.k[2], info.k[5]


def _projection(info: InfoMessage) -> tuple[float, float, float, float]:
    return info.p[0], info.p[5], info.p[2], info.p[6]


def _checked(model: str, distortion: tuple[float, ...]) -> tuple[float, ...]:
    """The coefficients without surplus zeros. Raises ``ValueError`` for an unknown model or a wrong number of them."""
    if model not in DISTORTION_LENGTHS:
        raise ValueError(f"camera_info's distortion_model {model[:40]!r} is not one of {', '.join(DISTORTION_LENGTHS)}")
    least, most = DISTORTION_LENGTHS[model]
    if len(distortion) < least or any(distortion[most:]):
        raise ValueError(f"camera_info's {model} has {len(distortion)} distortion coefficients, expected {most}")
    return distortion[:most]

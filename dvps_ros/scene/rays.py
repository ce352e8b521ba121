"""Camera models: unprojection of depth and projection of points, for lenses with and without distortion.

The models are those of OpenCV, under their names in sensor_msgs/CameraInfo: ``plumb_bob`` (k1 k2 p1 p2 k3),
``rational_polynomial`` (k1 k2 p1 p2 k3 k4 k5 k6) and ``equidistant`` (k1 k2 k3 k4; Kannala and Brandt, PAMI 2006).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from dvps_ros.structures import Intrinsics

_COEFFICIENTS = {"": 0, "plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}
#: Newton steps of the inverse lens model; five suffice for ordinary lenses, strong distortion needs more.
_NEWTON_STEPS = 20
#: Rows of the image that are undistorted at once: few enough to stay in the processor's cache.
_BLOCK_ROWS = 16


@lru_cache(maxsize=8)
def rays(intrinsics: Intrinsics, device: str = "cpu") -> Tensor:
    """(H, W, 3) float32 directions with z = 1 through the center of every pixel.

    A direction is NaN if the pixel lies outside the valid range of the lens model, or at 90 degrees from the axis or
    more. The result is cached for each camera until ``rays.cache_clear()``: treat it as read-only. Raises
    ``ValueError`` for unusable intrinsics or an unknown distortion model.
    """
    _check(intrinsics)
    u = (np.arange(intrinsics.width) - intrinsics.cx) / intrinsics.fx
    v = (np.arange(intrinsics.height) - intrinsics.cy) / intrinsics.fy
    grids = (np.meshgrid(u, part) for part in np.array_split(v, -(-v.size // _BLOCK_ROWS)))
    blocks = [undistorted(grid[0], grid[1], intrinsics) for grid in grids]
    x, y = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    with torch.inference_mode(False):  # a tensor cached in inference mode could not be used outside of it
        return torch.from_numpy(np.stack([x, y, np.where(np.isnan(x), np.nan, 1.0)], -1).astype(np.float32)).to(device)


@lru_cache(maxsize=8)
def lens_factor(intrinsics: Intrinsics, exponent: float, device: str = "cpu") -> Tensor:
    """(H, W) float32: the local magnification of the lens, 1 at its principal point, to the power of ``exponent``.

    Magnification is the image's size of a small square parallel to the image plane, relative to that without
    distortion. A wide-angle lens magnifies less at the edges, so that a thing there looks farther away to a network
    that knows only the focal length. Pixels without a ray have 1. Cached and read-only as ``rays``, and raises as it.
    """
    x, y = rays(intrinsics)[..., :2].double().unbind(-1)
    (x_down, x_right), (y_down, y_right) = torch.gradient(x), torch.gradient(y)
    area = (x_right * y_down - x_down * y_right).abs() * (intrinsics.fx * intrinsics.fy)  # of a pixel, at z = 1
    factor = area.pow(-0.5 * exponent)
    with torch.inference_mode(False):
        return factor.where(factor.isfinite(), 1.0).float().to(device)


def unproject(depth: Tensor, intrinsics: Intrinsics) -> Tensor:
    """Points (H, W, 3) float32 of a depth map (H, W), metres in the optical frame (x right, y down, z forward).

    Depth is measured along z. A point is NaN if its depth is not positive and finite, or if its ray is NaN. Raises
    ``ValueError`` as ``rays``, and if the map has another size than the camera.
    """
    depth = torch.as_tensor(depth)
    check_size(depth, intrinsics)
    depth = depth.float()
    depth = depth.where((depth > 0) & depth.isfinite(), math.nan)
    return rays(intrinsics, str(depth.device)) * depth[..., None]


def check_size(depth: Tensor, intrinsics: Intrinsics) -> None:
    """Raise ``ValueError`` if a depth map (H, W) has another size than the camera."""
    if tuple(depth.shape) != (intrinsics.height, intrinsics.width):
        height, width = depth.shape
        raise ValueError(f"depth is {width}x{height}, but the camera {intrinsics.width}x{intrinsics.height}")


def has_ray(intrinsics: Intrinsics, device: str) -> Tensor:
    """(H, W) bool: whether the lens shows anything at a pixel; not beyond 90 degrees, for example."""
    return rays(intrinsics, device)[..., 2].isfinite()


def project(points: Tensor, intrinsics: Intrinsics) -> Tensor:
    """Pixel coordinates (..., 2) of points (..., 3) in the optical frame; NaN behind the camera.

    (0, 0) is the center of the top left pixel. Raises ``ValueError`` as ``rays``.
    """
    _check(intrinsics)
    points = torch.as_tensor(points)
    xyz = points.double().cpu().numpy()
    z = np.where(xyz[..., 2] > 0, xyz[..., 2], np.nan)
    x, y = _distort(xyz[..., 0] / z, xyz[..., 1] / z, intrinsics)
    pixels = np.stack([x * intrinsics.fx + intrinsics.cx, y * intrinsics.fy + intrinsics.cy], -1)
    return torch.from_numpy(pixels).to(points.device, points.dtype if points.is_floating_point() else torch.float32)


def _check(intrinsics: Intrinsics) -> None:
    if not intrinsics.valid:
        raise ValueError("the camera is not calibrated: fx or fy is 0 or not a number")
    if intrinsics.distortion_model not in _COEFFICIENTS:
        known = ", ".join(name for name in _COEFFICIENTS if name)
        raise ValueError(f"distortion model {intrinsics.distortion_model!r} is unknown; supported are {known}")
    most = _COEFFICIENTS[intrinsics.distortion_model]
    if len(intrinsics.distortion) > most and any(intrinsics.distortion[most:]):
        name = intrinsics.distortion_model or "an undistorted camera"
        raise ValueError(f"{name} takes at most {most} distortion coefficients, got {len(intrinsics.distortion)}")


def _coefficients(intrinsics: Intrinsics) -> np.ndarray:
    count = _COEFFICIENTS[intrinsics.distortion_model]
    return np.resize(np.append(intrinsics.distortion[:count], np.zeros(count)), count)


def _distort(x: np.ndarray, y: np.ndarray, intrinsics: Intrinsics) -> tuple[np.ndarray, np.ndarray]:
    """Image coordinates of the rays (x, y, 1), in units of the focal length."""
    k = _coefficients(intrinsics)
    if intrinsics.distortion_model == "equidistant":
        r = np.hypot(x, y)
        factor = np.where(r > 1e-12, _fisheye_radius(np.arctan(r), k) / np.maximum(r, 1e-12), 1.0)
        return x * factor, y * factor
    if not k.any():
        return x, y
    radial, _ = _radial(x * x + y * y, k)
    return _brown(x, y, radial, k)


def _radial(r2: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factor on the radius, and its derivative with respect to the squared radius ``r2``."""
    k1, k2, _, _, k3, k4, k5, k6 = np.append(k, np.zeros(8 - len(k)))
    above, below = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)), 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
    above_slope, below_slope = k1 + r2 * (2 * k2 + 3 * r2 * k3), k4 + r2 * (2 * k5 + 3 * r2 * k6)
    factor = above / below
    return factor, (above_slope - factor * below_slope) / below


def _brown(x: np.ndarray, y: np.ndarray, radial: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p1, p2 = k[2:4]
    r2 = x * x + y * y
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


def _fisheye_radius(theta: np.ndarray, k: np.ndarray) -> np.ndarray:
    square = theta * theta
    return theta * (1 + square * (k[0] + square * (k[1] + square * (k[2] + square * k[3]))))


def undistorted(x: np.ndarray, y: np.ndarray, intrinsics: Intrinsics) -> tuple[np.ndarray, np.ndarray]:
    """The rays (x, y, 1) of image coordinates, arrays of any one shape, in units of the focal length.

    NaN where there is no ray, as in ``rays``.
    """
    k = _coefficients(intrinsics)
    if intrinsics.distortion_model == "equidistant":
        return _undistort_fisheye(x, y, k)
    return _undistort_brown(x, y, k) if k.any() else (x, y)


def _undistort_brown(x: np.ndarray, y: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    goal = np.stack([x.ravel(), y.ravel()])
    ray = goal.copy()
    active = np.arange(goal.shape[1])
    with np.errstate(all="ignore"):
        for _ in range(_NEWTON_STEPS):
            at = ray[:, active]
            error = goal[:, active] - _seen_at(at, k)
            open_still = ~(np.hypot(*error) < 1e-12)
            active, at, error = active[open_still], at[:, open_still], error[:, open_still]
            if not len(active):
                break
            ray[:, active] = at + _newton_step(at[0], at[1], error, k)
        error = goal - _seen_at(ray, k)
        # Beyond the fold the model maps larger angles to smaller radii; such a solution is not physical.
        good = (np.hypot(*error) < 1e-9) & (np.hypot(*ray) < _fold_radius(tuple(k)))
    x, y = np.where(good, ray, np.nan).reshape(2, *x.shape)
    return x, y


def _seen_at(ray: np.ndarray, k: np.ndarray) -> np.ndarray:
    """(2, N) image coordinates of the rays (2, N)."""
    return np.stack(_brown(ray[0], ray[1], _radial((ray**2).sum(0), k)[0], k))


def _newton_step(x: np.ndarray, y: np.ndarray, error: np.ndarray, k: np.ndarray) -> np.ndarray:
    p1, p2 = k[2:4]
    radial, slope = _radial(x * x + y * y, k)
    xx = radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x
    yy = radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x
    xy = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y  # the Jacobian is symmetric
    return np.stack([yy * error[0] - xy * error[1], xx * error[1] - xy * error[0]]) / (xx * yy - xy * xy)


@lru_cache(maxsize=8)
def _fold_radius(k: tuple[float, ...]) -> float:
    """The ray radius up to which the image radius grows with it; at most 20 (87 degrees)."""
    r = np.linspace(0, 20, 20001)
    radial, slope = _radial(r * r, np.array(k))
    falling = ~(radial + 2 * r * r * slope > 0)
    return float(r[falling.argmax()]) if falling.any() else 20.0


def _undistort_fisheye(x: np.ndarray, y: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    radius = np.hypot(x, y)
    derivative_of = np.array([1, 3, 5, 7, 9]) * np.append(1.0, k)
    with np.errstate(all="ignore"):
        theta = np.minimum(radius, 1.5)
        for _ in range(_NEWTON_STEPS):
            square = theta * theta
            slope = np.polyval(derivative_of[::-1], square)
            theta = theta - (_fisheye_radius(theta, k) - radius) / slope
        good = (
            (abs(_fisheye_radius(theta, k) - radius) < 1e-9) & (slope > 0) & (theta < math.pi / 2 - 1e-3) & (theta >= 0)
        )
        factor = np.where(radius > 1e-12, np.tan(theta) / np.maximum(radius, 1e-12), 1.0)
    factor = np.where(good | (radius <= 1e-12), factor, np.nan)
    return x * factor, y * factor

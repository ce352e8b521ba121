"""The ground under the camera: a plane fitted to those points of a scene that are labelled as ground.

A plane is written as the vector a with a . x = 1 for each of its points x: a / |a| is the normal that points from the
camera to the ground, and 1 / |a| the camera's height above it. Where the depth of a pixel of the ground is wrong by the
factor 1 + e, a . x - 1 is e, wherever the pixel lies: residuals are relative errors of depth, and near and far count
alike.

Points are gathered on the scene's device; a few hundred of them come to the host, where the fit takes half a
millisecond. A GPU would need longer to be told of its hundreds of tiny steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from dvps_ros.config import GroundConfig
from dvps_ros.labels import DIVISOR, VOID_CLASS, LabelSet
from dvps_ros.scene.rays import check_size, rays
from dvps_ros.structures import Intrinsics, Scene

Direction = tuple[float, float, float]
#: Up in the optical frame (x right, y down, z forward) of a camera that is mounted level.
LEVEL: Direction = (0.0, -1.0, 0.0)

#: Pixels that are looked at for each point of the ground that is wanted.
_PIXELS_PER_POINT = 8
#: Steps of the iteratively reweighted least squares.
_STEPS = 6
#: Heights that are tried for a plane whose normal is known.
_HEIGHTS = 32
#: A plane tilted by t must explain this much times sin² t more of the points than a level one.
_LEVEL_BONUS = 2.0


@dataclass(frozen=True)
class GroundPlane:
    """What one frame says of the ground under its camera.

    Attributes
    ----------
    height : of the camera above the plane, in the scene's metres; NaN where there is no plane.
    share : of the image's pixels that are ground, 0..1.
    inliers : share of the ground's points that lie within twice the tolerance of one plane, 0..1; NaN without a plane.
    tilt : degrees of that plane's normal against up; NaN without a plane.
    problem : why the plane does not count; empty where it does.
    """

    height: float = math.nan
    share: float = 0.0
    inliers: float = math.nan
    tilt: float = math.nan
    problem: str = ""


def ground_plane(
    scene: Scene, intrinsics: Intrinsics, labels: LabelSet, config: GroundConfig, up: Direction | None = None
) -> GroundPlane:
    """The plane of a scene's ground; the same scene always gives the same plane.

    Parameters
    ----------
    scene : labels, and depth that is right but for one factor.
    intrinsics : the camera at the scene's size.
    labels : tells which classes are ground.
    config : which planes count.
    up : in the optical frame, of any length; the plane is taken as level with respect to it. None: the normal is
        fitted, and the camera taken as about level (``GroundConfig.level_pull``).

    Raises ``ValueError`` when the camera is of another size.
    """
    if not labels.ground:
        return GroundPlane(problem=f"the class table {labels.name} names no ground")
    points, share = ground_points(scene, intrinsics, labels, config.points)
    if share < config.min_share or len(points) < 3:
        return GroundPlane(share=share, problem="too little ground in sight")
    height, inliers, tilt, steep = fit_plane(points, config, up)
    if not math.isfinite(height) or inliers < config.min_inliers:
        tilted = steep >= config.min_inliers
        problem = "the ground is tilted against up" if tilted else "no plane fits the ground"
        return GroundPlane(math.nan, share, inliers, tilt, problem)
    return GroundPlane(height, share, inliers, tilt)


def ground_points(scene: Scene, intrinsics: Intrinsics, labels: LabelSet, count: int) -> tuple[np.ndarray, float]:
    """At most about ``count`` points (N, 3) float64 of the ground, and the share of the image that it covers.

    Points are metres in the optical frame, spread evenly over the ground's pixels; there are none where depth is 0 or
    the lens shows nothing. Raises ``ValueError`` when the camera is of another size.
    """
    check_size(scene.depth, intrinsics)
    stride = max(1, math.isqrt(scene.depth.numel() // (_PIXELS_PER_POINT * count)))
    grid = (slice(stride // 2, None, stride), slice(stride // 2, None, stride))
    depth, direction = scene.depth[grid], rays(intrinsics, str(scene.depth.device))[grid]
    is_ground = _table(labels.ground, str(depth.device))[scene.panoptic[grid] // DIVISOR]
    rows = (is_ground & (depth > 0) & (depth * direction[..., 2] < math.inf)).flatten().nonzero()[:, 0]
    share = len(rows) / depth.numel()
    rows = rows[:: max(1, -(-len(rows) // count))]
    points = direction.reshape(-1, 3)[rows] * depth.flatten()[rows, None]
    return points.cpu().numpy().astype(np.float64), share


def fit_plane(
    points: np.ndarray, config: GroundConfig, up: Direction | None = None
) -> tuple[float, float, float, float]:
    """The plane through most of the points (N, 3), N > 2, whose tilt against ``up`` is allowed.

    Returns
    -------
    height : of the origin above it in the points' unit; with an ``up`` that is known, above the level plane through
        most of the points; NaN where no plane is allowed.
    inliers : share of the points within twice the tolerance of the plane, 0..1.
    tilt : degrees between the plane's normal and ``up``.
    steep : like ``inliers``, of the best plane whose tilt is not allowed.
    """
    down = -np.asarray(LEVEL if up is None else up, np.float64)
    down /= np.linalg.norm(down)
    limit = config.max_tilt if up is None else config.max_slope
    planes = _random_planes(points, config.trials)  # (T, 3)
    support = _closeness(points @ planes.T - 1, config.tolerance).mean(0)  # (T,)
    cosine = planes @ down / np.maximum(np.linalg.norm(planes, axis=1), 1e-12)
    allowed = cosine >= math.cos(math.radians(limit))
    steep = 0.0 if allowed.all() else _inliers(points, planes[np.where(allowed, 0, support).argmax()], config)
    if not allowed.any():
        return math.nan, math.nan, math.nan, steep
    worth = support - _LEVEL_BONUS * (1 - cosine**2)
    plane = _refined(points, planes[np.where(allowed, worth, -math.inf).argmax()], down, config)
    size = float(np.linalg.norm(plane))
    height = 1 / size if up is None else _height_along(points @ down, config.tolerance)
    tilt = math.degrees(math.acos(min(1.0, max(-1.0, float(plane @ down) / size))))
    return height, _inliers(points, plane, config), tilt, steep


def _random_planes(points: np.ndarray, count: int) -> np.ndarray:
    """Planes (T, 3) through three points each, the same choice every time; 0 where the three lie on a line."""
    corners = points[(_triples(count) * len(points)).astype(np.int64)]  # (T, 3, 3)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    offset = (normal * corners[:, 0]).sum(1, keepdims=True)
    return np.divide(normal, offset, out=np.zeros_like(normal), where=abs(offset) > 1e-9)


def _inliers(points: np.ndarray, plane: np.ndarray, config: GroundConfig) -> float:
    return float(np.mean(abs(points @ plane - 1) <= 2 * config.tolerance))


def _closeness(residuals: np.ndarray, tolerance: float) -> np.ndarray:
    """1 where a residual is 0, 1/2 at the tolerance."""
    return 1 / (1 + (residuals / tolerance) ** 2)


def _refined(points: np.ndarray, plane: np.ndarray, down: np.ndarray, config: GroundConfig) -> np.ndarray:
    """The plane (3,) near ``plane`` of least squared residuals, those beyond the tolerance discounted (Geman-McClure).

    Networks err in the tilt of a road by more than a level camera is tilted, so the normal is drawn to ``down``; the
    less, the farther it is from it, for then the camera is mounted like that.
    """
    across = np.eye(3) - np.outer(down, down)
    fading = math.sin(math.radians(config.level_range)) ** 2
    for _ in range(_STEPS):
        weight = _closeness(points @ plane - 1, config.tolerance) ** 2
        weighted = points * (weight / weight.sum())[:, None]
        square = plane @ plane
        sine = plane @ across @ plane / square  # squared
        pull = config.level_pull / (1 + sine / fading) ** 2 / square
        moments = points.T @ weighted + pull * across
        plane = np.linalg.solve(moments + 1e-9 * moments.trace() * np.eye(3), weighted.sum(0))
    return plane


def _height_along(drops: np.ndarray, tolerance: float) -> float:
    """Height of the origin above the level plane through most points, given how far (N,) they lie below it."""
    drops = np.maximum(drops, 0)  # what lies above the camera is no ground
    if not drops.any():
        return math.nan
    heights = np.maximum(np.quantile(drops, (np.arange(_HEIGHTS) + 0.5) / _HEIGHTS), 1e-6)
    inverse = 1 / heights[_closeness(drops[:, None] / heights - 1, tolerance).mean(0).argmax()]
    for _ in range(_STEPS):
        weighted = drops * _closeness(drops * inverse - 1, tolerance) ** 2
        inverse = weighted.sum() / (weighted @ drops)
    return float(1 / inverse)


@lru_cache(maxsize=1)
def _triples(count: int) -> np.ndarray:
    """(T, 3) numbers 0..1, always the same."""
    return np.random.default_rng(0).random((count, 3))


@lru_cache(maxsize=8)
def _table(classes: frozenset[int], device: str) -> Tensor:
    """(256,) bool, which class is one of ``classes``."""
    return torch.tensor([k in classes for k in range(VOID_CLASS + 1)], device=device)

"""The ground under the camera: a plane fitted to the points of a scene that are labelled as ground.

A plane is represented by the vector a with a . x = 1 for each of its points x. a / |a| is its normal, from the camera
to the ground, and 1 / |a| is the camera's height above it. If the depth of a ground pixel is wrong by the factor 1 + e,
its residual a . x - 1 is e. Residuals are therefore relative errors of depth, with equal weight at all distances.

Points are selected on the scene's device. A few hundred of them are copied to the host, where the fit takes half a
millisecond. On a GPU the launches of its hundreds of small steps would take longer.
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
from dvps_ros.scene.indexing import true_indices
from dvps_ros.scene.rays import check_size, rays
from dvps_ros.structures import Intrinsics, Scene

Direction = tuple[float, float, float]
#: Up direction in the optical frame (x right, y down, z forward) of a level camera.
LEVEL: Direction = (0.0, -1.0, 0.0)

#: Number of sampled pixels per requested ground point.
_PIXELS_PER_POINT = 8
#: Steps of the iteratively reweighted least squares.
_STEPS = 6
#: Number of candidate heights of a plane with known normal.
_HEIGHTS = 32
#: The support of a plane tilted by t is reduced by this times sin² t.
_TILT_PENALTY = 2.0


@dataclass(frozen=True)
class GroundPlane:
    """The ground plane of one frame.

    Attributes
    ----------
    height : height of the camera above the plane, in the scene's metres; NaN without a plane.
    share : share of the image's pixels that are ground, 0..1.
    inliers : share of the ground points within twice the tolerance of the plane, 0..1; NaN without a plane.
    tilt : angle in degrees between the plane's normal and up; NaN without a plane.
    problem : why the plane is not valid; empty if it is.
    """

    height: float = math.nan
    share: float = 0.0
    inliers: float = math.nan
    tilt: float = math.nan
    problem: str = ""


def ground_plane(
    scene: Scene, intrinsics: Intrinsics, labels: LabelSet, config: GroundConfig, up: Direction | None = None
) -> GroundPlane:
    """The ground plane of a scene; deterministic.

    Parameters
    ----------
    scene : labels, and depth that is correct up to a common factor.
    intrinsics : the camera at the scene's size.
    labels : the class table; ``labels.ground`` are the ground classes.
    config : limits of valid planes.
    up : up direction in the optical frame, of any length; the plane is assumed to be perpendicular to it. None: the
        normal is fitted, and the camera is assumed to be about level (``GroundConfig.level_pull``).

    Raises ``ValueError`` if the camera has another size.
    """
    if not labels.ground:
        return GroundPlane(problem=f"the class table {labels.name} has no ground class")
    points, share = ground_points(scene, intrinsics, labels, config.points)
    if share < config.min_share or len(points) < 3:
        return GroundPlane(share=share, problem="too little ground in view")
    height, inliers, tilt, steep = fit_plane(points, config, up)
    if not math.isfinite(height) or inliers < config.min_inliers:
        tilted = steep >= config.min_inliers
        problem = "the ground is tilted against up" if tilted else "no plane fits the ground"
        return GroundPlane(math.nan, share, inliers, tilt, problem)
    return GroundPlane(height, share, inliers, tilt)


def ground_points(scene: Scene, intrinsics: Intrinsics, labels: LabelSet, count: int) -> tuple[np.ndarray, float]:
    """About ``count`` points (N, 3) float64 of the ground or fewer, and the share of the image that it covers.

    Points are metres in the optical frame, evenly spread over the ground's pixels. Pixels without depth or outside the
    lens's field of view are left out. Raises ``ValueError`` if the camera has another size.
    """
    check_size(scene.depth, intrinsics)
    stride = max(1, math.isqrt(scene.depth.numel() // (_PIXELS_PER_POINT * count)))
    grid = (slice(stride // 2, None, stride), slice(stride // 2, None, stride))
    depth, direction = scene.depth[grid], rays(intrinsics, str(scene.depth.device))[grid]
    is_ground = _table(labels.ground, str(depth.device))[scene.panoptic[grid] // DIVISOR]
    rows = true_indices(is_ground & (depth > 0) & (depth * direction[..., 2] < math.inf))
    share = len(rows) / depth.numel()
    rows = rows[:: max(1, -(-len(rows) // count))]
    points = direction.reshape(-1, 3)[rows] * depth.flatten()[rows, None]
    return points.cpu().numpy().astype(np.float64), share


def fit_plane(
    points: np.ndarray, config: GroundConfig, up: Direction | None = None
) -> tuple[float, float, float, float]:
    """The plane with an allowed tilt against ``up`` that fits most of the points (N, 3), N > 2.

    Returns
    -------
    height : height of the origin above the plane in the points' unit, NaN if no plane is allowed. With a known ``up``
        it is the height above the plane perpendicular to ``up`` that fits most of the points.
    inliers : share of the points within twice the tolerance of the plane, 0..1.
    tilt : angle in degrees between the plane's normal and ``up``.
    steep : ``inliers`` of the best plane whose tilt is not allowed.
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
    score = support - _TILT_PENALTY * (1 - cosine**2)
    plane = _refined(points, planes[np.where(allowed, score, -math.inf).argmax()], down, config)
    size = float(np.linalg.norm(plane))
    height = 1 / size if up is None else _height_along(points @ down, config.tolerance)
    tilt = math.degrees(math.acos(min(1.0, max(-1.0, float(plane @ down) / size))))
    return height, _inliers(points, plane, config), tilt, steep


def _random_planes(points: np.ndarray, count: int) -> np.ndarray:
    """Planes (T, 3) through three points each, deterministic; 0 for three points on a line."""
    corners = points[(_triples(count) * len(points)).astype(np.int64)]  # (T, 3, 3)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    offset = (normal * corners[:, 0]).sum(1, keepdims=True)
    return np.divide(normal, offset, out=np.zeros_like(normal), where=abs(offset) > 1e-9)


def _inliers(points: np.ndarray, plane: np.ndarray, config: GroundConfig) -> float:
    return float(np.mean(abs(points @ plane - 1) <= 2 * config.tolerance))


def _closeness(residuals: np.ndarray, tolerance: float) -> np.ndarray:
    """Weight of residuals (any shape): 1 at 0, 1/2 at the tolerance."""
    return 1 / (1 + (residuals / tolerance) ** 2)


def _refined(points: np.ndarray, plane: np.ndarray, down: np.ndarray, config: GroundConfig) -> np.ndarray:
    """The plane (3,) near ``plane`` that minimizes Geman-McClure residuals (iteratively reweighted least squares).

    Networks err in the tilt of a road by more than a level camera is tilted, so the normal is pulled to ``down``. The
    pull weakens with the angle between them, because at a large angle the camera itself is mounted with a tilt.
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
    """Height of the origin above the level plane that fits most points; ``drops`` (N,) are their depths below it."""
    drops = np.maximum(drops, 0)  # points above the camera are not ground
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
    """(T, 3) random numbers 0..1 with a fixed seed."""
    return np.random.default_rng(0).random((count, 3))


@lru_cache(maxsize=8)
def _table(classes: frozenset[int], device: str) -> Tensor:
    """(256,) bool by class id: whether it is one of ``classes``."""
    return torch.tensor([k in classes for k in range(VOID_CLASS + 1)], device=device)

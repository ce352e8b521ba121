"""Depth and a camera to points: rays of pinhole and distorted cameras, segment clouds, obstacles, boxes.

Camera models are OpenCV's, under sensor_msgs/CameraInfo's names: ``plumb_bob`` (k1 k2 p1 p2 k3),
``rational_polynomial`` (k1 k2 p1 p2 k3 k4 k5 k6) and ``equidistant`` (k1 k2 k3 k4; Kannala and Brandt, PAMI 2006).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from dvps_ros.labels import DIVISOR, VOID_CLASS, LabelSet
from dvps_ros.scene.edges import depth_edges
from dvps_ros.scene.strays import quantile_rows, sorted_in_groups, strays
from dvps_ros.structures import Intrinsics, Scene, SegmentCloud

_COEFFICIENTS = {"": 0, "plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}
#: Newton steps of the inverse lens model; five suffice for ordinary lenses, strong ones take more.
_NEWTON_STEPS = 20
#: Rows of the image whose lens is inverted at once: few enough to stay in the processor's cache.
_BLOCK_ROWS = 16

# --- cameras ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def rays(intrinsics: Intrinsics, device: str = "cpu") -> Tensor:
    """(H, W, 3) float32 directions with z = 1 through the centre of every pixel; all NaN where the lens shows none.

    A direction is missing where the pixel lies beyond the lens model's valid field or 90 degrees off the axis. Cached
    for each camera: treat as read-only. Raises ``ValueError`` for unusable intrinsics or an unknown distortion model.
    """
    _check(intrinsics)
    u = (np.arange(intrinsics.width) - intrinsics.cx) / intrinsics.fx
    v = (np.arange(intrinsics.height) - intrinsics.cy) / intrinsics.fy
    blocks = [_undistort(*np.meshgrid(u, part), intrinsics) for part in np.array_split(v, -(-v.size // _BLOCK_ROWS))]
    x, y = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    with torch.inference_mode(False):  # a cached tensor must be usable everywhere, wherever it was first asked for
        return torch.from_numpy(np.stack([x, y, np.where(np.isnan(x), np.nan, 1.0)], -1).astype(np.float32)).to(device)


def unproject(depth: Tensor, intrinsics: Intrinsics) -> Tensor:
    """Points (H, W, 3) float32 in metres, optical frame (x right, y down, z forward), of a depth map (H, W) along z.

    Where depth is not positive and finite, or the lens shows nothing, the point is NaN. Raises ``ValueError`` when the
    map's size is not the camera's.
    """
    depth = torch.as_tensor(depth)
    _check_size(depth, intrinsics)
    depth = depth.float()
    depth = depth.where((depth > 0) & depth.isfinite(), math.nan)
    return rays(intrinsics, str(depth.device)) * depth[..., None]


def _check_size(depth: Tensor, intrinsics: Intrinsics) -> None:
    if tuple(depth.shape) != (intrinsics.height, intrinsics.width):
        height, width = depth.shape
        raise ValueError(f"depth is {width}x{height}, the camera {intrinsics.width}x{intrinsics.height}")


def project(points: Tensor, intrinsics: Intrinsics) -> Tensor:
    """Pixel coordinates (..., 2) of points (..., 3) in the optical frame; NaN behind the camera.

    (0, 0) is the centre of the top left pixel. Raises ``ValueError`` as ``rays`` does.
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
        raise ValueError(f"unknown distortion model {intrinsics.distortion_model!r}; known are {known}")
    most = _COEFFICIENTS[intrinsics.distortion_model]
    if len(intrinsics.distortion) > most and any(intrinsics.distortion[most:]):
        name = intrinsics.distortion_model or "an undistorted camera"
        raise ValueError(f"{name} takes at most {most} distortion coefficients, got {len(intrinsics.distortion)}")


def _coefficients(intrinsics: Intrinsics) -> np.ndarray:
    count = _COEFFICIENTS[intrinsics.distortion_model]
    return np.resize(np.append(intrinsics.distortion[:count], np.zeros(count)), count)


def _distort(x: np.ndarray, y: np.ndarray, intrinsics: Intrinsics) -> tuple[np.ndarray, np.ndarray]:
    """Where the lens puts the ray (x, y, 1), in units of the focal length."""
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


def _undistort(x: np.ndarray, y: np.ndarray, intrinsics: Intrinsics) -> tuple[np.ndarray, np.ndarray]:
    """The ray (x, y, 1) that the lens puts at the given place: the inverse of ``_distort``; NaN: there is none."""
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
            error = goal[:, active] - np.stack(_brown(*at, _radial((at**2).sum(0), k)[0], k))
            open_still = ~(np.hypot(*error) < 1e-12)
            active, at, error = active[open_still], at[:, open_still], error[:, open_still]
            if not len(active):
                break
            ray[:, active] = at + _newton_step(*at, error, k)
        error = goal - np.stack(_brown(*ray, _radial((ray**2).sum(0), k)[0], k))
        # A solution past the fold, where the image turns back on itself, is not what the lens shows.
        good = (np.hypot(*error) < 1e-9) & (np.hypot(*ray) < _fold_radius(k))
    return tuple(np.where(good, ray, np.nan).reshape(2, *x.shape))


def _newton_step(x: np.ndarray, y: np.ndarray, error: np.ndarray, k: np.ndarray) -> np.ndarray:
    p1, p2 = k[2:4]
    radial, slope = _radial(x * x + y * y, k)
    xx = radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x
    yy = radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x
    xy = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y  # the Jacobian is symmetric
    return np.stack([yy * error[0] - xy * error[1], xx * error[1] - xy * error[0]]) / (xx * yy - xy * xy)


def _fold_radius(k: np.ndarray) -> float:
    """The radius up to which a growing ray radius gives a growing image radius; at most 20 (87 degrees)."""
    r = np.linspace(0, 20, 20001)
    radial, slope = _radial(r * r, k)
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


# --- clouds ----------------------------------------------------------------------------------------------------------


def organized_cloud(
    scene: Scene,
    image: Tensor | np.ndarray,
    intrinsics: Intrinsics,
    labels: LabelSet,
    *,
    max_depth: float = math.inf,
    edge_threshold: float = math.inf,
) -> SegmentCloud:
    """One point per pixel in row order, N = H * W, xyz NaN where there is none.

    There is none in the sky, beyond ``max_depth`` metres, at ``depth_edges`` of ``edge_threshold`` and where the lens
    shows nothing. Unlabelled pixels are points of class 255.

    Parameters
    ----------
    scene : labels and metric depth; the cloud is made on its device.
    image : (H, W, 3) uint8 RGB.
    intrinsics : the camera at the scene's size.
    labels : class table, tells what is sky.

    Raises ``ValueError`` when depth is not in metres or a size differs.
    """
    image = _checked_image(scene, image)
    depth = scene.depth.where(~_holes(scene, labels, max_depth, edge_threshold), math.nan)
    xyz = unproject(depth, intrinsics).reshape(-1, 3)
    return SegmentCloud(xyz, image, *_labels_of(scene.panoptic.reshape(-1), scene))


def scene_cloud(
    scene: Scene,
    image: Tensor | np.ndarray,
    intrinsics: Intrinsics,
    labels: LabelSet,
    *,
    max_depth: float = math.inf,
    stride: int = 1,
    edge_threshold: float = math.inf,
    things_only: bool = False,
) -> SegmentCloud:
    """The N points of ``organized_cloud`` without its holes, of every ``stride``-th row and column.

    Arguments and errors are those of ``organized_cloud``: ``image`` is (H, W, 3) uint8 RGB of the scene's size.
    ``things_only`` leaves out all but the things. Only the points that stay are computed.
    """
    image = _checked_image(scene, image)
    _check_size(scene.depth, intrinsics)
    direction = rays(intrinsics, str(scene.depth.device))
    z = scene.depth.float() * direction[..., 2]
    valid = ~_holes(scene, labels, max_depth, edge_threshold) & (z > 0) & (z < math.inf)
    if things_only:
        valid &= scene.panoptic % DIVISOR > 0
    rows, columns = (at * stride for at in valid[::stride, ::stride].nonzero(as_tuple=True))
    rows = rows * scene.depth.shape[1] + columns
    xyz = direction.view(-1, 3).index_select(0, rows) * scene.depth.reshape(-1).index_select(0, rows)[:, None]
    panoptic = scene.panoptic.reshape(-1).index_select(0, rows)
    return SegmentCloud(xyz, image.index_select(0, rows), *_labels_of(panoptic, scene))


def _checked_image(scene: Scene, image: Tensor | np.ndarray) -> Tensor:
    """(H * W, 3) uint8, on the scene's device; ``ValueError`` when a cloud cannot be made."""
    if not scene.metric:
        raise ValueError("a scene without metric depth has no points: the camera's intrinsics are unknown")
    image = torch.as_tensor(image)
    if tuple(image.shape) != (*scene.panoptic.shape, 3):
        raise ValueError(f"the image has shape {tuple(image.shape)}, the scene {tuple(scene.panoptic.shape)}")
    return image.to(scene.depth.device).reshape(-1, 3)


def _holes(scene: Scene, labels: LabelSet, max_depth: float, edge_threshold: float) -> Tensor:
    """(H, W) bool: in the sky, too far, or at an edge."""
    hole, label = scene.depth > max_depth, scene.panoptic // DIVISOR
    for sky in labels.sky:
        hole |= label == sky
    if edge_threshold < math.inf:
        hole |= depth_edges(scene.depth, edge_threshold)
    return hole


def _labels_of(panoptic: Tensor, scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """Class, instance and score, (N,) each, of panoptic values (N,) of a scene."""
    label = panoptic // DIVISOR
    instance = (panoptic % DIVISOR).where(label != VOID_CLASS, 0)
    return label.int(), instance.int(), _score_table(scene).index_select(0, panoptic)


def obstacles(cloud: SegmentCloud, labels: LabelSet, voxel: float = 0.0) -> SegmentCloud:
    """The points a planner must stay clear of, at most one in each cube of ``voxel`` metres (0: all of them).

    Drivable ground and sky are left out; unlabelled points stay in, for nothing says that they are free.
    """
    free = _classes(labels.drivable | labels.sky, cloud.label.device)
    kept = cloud[(~torch.isin(cloud.label, free) & cloud.xyz[:, 2].isfinite()).nonzero()[:, 0]]
    return voxel_thinned(kept, voxel) if voxel > 0 else kept


def voxel_thinned(cloud: SegmentCloud, voxel: float) -> SegmentCloud:
    """One point for each occupied cube of ``voxel`` metres: the mean position, and the rest of its first point."""
    if len(cloud) == 0:
        return cloud
    cell = (cloud.xyz / voxel).floor().long()
    cell -= cell.amin(0)
    extent = cell.amax(0) + 1
    key = (cell[:, 2] * extent[1] + cell[:, 1]) * extent[0] + cell[:, 0]
    cells, member, count = key.unique(return_inverse=True, return_counts=True)
    mean = cloud.xyz.new_zeros(len(cells), 3).index_add_(0, member, cloud.xyz) / count[:, None]
    rows = torch.arange(len(cloud), device=key.device)
    first = rows.new_full((len(cells),), len(cloud)).scatter_reduce_(0, member, rows, "amin")
    thinned = cloud[first]
    return SegmentCloud(mean, thinned.rgb, thinned.label, thinned.instance, thinned.score)


# --- instances -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class InstanceBox:
    """One thing in a cloud of instances.

    Attributes
    ----------
    id : class * 1000 + instance, as in ``Scene.panoptic``.
    class_id, instance : its two parts.
    score : class probability, 0..1.
    start, stop : its points are rows ``start`` to ``stop`` - 1 of the cloud.
    center, size : axis-aligned box in the optical frame, metres, (x, y, z) each.
    """

    id: int
    class_id: int
    instance: int
    score: float
    start: int
    stop: int
    center: tuple[float, float, float]
    size: tuple[float, float, float]


def instances(
    cloud: SegmentCloud, percentile: float = 0.0, gap: float = 0.0
) -> tuple[SegmentCloud, tuple[InstanceBox, ...]]:
    """Things only, their points grouped by instance in order of id, and one box each.

    Parameters
    ----------
    cloud : points of a scene.
    percentile : a box spans from this percentile to that of 100 - ``percentile`` along each axis; 0 spans all points.
    gap : points beyond a gap of this many times an instance's size are left out (see ``strays``); 0: none.
    """
    rows = ((cloud.instance > 0) & cloud.xyz[:, 2].isfinite()).nonzero()[:, 0]
    ids = cloud.label[rows].long() * DIVISOR + cloud.instance[rows]
    ids, order = ids.sort(stable=True)
    things = cloud[rows[order]]
    if len(things) == 0:
        return things, ()
    values, group, counts = ids.unique_consecutive(return_inverse=True, return_counts=True)
    axes = [sorted_in_groups(things.xyz[:, axis], group) for axis in range(3)]
    ordered = [column for column, _ in axes]
    if gap > 0:
        kept = ~strays(axes, group, counts.cumsum(0) - counts, counts, gap)
        things = things[kept.nonzero()[:, 0]]
        ordered = [column[kept[origin]] for column, origin in axes]
        counts = torch.zeros_like(counts).index_add_(0, group, kept.long())
    start = counts.cumsum(0) - counts
    low, high = (quantile_rows(start, counts, share) for share in (percentile / 100, 1 - percentile / 100))
    bounds = [column[at] for column in ordered for at in (low, high)]
    table = torch.stack([values, start, start + counts, things.score[start], *bounds]).double().cpu()
    return things, tuple(_box(*row) for row in table.T.tolist())


def _box(
    identity: float,
    start: float,
    stop: float,
    score: float,
    x0: float,
    x1: float,
    y0: float,
    y1: float,
    z0: float,
    z1: float,
) -> InstanceBox:
    number = int(identity)
    center, size = ((x0 + x1) / 2, (y0 + y1) / 2, (z0 + z1) / 2), (x1 - x0, y1 - y0, z1 - z0)
    return InstanceBox(number, number // DIVISOR, number % DIVISOR, score, int(start), int(stop), center, size)


def _classes(ids: frozenset[int], device: torch.device) -> Tensor:
    return torch.tensor(sorted(ids), dtype=torch.int32, device=device)


def _score_table(scene: Scene) -> Tensor:
    """float32 class score of the segment of each panoptic value, 0 where there is none; shape (256000,)."""
    device = scene.depth.device
    table = torch.zeros(DIVISOR * (VOID_CLASS + 1), device=device)
    if scene.segments:
        ids = torch.tensor([s.id for s in scene.segments], device=device)
        table[ids] = torch.tensor([s.score for s in scene.segments], dtype=torch.float32, device=device)
    return table

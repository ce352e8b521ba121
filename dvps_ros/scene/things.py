"""The things of one frame for tracking: their pixels on a coarse grid, and their positions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from dvps_ros.labels import VOID
from dvps_ros.scene.view import in_view
from dvps_ros.structures import Intrinsics, Scene, Segment

#: Things are compared on a grid of at most this many samples of the label map.
GRID_SAMPLES = 32768
#: Largest number of points of a thing that predict its pixels.
MOST_POINTS = 100
#: Focal length that is assumed for an unknown camera, in image widths; positions are then relative.
UNKNOWN_FOCAL = 0.8
#: Depth in metres of a thing without any depth, and smallest depth.
_NO_DEPTH, _NEAREST = 10.0, 0.2
#: Points that differ from a thing's depth by more than this share of it are errors.
_MAX_DEPTH_ERROR = 0.5


@dataclass(frozen=True)
class Thing:
    """A thing of one frame on the sampling grid.

    Attributes
    ----------
    class_id : train id.
    pixels : (P, 2) int64 row, column on the grid.
    center : (2,) float64 mean of ``pixels``.
    depth : along the optical axis, in metres or relative.
    points : (M, 3) float64, at most ``MOST_POINTS`` of its pixels as points in the optical frame.
    cells : number of grid cells per point.
    at_border : whether it touches the image border, beyond which it may continue.
    embedding : (C,) float of length 1, the embedding of its query; None if unknown.
    """

    class_id: int
    pixels: np.ndarray
    center: np.ndarray
    depth: float
    points: np.ndarray
    cells: float
    at_border: bool
    embedding: np.ndarray | None = None

    @property
    def extent(self) -> float:
        """Side of a square with the same number of grid cells."""
        return math.sqrt(len(self.pixels))


def grid_stride(size: tuple[int, int]) -> int:
    """Distance in pixels between samples of the grid, for a map of ``size`` (H, W)."""
    return max(1, math.ceil(math.sqrt(size[0] * size[1] / GRID_SAMPLES)))


def unknown_camera(size: tuple[int, int]) -> Intrinsics:
    """A camera of ``size`` (H, W) with the focal length that is assumed for unknown cameras."""
    height, width = size
    focal = UNKNOWN_FOCAL * width
    return Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)


def grid_camera(size: tuple[int, int], camera: Intrinsics | None) -> Intrinsics:
    """The camera of the sampling grid of a map of ``size`` (H, W); from ``unknown_camera`` if ``camera`` is unknown."""
    height, width = size
    if camera is None or not camera.valid or (camera.height, camera.width) != (height, width):
        camera = unknown_camera(size)
    stride = grid_stride(size)
    return Intrinsics(
        camera.fx / stride,
        camera.fy / stride,
        (camera.cx - stride // 2) / stride,
        (camera.cy - stride // 2) / stride,
        -(-(width - stride // 2) // stride),
        -(-(height - stride // 2) // stride),
        camera.distortion_model,
        camera.distortion,
    )


def things_of(scene: Scene, segments: list[Segment], camera: Intrinsics) -> list[Thing]:
    """The given segments as things, in their order; ``camera`` is that of the sampling grid."""
    if not segments:
        return []
    stride = grid_stride((scene.panoptic.shape[0], scene.panoptic.shape[1]))
    grid, depth = (
        values[stride // 2 :: stride, stride // 2 :: stride].cpu().numpy() for values in (scene.panoptic, scene.depth)
    )
    owner, pixels = _pixels_of(scene.panoptic, grid, segments, stride)
    counts = np.bincount(owner)
    ends = np.cumsum(counts)
    starts = ends - counts
    metres = np.array([s.median_depth for s in segments])
    for k in np.flatnonzero(~np.isfinite(metres)):  # depth is not metric: take the median of the relative depth
        values = depth[tuple(pixels[starts[k] : ends[k]].T)]
        values = values[np.isfinite(values) & (values > 0)]
        metres[k] = np.median(values) if len(values) else _NO_DEPTH
    metres = np.maximum(metres, _NEAREST)
    steps = -(-counts // MOST_POINTS)
    chosen = np.flatnonzero((np.arange(len(owner)) - starts[owner]) % steps[owner] == 0)
    points = _points(pixels[chosen], depth, metres[owner[chosen]], camera)
    each = np.bincount(owner[chosen])
    at_border = ((pixels == 0) | (pixels == np.array(depth.shape) - 1)).any(1)
    at_border = np.maximum.reduceat(at_border, starts)
    centers = np.add.reduceat(pixels, starts) / counts[:, None]
    parts, point_parts = split(pixels, counts), split(points, each)
    cells, embeddings = counts / each, _embeddings(scene, segments)
    rows = zip(segments, parts, centers, metres.tolist(), point_parts, cells.tolist(), at_border.tolist(), embeddings,
               strict=True)  # fmt: skip
    return [Thing(segment.class_id, *rest) for segment, *rest in rows]


def split(rows: np.ndarray, counts: np.ndarray) -> list[np.ndarray]:
    """Consecutive parts of ``rows`` (N, ...) with ``counts`` (P,) rows each.

    ``numpy.split`` takes twenty times as long for many small parts.
    """
    ends = np.cumsum(counts).tolist()
    return [rows[end - count : end] for end, count in zip(ends, counts.tolist(), strict=True)]


def _pixels_of(
    panoptic: Tensor, grid: np.ndarray, segments: list[Segment], stride: int
) -> tuple[np.ndarray, np.ndarray]:
    """Samples of the segments: (P,) ascending segment indices and (P, 2) int64 row, column. Each has at least one.

    ``grid`` holds every ``stride``-th pixel of the map.
    """
    index_of = np.full(VOID + 1, -1, np.int16)
    index_of[[s.id for s in segments]] = np.arange(len(segments))
    owners = index_of[grid].ravel()
    at = np.flatnonzero(owners >= 0)
    owner = owners[at]
    for k in np.flatnonzero(np.bincount(owner, minlength=len(segments)) == 0):  # too small to hit a sample
        row, column = (panoptic == segments[k].id).nonzero().float().mean(0).tolist()
        inside = min(int(row / stride), grid.shape[0] - 1), min(int(column / stride), grid.shape[1] - 1)
        at, owner = np.append(at, inside[0] * grid.shape[1] + inside[1]), np.append(owner, np.int16(k))
    order = np.argsort(owner, kind="stable")
    return owner[order], np.stack(np.divmod(at[order], grid.shape[1]), 1)


def _points(pixels: np.ndarray, depth: np.ndarray, metres: np.ndarray, camera: Intrinsics) -> np.ndarray:
    """(M, 3) points at ``pixels`` (M, 2) of things at the depths ``metres`` (M,), in the optical frame."""
    z = depth[pixels[:, 0], pixels[:, 1]].astype(np.float64)
    z = np.where(np.isfinite(z) & (abs(z - metres) < _MAX_DEPTH_ERROR * metres), z, metres)
    return np.column_stack([in_view(pixels[:, ::-1].astype(np.float64), camera), np.ones(len(z))]) * z[:, None]


def _embeddings(scene: Scene, segments: list[Segment]) -> list[np.ndarray | None]:
    """The embedding (C,) of length 1 of each segment, or None."""
    if scene.embeddings is None:
        return [None] * len(segments)
    rows = {s.id: row for row, s in enumerate(scene.segments)}
    chosen = scene.embeddings[[rows[s.id] for s in segments]].float().cpu().numpy()
    return list(chosen / np.maximum(np.linalg.norm(chosen, axis=1, keepdims=True), 1e-9))

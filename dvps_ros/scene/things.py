"""The things of one frame, as far as following them is concerned: their pixels on a coarse grid, and where they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from dvps_ros.scene.view import normalized
from dvps_ros.structures import Intrinsics, Scene, Segment

#: Things are compared on a grid of at most this many samples of the label map.
GRID_SAMPLES = 32768
#: So many points of a thing tell where it will be seen.
MOST_POINTS = 100
#: A camera that nobody knows has this focal length, in image widths; all that follows is then relative.
UNKNOWN_FOCAL = 0.8
#: Metres of what has no depth at all, and the least depth.
_NO_DEPTH, _NEAREST = 10.0, 0.2
#: A thing is at most this deep, as a share of its depth: what is further off is an error.
_DEEP = 0.5


@dataclass(frozen=True)
class Thing:
    """A thing of one frame on the sampling grid.

    Attributes
    ----------
    class_id : train id.
    pixels : (P, 2) int64 row, column on the grid.
    center : (2,) float64 their mean.
    depth : along the optical axis, in metres or relative.
    points : (M, 3) float64, some of its pixels in the camera's frame, at most ``MOST_POINTS``.
    cells : how many grid cells each point stands for.
    at_border : whether it touches the picture's border, beyond which it may go on.
    embedding : (C,) float of length 1, what the network's query says of it; None where unknown.
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
        """The side of a square of as many grid cells."""
        return math.sqrt(len(self.pixels))


def grid_stride(size: tuple[int, int]) -> int:
    """Every how many pixels of a map of ``size`` (H, W) the grid has a sample."""
    return max(1, math.ceil(math.sqrt(size[0] * size[1] / GRID_SAMPLES)))


def unknown_camera(size: tuple[int, int]) -> Intrinsics:
    """A usual camera of ``size`` (H, W), in place of one that nobody knows."""
    height, width = size
    focal = UNKNOWN_FOCAL * width
    return Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)


def grid_camera(size: tuple[int, int], camera: Intrinsics | None) -> Intrinsics:
    """The camera of the sampling grid of a map of ``size`` (H, W); a usual one where ``camera`` is unknown."""
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
    """The given segments on the sampling grid, whose ``camera`` is given, in their order."""
    if not segments:
        return []
    stride = grid_stride((scene.panoptic.shape[0], scene.panoptic.shape[1]))
    grid, depth = (
        values[stride // 2 :: stride, stride // 2 :: stride].cpu().numpy() for values in (scene.panoptic, scene.depth)
    )
    ids = np.array([s.id for s in segments])
    order = np.argsort(ids)
    place = np.minimum(np.searchsorted(ids, grid, sorter=order), len(ids) - 1)
    index = np.where(ids[order[place]] == grid, order[place], -1)
    pixels = np.argwhere(index >= 0)
    owner = index[index >= 0]
    grouped = pixels[np.argsort(owner, kind="stable")]
    starts = np.cumsum(np.bincount(owner, minlength=len(ids)))[:-1]
    parts = np.split(grouped, starts)
    embeddings = _embeddings(scene, segments)
    return [
        _thing(s, part, scene.panoptic, depth, camera, row)
        for s, part, row in zip(segments, parts, embeddings, strict=True)
    ]


def _thing(
    segment: Segment,
    pixels: np.ndarray,
    panoptic: Tensor,
    depth: np.ndarray,
    camera: Intrinsics,
    embedding: np.ndarray | None,
) -> Thing:
    if len(pixels) == 0:  # so small that it slipped through the grid
        center = (panoptic == segment.id).nonzero().float().mean(0).cpu().numpy()
        stride = grid_stride((panoptic.shape[0], panoptic.shape[1]))
        pixels = np.minimum((center[None] / stride).astype(np.int64), np.array(depth.shape) - 1)
    metres = segment.median_depth
    if not math.isfinite(metres):  # relative
        values = depth[pixels[:, 0], pixels[:, 1]]
        values = values[np.isfinite(values) & (values > 0)]
        metres = float(np.median(values)) if len(values) else _NO_DEPTH
    at_border = bool((pixels == 0).any() or (pixels == np.array(depth.shape) - 1).any())
    metres = max(metres, _NEAREST)
    chosen = pixels[:: max(1, -(-len(pixels) // MOST_POINTS))]
    z = depth[chosen[:, 0], chosen[:, 1]].astype(np.float64)
    z = np.where(np.isfinite(z) & (abs(z - metres) < _DEEP * metres), z, metres)
    rays = normalized(chosen[:, ::-1].astype(np.float64), camera)
    points = np.concatenate([np.where(np.isfinite(rays), rays, 0.0), np.ones((len(z), 1))], 1) * z[:, None]
    return Thing(
        segment.class_id,
        pixels,
        pixels.mean(0),
        metres,
        points,
        len(pixels) / len(points),
        at_border,
        embedding,
    )


def _embeddings(scene: Scene, segments: list[Segment]) -> list[np.ndarray | None]:
    """(C,) of length 1 for each segment, or None."""
    if scene.embeddings is None:
        return [None] * len(segments)
    rows = {s.id: row for row, s in enumerate(scene.segments)}
    chosen = scene.embeddings[[rows[s.id] for s in segments]].float().cpu().numpy()
    return list(chosen / np.maximum(np.linalg.norm(chosen, axis=1, keepdims=True), 1e-9))

"""Point clouds of scenes: organized, dense, obstacles and ground, optionally thinned by voxels."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from dvps_ros.labels import DIVISOR, VOID_CLASS, LabelSet
from dvps_ros.scene import voxels
from dvps_ros.scene.blocks import blocks
from dvps_ros.scene.edges import depth_edges
from dvps_ros.scene.indexing import true_indices
from dvps_ros.scene.rays import check_size, has_ray, rays, unproject
from dvps_ros.structures import Intrinsics, Scene, SegmentCloud


def valid_pixels(
    scene: Scene,
    intrinsics: Intrinsics,
    labels: LabelSet,
    *,
    max_depth: float = math.inf,
    edge_threshold: float = math.inf,
) -> Tensor:
    """(H, W) bool: the pixels that become points.

    Excluded are pixels in the sky, without depth or beyond ``max_depth`` metres, at ``depth_edges`` of
    ``edge_threshold``, and outside the lens's field of view. Raises ``ValueError`` if the camera has another size.
    """
    check_size(scene.depth, intrinsics)
    farthest = min(max_depth, torch.finfo(scene.depth.dtype).max)
    valid = torch.empty_like(scene.depth, dtype=torch.bool)
    for rows in blocks(valid):
        depth = scene.depth[rows]
        valid[rows] = (depth > 0) & (depth <= farthest) & ~of_classes(scene.panoptic[rows], labels.sky)
    if intrinsics.distorted:
        valid &= has_ray(intrinsics, str(valid.device))
    if edge_threshold < math.inf:
        valid &= ~depth_edges(scene.depth, edge_threshold)
    return valid


def organized_cloud(
    scene: Scene,
    image: Tensor | np.ndarray,
    intrinsics: Intrinsics,
    labels: LabelSet,
    *,
    max_depth: float = math.inf,
    edge_threshold: float = math.inf,
    valid: Tensor | None = None,
) -> SegmentCloud:
    """One point per pixel in row order, N = H * W; xyz is NaN at pixels outside ``valid_pixels``.

    Unlabelled pixels are points of class 255.

    Parameters
    ----------
    scene : labels and metric depth; the cloud is made on its device.
    image : (H, W, 3) uint8 RGB.
    intrinsics : the camera at the scene's size.
    labels : the class table; ``labels.sky`` is left out.
    max_depth, edge_threshold : see ``valid_pixels``.
    valid : (H, W) ``valid_pixels`` with the same limits, if the caller has them; None: they are computed.

    Raises ``ValueError`` if depth is not in metres or a size differs.
    """
    image = _checked_image(scene, image)
    if valid is None:
        valid = valid_pixels(scene, intrinsics, labels, max_depth=max_depth, edge_threshold=edge_threshold)
    xyz = unproject(scene.depth.where(valid, math.nan), intrinsics).reshape(-1, 3)
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
    max_std: float = math.inf,
    valid: Tensor | None = None,
) -> SegmentCloud:
    """The N valid points of every ``stride``-th row and column.

    Other arguments and errors are those of ``organized_cloud``: ``image`` is (H, W, 3) uint8 RGB of the scene's size.
    ``things_only`` keeps the points of things only. If the scene has ``depth_std``, pixels whose standard deviation
    exceeds ``max_std`` metres are left out.
    """
    image = _checked_image(scene, image)
    if valid is None:
        valid = valid_pixels(scene, intrinsics, labels, max_depth=max_depth, edge_threshold=edge_threshold)
    if things_only:
        valid = valid & (scene.panoptic % DIVISOR > 0)
    at = torch.cat([_indices(scene, valid, rows, stride, max_std) for rows in blocks(scene.depth, stride)])
    return _cloud(scene, image, at, _points(scene, intrinsics, at))


def obstacle_cloud(
    scene: Scene,
    image: Tensor | np.ndarray,
    intrinsics: Intrinsics,
    labels: LabelSet,
    voxel: float = 0.0,
    *,
    max_depth: float = math.inf,
    stride: int = 1,
    edge_threshold: float = math.inf,
    max_std: float = math.inf,
    valid: Tensor | None = None,
) -> SegmentCloud:
    """The same as ``obstacles`` of the ``scene_cloud``, but faster: color and labels are read after the thinning.

    Arguments and errors are those of ``scene_cloud`` (``image`` is (H, W, 3)) and of ``obstacles``.
    """
    image = _checked_image(scene, image)
    if valid is None:
        valid = valid_pixels(scene, intrinsics, labels, max_depth=max_depth, edge_threshold=edge_threshold)

    def not_drivable(panoptic: Tensor) -> Tensor:
        return ~of_classes(panoptic, labels.drivable)

    at, xyz = _thinned(scene, intrinsics, valid, not_drivable, voxel, stride, max_std)
    return _cloud(scene, image, at, xyz)


def ground_cloud(
    scene: Scene,
    image: Tensor | np.ndarray,
    intrinsics: Intrinsics,
    labels: LabelSet,
    voxel: float = 0.0,
    *,
    max_depth: float = math.inf,
    stride: int = 1,
    edge_threshold: float = math.inf,
    max_std: float = math.inf,
    valid: Tensor | None = None,
) -> SegmentCloud:
    """The points of drivable ground and pavement, at most one per cube of ``voxel`` metres (0: all points).

    The ray from the camera to each of them is free, so it clears a costmap. Arguments and errors are those of
    ``scene_cloud`` (``image`` is (H, W, 3)).
    """
    image = _checked_image(scene, image)
    if valid is None:
        valid = valid_pixels(scene, intrinsics, labels, max_depth=max_depth, edge_threshold=edge_threshold)

    def ground(panoptic: Tensor) -> Tensor:
        return of_classes(panoptic, labels.ground)

    at, xyz = _thinned(scene, intrinsics, valid, ground, voxel, stride, max_std)
    return _cloud(scene, image, at, xyz)


def _thinned(
    scene: Scene,
    intrinsics: Intrinsics,
    valid: Tensor,
    wanted: Callable[[Tensor], Tensor],
    voxel: float,
    stride: int,
    max_std: float,
) -> tuple[Tensor, Tensor]:
    """Pixels (N,) and positions (N, 3) of ``valid`` points whose panoptic values are ``wanted``, thinned by voxels."""
    found = []
    for rows in blocks(scene.depth, stride):
        at = _indices(scene, valid[rows] & wanted(scene.panoptic[rows]), rows, stride, max_std, cut=True)
        found.append((at, _points(scene, intrinsics, at)))
    if voxel > 0:
        return voxels.merged([voxels.runs(at, xyz, voxel) for at, xyz in found])
    at, xyz = (torch.cat(parts) for parts in zip(*found, strict=True))
    return at, xyz


def _checked_image(scene: Scene, image: Tensor | np.ndarray) -> Tensor:
    """(H * W, 3) uint8 on the scene's device; raises ``ValueError`` if depth is not metric or the size differs."""
    if not scene.metric:
        raise ValueError("a scene without metric depth has no points: the camera's intrinsics are unknown")
    image = torch.as_tensor(image)
    if tuple(image.shape) != (*scene.panoptic.shape, 3):
        raise ValueError(f"the image has shape {tuple(image.shape)}, but the scene {tuple(scene.panoptic.shape)}")
    return image.to(scene.depth.device).reshape(-1, 3)


def of_classes(panoptic: Tensor, classes: frozenset[int]) -> Tensor:
    """Whether panoptic values (any shape) belong to one of the classes. Comparisons are faster than a division."""
    found = torch.zeros_like(panoptic, dtype=torch.bool)
    for class_id in classes:
        found |= (panoptic >= class_id * DIVISOR) & (panoptic < (class_id + 1) * DIVISOR)
    return found


def _indices(scene: Scene, valid: Tensor, rows: slice, stride: int, max_std: float, cut: bool = False) -> Tensor:
    """(N,) row-major indices of the pixels in a block of ``rows`` that become points.

    ``valid`` covers the whole scene, or with ``cut`` these rows only.
    """
    valid = valid if cut else valid[rows]
    if scene.depth_std is not None and max_std < math.inf:
        valid = valid & (scene.depth_std[rows] <= max_std)
    width = scene.depth.shape[1]
    if stride == 1:
        return true_indices(valid).add_(rows.start * width)
    down, across = (at * stride for at in valid[::stride, ::stride].nonzero(as_tuple=True))
    return (down + rows.start) * width + across


def _points(scene: Scene, intrinsics: Intrinsics, at: Tensor) -> Tensor:
    """(N, 3) float32 metres of the pixels ``at`` (N,)."""
    directions = rays(intrinsics, str(scene.depth.device)).view(-1, 3)
    return directions.index_select(0, at) * scene.depth.reshape(-1).index_select(0, at)[:, None]


def _cloud(scene: Scene, image: Tensor, at: Tensor, xyz: Tensor) -> SegmentCloud:
    """Points ``xyz`` (N, 3) with color and labels of the pixels ``at`` (N,); ``image`` is (H * W, 3)."""
    panoptic = scene.panoptic.reshape(-1).index_select(0, at)
    return SegmentCloud(xyz, image.index_select(0, at), *_labels_of(panoptic, scene))


def _labels_of(panoptic: Tensor, scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """Class, instance and score, (N,) each, of panoptic values (N,) of a scene."""
    label = ((panoptic + 0.5) * (1 / DIVISOR)).int()  # exact, and faster than an integer division
    instance = (panoptic - label * DIVISOR).where(label != VOID_CLASS, 0)
    return label, instance, _score_table(scene).index_select(0, panoptic)


def obstacles(cloud: SegmentCloud, labels: LabelSet, voxel: float = 0.0) -> SegmentCloud:
    """The points that a planner must avoid, at most one per cube of ``voxel`` metres (0: all points).

    Drivable ground and sky are left out. Unlabelled points stay, because they are not known to be free.
    """
    free = _classes(labels.drivable | labels.sky, cloud.label.device)
    kept = cloud[true_indices(~torch.isin(cloud.label, free) & cloud.xyz[:, 2].isfinite())]
    return voxel_thinned(kept, voxel) if voxel > 0 else kept


def voxel_thinned(cloud: SegmentCloud, voxel: float) -> SegmentCloud:
    """One point per occupied cube of ``voxel`` metres: the mean position, with color and labels of its first point."""
    if len(cloud) == 0:
        return cloud
    first, mean = voxels.merged([voxels.runs(torch.arange(len(cloud), device=cloud.xyz.device), cloud.xyz, voxel)])
    thinned = cloud[first]
    return SegmentCloud(mean, thinned.rgb, thinned.label, thinned.instance, thinned.score)


def _classes(ids: frozenset[int], device: torch.device) -> Tensor:
    return torch.tensor(sorted(ids), dtype=torch.int32, device=device)


def _score_table(scene: Scene) -> Tensor:
    """(256000,) float32 score of the segment of each panoptic value, 0 without a segment."""
    device = scene.depth.device
    table = torch.zeros(DIVISOR * (VOID_CLASS + 1), device=device)
    if scene.segments:
        ids = torch.tensor([s.id for s in scene.segments], device=device)
        table[ids] = torch.tensor([s.score for s in scene.segments], dtype=torch.float32, device=device)
    return table

"""Depth edges: the pixels of a depth map that belong to no surface and would be points floating in the air."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: A network's edge between two surfaces is at most about this many pixels wide: its maps are coarser than the image.
SMEAR = 8


def depth_edges(depth: Tensor, threshold: float) -> Tensor:
    """(H, W) bool: pixels at a jump of a depth map (H, W), or on the ramp into which a network smears it.

    The reciprocal of depth is linear in the image on every plane, however steep. Along rows and columns, a pixel is an
    edge where the second difference of that reciprocal, relative to itself, is above ``threshold`` (a jump), or where
    the reciprocal climbs or falls by a third of that per pixel on both sides and goes on as a plane for ``SMEAR``
    pixels on neither: steep ground does go on, a ramp between two surfaces is shorter. Pixels without a positive depth
    are none, and make none.

    Parameters
    ----------
    depth : (H, W) float, metres.
    threshold : relative, e.g. 0.1.
    """
    inverse = (1 / depth).where(depth > 0, math.nan).contiguous()
    edge = torch.zeros_like(inverse, dtype=torch.bool)
    for dim in (0, 1):  # down the columns, along the rows
        if inverse.shape[dim] > 2:
            edge.view(-1)[_edges_along(inverse, dim, threshold)] = True
    return edge


def _edges_along(inverse: Tensor, dim: int, threshold: float) -> Tensor:
    """Row-major indices of the pixels that are jumps, or on ramps, along one dimension of ``inverse`` (H, W)."""
    length, step = inverse.shape[dim], inverse.stride(dim)
    change = inverse.diff(dim=dim).abs_()
    steepest = torch.maximum(change.narrow(dim, 0, length - 2), change.narrow(dim, 1, length - 2))
    # Where neither neighbour is far off there is no jump and no ramp: few pixels are looked at more closely.
    row, column = (steepest > inverse.narrow(dim, 1, length - 2) * (threshold * 0.3)).nonzero(as_tuple=True)
    place = (column if dim else row) + 1  # along the dimension
    at = row * inverse.shape[1] + column + step
    values = inverse.view(-1)
    here = values[at]
    before, after = here - values[at - step], values[at + step] - here
    limit = here * threshold
    edges = [at[(after - before).abs_() > limit]]
    limit /= 3
    steep = (torch.minimum(before, after) > limit) | (torch.maximum(before, after) < -limit)
    at, place = at[steep], place[steep]
    held = [_goes_on(values, at, step, (place + r >= 0) & (place + r < length), r, threshold) for r in (SMEAR, -SMEAR)]
    return torch.cat([*edges, at[~(held[0] | held[1])]])


def _goes_on(values: Tensor, at: Tensor, step: int, inside: Tensor, reach: int, threshold: float) -> Tensor:
    """(K,) bool: whether the plane through each of K places goes on for ``reach`` steps, which are ``inside``."""
    here, middle, end = (values[(at + r * step * inside)] for r in (0, reach // 2, reach))
    return inside & ((here + end - 2 * middle).abs() <= threshold / 2 * here)

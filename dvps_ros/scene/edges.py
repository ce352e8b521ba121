"""Depth edges: pixels between two surfaces, whose points would float in the air."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Width in pixels of the ramp between two surfaces in a network's depth, whose maps are coarser than the image.
SMEAR = 8


def depth_edges(depth: Tensor, threshold: float) -> Tensor:
    """(H, W) bool: pixels at a jump of a depth map (H, W), or on the ramp that a network makes of a jump.

    The reciprocal of depth is linear in image coordinates on every plane, however steep. A pixel is an edge in two
    cases, each tested along rows and along columns. A jump: the second difference of the reciprocal, relative to the
    reciprocal, exceeds ``threshold``. A ramp: the reciprocal changes by more than a third of ``threshold`` per pixel in
    one direction, and is not linear over ``SMEAR`` pixels on either side. Steep ground is linear further than that.
    Pixels without a positive depth are not edges and cause none.

    Parameters
    ----------
    depth : (H, W) float, metres.
    threshold : relative to the reciprocal depth, e.g. 0.1.
    """
    inverse = (1 / depth).where(depth > 0, math.nan).contiguous()
    edge = torch.zeros_like(inverse, dtype=torch.bool)
    for dim in (0, 1):
        if inverse.shape[dim] > 2:
            edge.view(-1)[_edges_along(inverse, dim, threshold)] = True
    return edge


def _edges_along(inverse: Tensor, dim: int, threshold: float) -> Tensor:
    """Row-major indices of the pixels on jumps or ramps along one dimension of ``inverse`` (H, W)."""
    length, step = inverse.shape[dim], inverse.stride(dim)
    change = inverse.diff(dim=dim).abs_()
    steepest = torch.maximum(change.narrow(dim, 0, length - 2), change.narrow(dim, 1, length - 2))
    # A jump or ramp needs a large difference to a neighbour; only the few pixels that have one are examined.
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
    linear = [
        _is_linear(values, at, step, (place + r >= 0) & (place + r < length), r, threshold) for r in (SMEAR, -SMEAR)
    ]
    return torch.cat([*edges, at[~(linear[0] | linear[1])]])


def _is_linear(values: Tensor, at: Tensor, step: int, inside: Tensor, reach: int, threshold: float) -> Tensor:
    """(K,) bool: whether ``values`` are linear over ``reach`` steps from each of K places; False if not ``inside``."""
    here, middle, end = (values[(at + r * step * inside)] for r in (0, reach // 2, reach))
    return inside & ((here + end - 2 * middle).abs() <= threshold / 2 * here)

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
    inverse = (1 / depth).where(depth > 0, math.nan)
    edge = torch.zeros_like(depth, dtype=torch.bool)
    for values, marks in ((inverse, edge), (inverse.T, edge.T)):  # views: down the columns, along the rows
        if len(values) > 2:
            _mark(values, marks[1:-1], threshold)
    return edge


def _mark(values: Tensor, marks: Tensor, threshold: float) -> None:
    """Mark jumps and ramps down the columns of ``values`` (N, M) in ``marks`` (N - 2, M), which lacks both ends."""
    step, limit = values.diff(dim=0), values[1:-1] * threshold
    before, after = step[:-1], step[1:]
    marks |= (after - before).abs_() > limit
    limit /= 3
    steep = (torch.minimum(before, after) > limit) | (torch.maximum(before, after) < -limit)
    row, column = steep.nonzero().unbind(1)
    held = _goes_on(values, row + 1, column, SMEAR, threshold) | _goes_on(values, row + 1, column, -SMEAR, threshold)
    marks[row, column] |= ~held


def _goes_on(values: Tensor, row: Tensor, column: Tensor, reach: int, threshold: float) -> Tensor:
    """(K,) bool: whether the plane through each of K places goes on for ``reach`` rows, up where negative."""
    inside = (row + reach >= 0) & (row + reach < len(values))
    here, middle, end = (values[(row + r).clamp(0, len(values) - 1), column] for r in (0, reach // 2, reach))
    return inside & ((here + end - 2 * middle).abs() <= threshold / 2 * here)

"""Voxel grid: neighbouring points in one cube are joined to runs first, of which there are far fewer than points."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dvps_ros.scene.indexing import true_indices

#: Number of cells along each axis on either side of the camera; points beyond them belong to the last cell.
_CELLS = 1 << 20

#: Of R runs: cell (R, 3) int64, first row (R,) int64, number of points (R,) int64, their sum (R, 3) float32.
Runs = tuple[Tensor, Tensor, Tensor, Tensor]


def runs(rows: Tensor, xyz: Tensor, edge: float) -> Runs:
    """Runs of consecutive points in one cube of ``edge`` metres.

    ``xyz`` is (N, 3) float32, ``rows`` (N,) int64 ascending. The grid is aligned with the camera's axes and origin,
    independent of the points.
    """
    cells = [(axis / edge).floor_() for axis in xyz.unbind(1)]
    begins = torch.ones_like(rows, dtype=torch.bool)
    torch.ne(cells[0][1:], cells[0][:-1], out=begins[1:])
    for axis in cells[1:]:
        begins[1:] |= axis[1:] != axis[:-1]
    first = true_indices(begins)
    count = torch.cat([first[1:], first.new_full((min(len(rows), 1),), len(rows))]) - first
    # unsafe=True skips a check of the lengths, which copies them to the host and fails for zero runs
    total = torch.segment_reduce(xyz, "sum", lengths=count, axis=0, unsafe=True)
    cell = torch.stack([axis.index_select(0, first) for axis in cells], 1).clamp_(-_CELLS, _CELLS - 1)
    return cell.long(), rows.index_select(0, first), count, total


def merged(parts: Sequence[Runs]) -> tuple[Tensor, Tensor]:
    """First row (M,) int64 and mean position (M, 3) float32 of each occupied cell, ordered by z, y and x."""
    cell, row, count, total = (torch.cat(columns) for columns in zip(*parts, strict=True))
    if len(row) == 0:
        return row, total
    cell -= cell.amin(0)
    extent = cell.amax(0) + 1
    key = (cell[:, 2] * extent[1] + cell[:, 1]) * extent[0] + cell[:, 0]  # small numbers sort faster
    cells, member = key.unique(return_inverse=True)
    points = count.new_zeros(len(cells)).index_add_(0, member, count)
    mean = total.new_zeros(len(cells), 3).index_add_(0, member, total) / points[:, None]
    first = row.new_full((len(cells),), torch.iinfo(torch.int64).max).scatter_reduce_(0, member, row, "amin")
    return first, mean

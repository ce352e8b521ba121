"""Stray points of instances: points far from the rest of a thing, from a mask's border or a wrong depth."""

from __future__ import annotations

import torch
from torch import Tensor

from dvps_ros.scene.indexing import ascending_order

#: A thing ends where less than this share of its points lies within the allowed gap.
_SHARE = 0.01
#: The size of a thing is measured between these quantiles, which strays do not reach.
_INNER = (0.1, 0.9)


def sorted_in_groups(values: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """``values`` (N,) float32 sorted within each of the consecutive groups (N,) int64, and their old rows (N,)."""
    bits = values.contiguous().view(torch.int32)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # integers with the same order as the floats
    order = ascending_order((group << 32) + ordered.long())
    return values[order], order


def quantile_rows(start: Tensor, counts: Tensor, share: float) -> Tensor:
    """(G,) rows of the ``share`` quantile of sorted groups; groups are as in ``strays``."""
    return start + ((counts - 1) * share).round().long()


def strays(axes: list[tuple[Tensor, Tensor]], group: Tensor, start: Tensor, counts: Tensor, gap: float) -> Tensor:
    """(N,) bool: points beyond a gap in their group, never all points of a group.

    The search goes from a group's median outwards along each axis. A hundredth of the group's points must lie within
    ``gap`` sizes; where they need more room, the thing ends. The size is the group's extent along the axis or the
    median of its three extents, whichever is larger, each between the 10 % and 90 % quantiles. Strays beside or behind
    a thing lie as far away as its surroundings, but the few points of a thing's far side do not. A group that would
    lose all its points is too sparse for this rule and keeps them.

    Parameters
    ----------
    axes : for each axis the (N,) values sorted within their groups, and their rows, from ``sorted_in_groups``.
    group : (N,) int64, consecutive, ascending from 0.
    start, counts : (G,) int64, first row and number of rows of each group.
    gap : in sizes, above 0.
    """
    low, high = (quantile_rows(start, counts, share) for share in _INNER)
    extents = torch.stack([values[high] - values[low] for values, _ in axes])  # (3, G)
    stray = torch.zeros_like(group, dtype=torch.bool)
    for (values, order), extent in zip(axes, extents, strict=True):
        allowed = gap * torch.maximum(extent, extents.median(0).values)
        stray[order] |= _beyond(values, allowed, group, start, counts)
    left = torch.zeros_like(counts).index_add_(0, group, (~stray).long())
    return stray & (left > 0)[group]


def _beyond(values: Tensor, allowed: Tensor, group: Tensor, start: Tensor, counts: Tensor) -> Tensor:
    """(N,) bool: sorted ``values`` beyond the place where a group ends; ``allowed`` (G,) is its largest gap."""
    row = torch.arange(len(values), device=values.device)
    lag = (counts * _SHARE).ceil().long()[group]
    first, last, middle = start[group], (start + counts - 1)[group], (start + counts // 2)[group]
    thin_above = (row > middle) & (values - values[torch.maximum(row - lag, first)] > allowed[group])
    thin_below = (row < middle) & (values[torch.minimum(row + lag, last)] - values > allowed[group])
    ends = torch.full_like(start, len(values)).scatter_reduce_(0, group[thin_above], row[thin_above], "amin")
    begins = torch.full_like(start, -1).scatter_reduce_(0, group[thin_below], row[thin_below], "amax")
    return (row >= ends[group]) | (row <= begins[group])

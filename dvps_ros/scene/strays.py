"""Stray points of instances: what a mask's border, or a wrong depth, left far from the rest of a thing."""

from __future__ import annotations

import torch
from torch import Tensor

#: A thing goes on while this share of its points lies within the allowed gap; fewer are strays.
_SHARE = 0.01
#: Its size is that between these quantiles, which strays do not reach.
_INNER = (0.1, 0.9)


def sorted_in_groups(values: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """``values`` (N,) float32 sorted inside each of the consecutive groups (N,) int64, and where each came from."""
    bits = values.contiguous().view(torch.int32)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # integers in the order of the floats
    order = ((group << 32) + ordered.long()).sort().indices
    return values[order], order


def quantile_rows(start: Tensor, counts: Tensor, share: float) -> Tensor:
    """(G,) rows of sorted groups at which a ``share`` of their points lies below; groups are as in ``strays``."""
    return start + ((counts - 1) * share).round().long()


def strays(axes: list[tuple[Tensor, Tensor]], group: Tensor, start: Tensor, counts: Tensor, gap: float) -> Tensor:
    """(N,) bool: points beyond a gap in their group, never all of a group.

    From a group's median outwards along each axis, a hundredth of its points must lie within the last ``gap`` sizes;
    where they spread over more, the thing has ended. A size is the larger of the group's extent along that axis and the
    middle one of its three, without its outer tenths: strays beside or behind a thing are as far apart as its
    surroundings, but the little that is seen of a thing's far side is not. A group that would lose every point, by one
    axis or another, is so loose that the rule says nothing of it: it keeps them all.

    Parameters
    ----------
    axes : of each axis, the (N,) values sorted in their groups, and their rows, as ``sorted_in_groups`` gives them.
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
    """(N,) bool: sorted ``values`` before or after the place where a group thins out; ``allowed`` is (G,)."""
    row = torch.arange(len(values), device=values.device)
    lag = (counts * _SHARE).ceil().long()[group]
    first, last, middle = start[group], (start + counts - 1)[group], (start + counts // 2)[group]
    thin_above = (row > middle) & (values - values[torch.maximum(row - lag, first)] > allowed[group])
    thin_below = (row < middle) & (values[torch.minimum(row + lag, last)] - values > allowed[group])
    ends = torch.full_like(start, len(values)).scatter_reduce_(0, group[thin_above], row[thin_above], "amin")
    begins = torch.full_like(start, -1).scatter_reduce_(0, group[thin_below], row[thin_below], "amax")
    return (row >= ends[group]) | (row <= begins[group])

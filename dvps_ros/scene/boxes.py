"""Things in a cloud: points grouped by instance, with one box per instance."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dvps_ros.labels import DIVISOR
from dvps_ros.scene.indexing import true_indices
from dvps_ros.scene.strays import quantile_rows, sorted_in_groups, strays
from dvps_ros.structures import SegmentCloud


@dataclass(frozen=True)
class InstanceBox:
    """One instance in a cloud of things.

    Attributes
    ----------
    id : class * 1000 + instance, as in ``Scene.panoptic``.
    class_id, instance : the two parts of ``id``.
    score : class probability, 0..1.
    start, stop : its points are rows ``start`` to ``stop`` - 1 of the cloud.
    center, size : box along the axes of the optical frame, (x, y, z) metres each.
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
    """The points of things, grouped by instance in order of id, and one box per instance.

    Parameters
    ----------
    cloud : points of a scene.
    percentile : a box reaches from this percentile of the points to 100 - ``percentile`` along each axis; 0: all.
    gap : points beyond a gap of this many times an instance's size are left out (see ``strays``); 0 keeps all.
    """
    rows = true_indices((cloud.instance > 0) & cloud.xyz[:, 2].isfinite())
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
        things = things[true_indices(kept)]
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

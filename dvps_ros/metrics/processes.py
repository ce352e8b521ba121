"""Merging of the measures of several processes, each of which counts a part of a split."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from dvps_ros.metrics.depth import DepthErrors
    from dvps_ros.metrics.dvpq import DepthAwareVideoPanopticQuality
    from dvps_ros.metrics.scale import DepthScale
    from dvps_ros.metrics.semantic import MeanIou
    from dvps_ros.metrics.stq import TrackingQuality

Measure = TypeVar(
    "Measure", "DepthErrors", "DepthAwareVideoPanopticQuality", "MeanIou", "TrackingQuality", "DepthScale"
)


def over_all_processes(measure: Measure) -> Measure:
    """A measure with the counts of all processes of ``torch.distributed``; ``measure`` does not change.

    The result is the same in all processes. Counts are integers, so it is bit-identical to the result of a single
    process. Every process must call this equally often. Without ``torch.distributed`` the result is a copy.
    """
    import torch.distributed

    whole = copy.deepcopy(measure)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        states: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(states, measure.state())
        whole.load_state({name: sum(state[name] for state in states) for name in states[0]})
    return whole

"""One measure out of those that several processes counted, each on its part of a split."""

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
    """A measure with the counts of all processes of ``torch.distributed``, the same in each; ``measure`` itself stays.

    Counts are whole numbers, so it equals, bit for bit, what one process would have counted. Every process must call
    this equally often. Without ``torch.distributed`` it is a copy.
    """
    import torch.distributed

    whole = copy.deepcopy(measure)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        states: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(states, measure.state())
        whole.load_state({name: sum(state[name] for state in states) for name in states[0]})
    return whole

"""The field's measures of labels and depth, in NumPy: streaming, mergeable, whole-split counts."""

from dvps_ros.metrics.depth import DepthErrors
from dvps_ros.metrics.dvpq import DepthAwareVideoPanopticQuality
from dvps_ros.metrics.panoptic import PanopticQuality
from dvps_ros.metrics.processes import over_all_processes

__all__ = ["DepthAwareVideoPanopticQuality", "DepthErrors", "PanopticQuality", "over_all_processes"]

"""Metrics of labels and depth in NumPy, computed from counts that can be merged."""

from dvps_ros.metrics.depth import DepthErrors
from dvps_ros.metrics.dvpq import DepthAwareVideoPanopticQuality
from dvps_ros.metrics.panoptic import PanopticQuality, only_classes
from dvps_ros.metrics.processes import over_all_processes
from dvps_ros.metrics.scale import DepthScale
from dvps_ros.metrics.semantic import MeanIou
from dvps_ros.metrics.stq import TrackingQuality

__all__ = [
    "DepthAwareVideoPanopticQuality",
    "DepthErrors",
    "DepthScale",
    "MeanIou",
    "PanopticQuality",
    "TrackingQuality",
    "only_classes",
    "over_all_processes",
]

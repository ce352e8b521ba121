"""The field's measures of labels and depth, in NumPy: streaming, mergeable, whole-split counts."""

from dvps_ros.metrics.depth import DepthErrors
from dvps_ros.metrics.dvpq import DepthAwareVideoPanopticQuality
from dvps_ros.metrics.panoptic import PanopticQuality

__all__ = ["DepthAwareVideoPanopticQuality", "DepthErrors", "PanopticQuality"]

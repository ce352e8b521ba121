"""The nouns of the package: what travels between its parts, with shapes and units.

Everywhere: B batch, Q queries, K classes, C width, H x W image size, h x w = the padded image's size / 4.
Depth is z along the optical axis in metres; axes follow REP 103's optical frame (x right, y down, z forward).
Pixel (u, v) = (0, 0) is the *centre* of the top left pixel, as in sensor_msgs/CameraInfo.
"""

from dvps_ros.structures.camera import CameraFrame, Intrinsics
from dvps_ros.structures.prediction import DEVIATION, SPREAD, Features, Prediction, log_spread
from dvps_ros.structures.scene import Anchor, Scene, Segment, SegmentCloud
from dvps_ros.structures.target import Target
from dvps_ros.structures.tracks import CameraMotion, TrackedThing

__all__ = [
    "DEVIATION",
    "SPREAD",
    "Anchor",
    "CameraFrame",
    "CameraMotion",
    "Features",
    "Intrinsics",
    "Prediction",
    "Scene",
    "Segment",
    "SegmentCloud",
    "Target",
    "TrackedThing",
    "log_spread",
]

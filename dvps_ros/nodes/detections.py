"""Detections and label names as vision_msgs has them; only where vision_msgs is installed (``AVAILABLE``)."""

from __future__ import annotations

from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import Header

from dvps_ros.labels import LabelSet
from dvps_ros.scene.boxes import InstanceBox

try:
    from vision_msgs.msg import (
        BoundingBox3D,
        Detection3D,
        Detection3DArray,
        LabelInfo,
        ObjectHypothesis,
        ObjectHypothesisWithPose,
        VisionClass,
    )

    AVAILABLE = True
except ImportError:
    AVAILABLE = False


def detection_array(header: Header, boxes: tuple[InstanceBox, ...], labels: LabelSet) -> Detection3DArray:
    """One Detection3D for each instance, in the order of the instances cloud.

    The id, the number of the tracked instance, stays when the network changes the instance's class. Its points are the
    rows of that cloud with its label and instance, which lie together. The box is axis-aligned in the optical frame.
    """
    return Detection3DArray(header=header, detections=[_detection(header, box, labels) for box in boxes])


def _detection(header: Header, box: InstanceBox, labels: LabelSet) -> Detection3D:
    pose = Pose(position=Point(**dict(zip("xyz", map(float, box.center), strict=True))), orientation=Quaternion(w=1.0))
    hypothesis = ObjectHypothesisWithPose(
        hypothesis=ObjectHypothesis(class_id=labels.names[box.class_id], score=float(box.score))
    )
    hypothesis.pose.pose = pose
    size = Vector3(**dict(zip("xyz", map(float, box.size), strict=True)))
    return Detection3D(
        header=header,
        results=[hypothesis],
        bbox=BoundingBox3D(center=pose, size=size),
        id=str(box.instance),
    )


def label_info(header: Header, labels: LabelSet, score_threshold: float) -> LabelInfo:
    """Class ids and names, and the score below which segments are dropped."""
    classes = [VisionClass(class_id=index, class_name=name) for index, name in enumerate(labels.names)]
    return LabelInfo(header=header, class_map=classes, threshold=float(score_threshold))

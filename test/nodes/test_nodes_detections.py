"""Detections for vision_msgs, which is not among the ROS wheels: against its definitions, written out here."""

import importlib.util
import sys
import types
from dataclasses import dataclass, field

import numpy as np
import pytest
from geometry_msgs.msg import Pose, PoseWithCovariance, Vector3
from std_msgs.msg import Header

from dvps_ros.labels import CITYSCAPES
from dvps_ros.nodes import detections
from dvps_ros.nodes.placement import Placement
from dvps_ros.scene.boxes import InstanceBox

#: From the optical frame to one with x ahead, y left and z up, whose origin lies 1 m behind and 2 m below the camera.
BASE = Placement(
    "base_link", np.array([[0.0, 0.0, 1.0, 1.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 2.0], [0.0, 0.0, 0.0, 1.0]])
)


@dataclass
class VisionClass:
    class_id: int = 0
    class_name: str = ""


@dataclass
class LabelInfo:
    header: Header = field(default_factory=Header)
    class_map: list = field(default_factory=list)
    threshold: float = 0.0


@dataclass
class ObjectHypothesis:
    class_id: str = ""
    score: float = 0.0


@dataclass
class ObjectHypothesisWithPose:
    hypothesis: ObjectHypothesis = field(default_factory=ObjectHypothesis)
    pose: PoseWithCovariance = field(default_factory=PoseWithCovariance)


@dataclass
class BoundingBox3D:
    center: Pose = field(default_factory=Pose)
    size: Vector3 = field(default_factory=Vector3)


@dataclass
class Detection3D:
    header: Header = field(default_factory=Header)
    results: list = field(default_factory=list)
    bbox: BoundingBox3D = field(default_factory=BoundingBox3D)
    id: str = ""


@dataclass
class Detection3DArray:
    header: Header = field(default_factory=Header)
    detections: list = field(default_factory=list)


@pytest.fixture
def installed(monkeypatch):
    """``dvps_ros.nodes.detections`` as it is where vision_msgs is installed."""
    classes = (
        *(VisionClass, LabelInfo, ObjectHypothesis, ObjectHypothesisWithPose),
        *(BoundingBox3D, Detection3D, Detection3DArray),
    )
    messages = types.ModuleType("vision_msgs.msg")
    for cls in classes:
        setattr(messages, cls.__name__, cls)
    monkeypatch.setitem(sys.modules, "vision_msgs", types.ModuleType("vision_msgs"))
    monkeypatch.setitem(sys.modules, "vision_msgs.msg", messages)
    yield importlib.reload(detections)
    monkeypatch.undo()
    importlib.reload(detections)


def test_one_detection_for_each_instance(installed):
    assert installed.AVAILABLE
    box = InstanceBox(13007, 13, 7, 0.75, 10, 40, (1.0, 2.0, 12.0), (1.8, 1.5, 4.2))
    header = Header(frame_id="camera")
    message = installed.detection_array(header, (box,), CITYSCAPES)
    [detection] = message.detections
    assert (message.header, detection.header, detection.id) == (header, header, "7")
    [result] = detection.results
    assert (result.hypothesis.class_id, result.hypothesis.score) == ("car", 0.75)
    center, size = detection.bbox.center, detection.bbox.size
    assert (center.position.x, center.position.y, center.position.z) == (1.0, 2.0, 12.0)
    assert (size.x, size.y, size.z, center.orientation.w) == (1.8, 1.5, 4.2, 1.0)


def test_in_another_frame_a_detection_s_box_and_pose_are_one(installed):
    box = InstanceBox(13007, 13, 7, 0.75, 10, 40, (1.0, 2.0, 12.0), (1.8, 1.5, 4.2))
    [detection] = BASE.detections(installed.detection_array(Header(), (box,), CITYSCAPES)).detections
    center = detection.bbox.center.position
    assert (center.x, center.y, center.z) == pytest.approx((13.0, -1.0, 0.0))
    assert detection.results[0].pose.pose == detection.bbox.center
    assert (detection.bbox.size.x, detection.bbox.size.z) == (1.8, 4.2)  # along the camera's axes, as before


def test_label_info_names_every_class(installed):
    info = installed.label_info(Header(), CITYSCAPES, 0.8)
    assert [(c.class_id, c.class_name) for c in info.class_map] == list(enumerate(CITYSCAPES.names))
    assert info.threshold == 0.8


def test_offered_exactly_where_vision_msgs_is_installed():
    assert (importlib.util.find_spec("vision_msgs") is not None) == detections.AVAILABLE

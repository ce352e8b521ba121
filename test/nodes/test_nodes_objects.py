"""Objects for autoware_perception_msgs, which is not among the ROS wheels: against its definitions, written out."""

import importlib
import importlib.util
import sys
import types
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest
from geometry_msgs.msg import AccelWithCovariance, Polygon, PoseWithCovariance, TwistWithCovariance, Vector3
from std_msgs.msg import Header
from unique_identifier_msgs.msg import UUID

from dvps_ros.labels import CITYSCAPES
from dvps_ros.nodes import objects
from dvps_ros.nodes.placement import Placement
from dvps_ros.scene.boxes import InstanceBox
from dvps_ros.structures import TrackedThing

HEADER = Header(frame_id="camera")
#: From the optical frame to one with x ahead, y left and z up, whose origin lies 1 m behind and 2 m below the camera.
BASE = Placement(
    "base_link", np.array([[0.0, 0.0, 1.0, 1.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 2.0], [0.0, 0.0, 0.0, 1.0]])
)


@dataclass
class ObjectClassification:
    UNKNOWN: ClassVar[int] = 0
    CAR: ClassVar[int] = 1
    TRUCK: ClassVar[int] = 2
    BUS: ClassVar[int] = 3
    TRAILER: ClassVar[int] = 4
    MOTORCYCLE: ClassVar[int] = 5
    BICYCLE: ClassVar[int] = 6
    PEDESTRIAN: ClassVar[int] = 7
    label: int = 0
    probability: float = 0.0


@dataclass
class Shape:
    BOUNDING_BOX: ClassVar[int] = 0
    CYLINDER: ClassVar[int] = 1
    POLYGON: ClassVar[int] = 2
    type: int = 0
    footprint: Polygon = field(default_factory=Polygon)
    dimensions: Vector3 = field(default_factory=Vector3)


@dataclass
class TrackedObjectKinematics:
    UNAVAILABLE: ClassVar[int] = 0
    SIGN_UNKNOWN: ClassVar[int] = 1
    AVAILABLE: ClassVar[int] = 2
    pose_with_covariance: PoseWithCovariance = field(default_factory=PoseWithCovariance)
    twist_with_covariance: TwistWithCovariance = field(default_factory=TwistWithCovariance)
    acceleration_with_covariance: AccelWithCovariance = field(default_factory=AccelWithCovariance)
    orientation_availability: int = 0
    is_stationary: bool = False


@dataclass
class TrackedObject:
    object_id: UUID = field(default_factory=UUID)
    existence_probability: float = 0.0
    classification: list = field(default_factory=list)
    kinematics: TrackedObjectKinematics = field(default_factory=TrackedObjectKinematics)
    shape: Shape = field(default_factory=Shape)


@dataclass
class TrackedObjects:
    header: Header = field(default_factory=Header)
    objects: list = field(default_factory=list)


@pytest.fixture
def installed(monkeypatch):
    """``dvps_ros.nodes.objects`` as it is where autoware_perception_msgs is installed."""
    messages = types.ModuleType("autoware_perception_msgs.msg")
    for cls in (ObjectClassification, Shape, TrackedObjectKinematics, TrackedObject, TrackedObjects):
        setattr(messages, cls.__name__, cls)
    monkeypatch.setitem(sys.modules, "autoware_perception_msgs", types.ModuleType("autoware_perception_msgs"))
    monkeypatch.setitem(sys.modules, "autoware_perception_msgs.msg", messages)
    yield importlib.reload(objects)
    monkeypatch.undo()
    importlib.reload(objects)


def thing(identity=13007, velocity=(0.0, 0.0, 8.0), hits=3, confirmed=True, relative=False):
    covariance = np.diag([0.1, 0.2, 0.9, 1.0, 2.0, 3.0])
    return TrackedThing(
        identity, np.array([1.0, 2.0, 12.0]), np.array(velocity), covariance, 0.5, hits, confirmed, relative
    )


def box(identity=13007):
    return InstanceBox(identity, identity // 1000, identity % 1000, 0.8, 0, 9, (1.1, 2.1, 12.1), (1.8, 1.5, 4.2))


def test_a_car_that_drives_ahead(installed):
    assert installed.AVAILABLE
    message = installed.tracked_objects(HEADER, (thing(),), (box(),), CITYSCAPES)
    [car] = message.objects
    assert message.header is HEADER
    assert car.object_id.uuid.tolist() == [0] * 15 + [7]
    assert car.existence_probability == pytest.approx(0.8 * 7 / 8)
    assert [(c.label, c.probability) for c in car.classification] == [(ObjectClassification.CAR, 0.8)]
    pose, twist = car.kinematics.pose_with_covariance, car.kinematics.twist_with_covariance
    position = pose.pose.position
    assert (position.x, position.y, position.z) == (1.0, 2.0, 12.0)
    linear = twist.twist.linear
    assert (linear.x, linear.y, linear.z) == (8.0, 0.0, 0.0)  # ahead of itself, if it faces as the camera does
    assert np.diag(pose.covariance.reshape(6, 6))[:3].tolist() == [0.1, 0.2, 0.9]
    assert np.diag(twist.covariance.reshape(6, 6))[:3].tolist() == [3.0, 1.0, 2.0]
    assert (car.shape.type, car.shape.dimensions.x, car.shape.dimensions.y, car.shape.dimensions.z) == (
        *(Shape.BOUNDING_BOX, 4.2, 1.8, 1.5),
    )
    assert not car.kinematics.is_stationary
    assert car.kinematics.orientation_availability == TrackedObjectKinematics.UNAVAILABLE


def test_the_orientation_stands_upright(installed):
    [car] = installed.tracked_objects(HEADER, (thing(),), (box(),), CITYSCAPES).objects
    q = car.kinematics.pose_with_covariance.pose.orientation
    up = np.array([2 * (q.x * q.z + q.w * q.y), 2 * (q.y * q.z - q.w * q.x), 1 - 2 * (q.x**2 + q.y**2)])
    ahead = np.array([1 - 2 * (q.y**2 + q.z**2), 2 * (q.x * q.y + q.w * q.z), 2 * (q.x * q.z - q.w * q.y)])
    assert up == pytest.approx([0, -1, 0])  # y of an optical frame points down
    assert ahead == pytest.approx([0, 0, 1])


def test_in_another_frame_an_object_is_upright_with_its_covariance(installed):
    [before] = installed.tracked_objects(HEADER, (thing(),), (box(),), CITYSCAPES).objects
    [after] = BASE.objects(installed.tracked_objects(HEADER, (thing(),), (box(),), CITYSCAPES)).objects
    pose = after.kinematics.pose_with_covariance
    at, q = pose.pose.position, pose.pose.orientation
    assert (at.x, at.y, at.z) == pytest.approx((13.0, -1.0, 0.0))
    assert abs(q.w) == pytest.approx(1.0)  # x ahead, y left, z up
    spread, was = (np.array(one.kinematics.pose_with_covariance.covariance).reshape(6, 6) for one in (after, before))
    assert np.diag(spread)[:3] == pytest.approx([0.9, 0.1, 0.2])
    assert np.diag(spread)[3:] == pytest.approx(np.diag(was)[3:])
    # along the object's own axes
    assert after.kinematics.twist_with_covariance == before.kinematics.twist_with_covariance


def test_a_velocity_against_the_camera_is_none(installed):
    [car] = installed.tracked_objects(HEADER, (thing(relative=True, velocity=(0, 0, 0)),), (box(),), CITYSCAPES).objects
    twist = car.kinematics.twist_with_covariance
    assert twist.twist.linear == Vector3()
    assert np.diag(twist.covariance.reshape(6, 6)).min() == 1e4
    assert not car.kinematics.is_stationary  # nobody knows


def test_what_stands_and_what_is_not_confirmed(installed):
    things = (thing(11002, (0.1, 0, 0)), thing(12003, confirmed=False), thing(17004), thing(16005), thing(18006))
    found = installed.tracked_objects(HEADER, things, [box(one.id) for one in things[:-1]], CITYSCAPES).objects
    assert [one.object_id.uuid[-1] for one in found] == [2, 4, 5]  # the last one has no box
    assert [one.classification[0].label for one in found] == [7, 5, 0]
    assert [one.kinematics.is_stationary for one in found] == [True, False, False]


def test_offered_exactly_where_the_package_is_installed():
    assert (importlib.util.find_spec("autoware_perception_msgs") is not None) == objects.AVAILABLE

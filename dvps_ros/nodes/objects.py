"""Tracked objects as autoware_perception_msgs has them; only where that package is installed (``AVAILABLE``)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point, Quaternion, Vector3
from std_msgs.msg import Header

from dvps_ros.labels import LabelSet
from dvps_ros.scene.boxes import InstanceBox
from dvps_ros.structures import TrackedThing

try:
    from autoware_perception_msgs.msg import (
        ObjectClassification,
        Shape,
        TrackedObject,
        TrackedObjectKinematics,
        TrackedObjects,
    )
    from unique_identifier_msgs.msg import UUID

    AVAILABLE = True
except ImportError:
    AVAILABLE = False

#: From class names of both class tables to names of Autoware's classes; all others are UNKNOWN.
_CLASSES = {
    "person": "PEDESTRIAN",
    "rider": "BICYCLE",
    "car": "CAR",
    "truck": "TRUCK",
    "bus": "BUS",
    "motorcycle": "MOTORCYCLE",
    "bicycle": "BICYCLE",
    "bicyclist": "BICYCLE",
    "motorcyclist": "MOTORCYCLE",
}
#: Axes of an object (x ahead, y left, z up: REP 103) in the optical frame (x right, y down, z ahead), as columns.
_AXES = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
#: The same as a quaternion.
_UPRIGHT = {"x": 0.5, "y": -0.5, "z": 0.5, "w": 0.5}
#: An object slower than this, in m/s, is reported as stationary.
_STANDING = 0.5
#: Variances of unknown quantities: an angle in any direction (rad²), and a speed beyond any vehicle's ((m/s)²).
_ANY_ANGLE, _ANY_SPEED = math.pi**2 / 3, 1e4


def tracked_objects(
    header: Header, things: Sequence[TrackedThing], boxes: Sequence[InstanceBox], labels: LabelSet
) -> TrackedObjects:
    """One TrackedObject for each confirmed thing that has a box, in order of id.

    The pose is the filter's position in the frame of ``header``, an optical one, with x ahead, y left, z up; the
    heading of an object is not known. The covariance of the pose is along the axes of the frame. The twist is the
    velocity over the ground along the object's axes. If the camera's motion is not known, it is empty with a variance
    of (100 m/s)². The shape is the box of the visible part. The existence probability is the class score times 1 - 2^-n
    after n frames.
    """
    sizes = {box.id: box for box in boxes}
    objects = [_object(thing, sizes[thing.id], labels) for thing in things if thing.confirmed and thing.id in sizes]
    return TrackedObjects(header=header, objects=objects)


def _object(thing: TrackedThing, box: InstanceBox, labels: LabelSet) -> TrackedObject:
    label = getattr(ObjectClassification, _CLASSES.get(labels.names[box.class_id], "UNKNOWN"))
    depth, width, height = abs(_AXES.T @ np.array(box.size)).tolist()
    return TrackedObject(
        object_id=UUID(uuid=np.frombuffer(box.instance.to_bytes(16, "big"), np.uint8)),
        existence_probability=float(box.score * (1 - 0.5**thing.hits)),
        classification=[ObjectClassification(label=label, probability=float(box.score))],
        kinematics=_kinematics(thing),
        shape=Shape(type=Shape.BOUNDING_BOX, dimensions=Vector3(x=depth, y=width, z=height)),
    )


def _kinematics(thing: TrackedThing) -> TrackedObjectKinematics:
    kinematics = TrackedObjectKinematics(
        orientation_availability=TrackedObjectKinematics.UNAVAILABLE,
        is_stationary=bool(not thing.relative and thing.speed < _STANDING),
    )
    pose, twist = kinematics.pose_with_covariance, kinematics.twist_with_covariance
    pose.pose.position = Point(**dict(zip("xyz", thing.position.tolist(), strict=True)))
    pose.pose.orientation = Quaternion(**_UPRIGHT)
    pose.covariance = _covariance(thing.covariance[:3, :3], _ANY_ANGLE)
    spread = np.eye(3) * _ANY_SPEED
    if not thing.relative:
        twist.twist.linear = Vector3(**dict(zip("xyz", (_AXES.T @ thing.velocity).tolist(), strict=True)))
        spread = _AXES.T @ thing.covariance[3:, 3:] @ _AXES
    twist.covariance = _covariance(spread, _ANY_SPEED)
    kinematics.acceleration_with_covariance.covariance = _covariance(np.eye(3) * _ANY_SPEED, _ANY_SPEED)
    return kinematics


def _covariance(linear: np.ndarray, angular: float) -> np.ndarray:
    """(36,) row by row: ``linear`` (3, 3), and the same variance about each axis."""
    whole = np.diag([0.0, 0.0, 0.0, angular, angular, angular])
    whole[:3, :3] = linear
    return whole.reshape(-1)

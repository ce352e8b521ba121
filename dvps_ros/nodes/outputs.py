"""Publishers of the perception node; a topic without subscribers costs nothing."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header, String
from torch import Tensor
from visualization_msgs.msg import MarkerArray

from dvps_ros.drawing.overlay import overlay
from dvps_ros.labels import LabelSet
from dvps_ros.nodes import detections, objects, packing
from dvps_ros.nodes.frame import Frame
from dvps_ros.nodes.messages import info_of
from dvps_ros.nodes.view_frame import ViewFrame
from dvps_ros.structures import Scene, SegmentCloud

#: Per-frame topics that need depth in metres: they are published if the camera is calibrated.
METRIC = (
    "depth",
    "depth/camera_info",
    "camera_info",
    "depth/uncertainty",
    "points",
    "obstacles",
    "ground",
    "instances",
    "markers",
    "detections",
    "objects",
)
#: Per-frame topics that ``Frame.placement`` moves into another frame.
PLACED = frozenset({"points", "obstacles", "ground", "instances", "markers", "detections", "objects"})
#: Per-frame topics that are published if the camera is not calibrated.
RELATIVE = ("depth/relative",)
#: Per-frame topics that need a model that estimates the uncertainty of its depth.
UNCERTAIN = ("depth/uncertainty",)


class Outputs:
    """All topics of the perception node below its own name.

    Parameters
    ----------
    node : has the publishers; they send only while it is active.
    uncertainty : whether scenes have ``depth_std``, which then has a topic.
    view_frame : name of a frame for viewers (``ViewFrame``); empty: none.
    """

    def __init__(self, node: LifecycleNode, uncertainty: bool = False, view_frame: str = "") -> None:
        self._node = node
        self._view = ViewFrame(node, view_frame)
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        kinds = topics(True, uncertainty) | topics(False, uncertainty)
        self._buffers = {name: packing.Buffer() for name in kinds}
        self._publishers = {name: self._publisher(kind, name, qos) for name, kind in kinds.items()}
        latched = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        self._labels = self._publisher(String, "labels", latched)
        self._label_info = None
        if detections.AVAILABLE:
            self._label_info = self._publisher(detections.LabelInfo, "label_info", latched)

    def wanted(self) -> frozenset[str]:
        """Names of the per-frame topics that have subscribers."""
        return frozenset(name for name, publisher in self._publishers.items() if publisher.get_subscription_count())

    def pack(self, frame: Frame, wanted: frozenset[str]) -> dict[str, Any]:
        """Messages of the ``wanted`` topics (see ``pack``), in memory that the next call reuses."""
        return pack(frame, wanted, self._buffers)

    def publish(self, messages: dict[str, Any], header: Header) -> None:
        """Publish the messages of ``pack`` for a frame whose image has this header."""
        self._view.show(header)
        for name, message in messages.items():
            self._publishers[name].publish(message)

    def publish_labels(self, labels: LabelSet, score_threshold: float) -> None:
        """Publish the latched class table."""
        self._labels.publish(String(data=packing.labels_json(labels, score_threshold)))
        if self._label_info is not None:
            header = Header(stamp=self._node.get_clock().now().to_msg())
            self._label_info.publish(detections.label_info(header, labels, score_threshold))

    def destroy(self) -> None:
        """Destroy all publishers and free their memory."""
        others = [self._labels] if self._label_info is None else [self._labels, self._label_info]
        for publisher in (*self._publishers.values(), *others):
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers, self._buffers = {}, {}
        self._view.destroy()

    def _publisher(self, kind: type, name: str, qos: QoSProfile) -> Any:
        overrides = QoSOverridingOptions.with_default_policies()
        return self._node.create_lifecycle_publisher(kind, f"~/{name}", qos, qos_overriding_options=overrides)


def topics(calibrated: bool = True, uncertainty: bool = False) -> dict[str, type]:
    """Message types of the topics on which a frame is published, by topic.

    ``calibrated``: whether the camera is. ``uncertainty``: whether the model estimates that of its depth.
    ``detections`` needs vision_msgs, ``objects`` autoware_perception_msgs; without these packages the topics are left
    out.
    """
    left_out = _left_out(calibrated, uncertainty)
    return {name: kind for name, (kind, _) in _packers().items() if name not in left_out}


def pack(frame: Frame, wanted: Iterable[str], buffers: Mapping[str, packing.Buffer]) -> dict[str, Any]:
    """Messages of the ``wanted`` topics by name, without those that ``topics`` does not have for the frame's camera.

    Parameters
    ----------
    frame : computes on demand what the topics need, and keeps it for those that share it.
    wanted : names of topics.
    buffers : memory of each topic, which its message then holds.
    """
    packers, left_out = _packers(), _left_out(frame.metric, frame.scene.depth_std is not None)
    names = [name for name in wanted if name not in left_out]
    whole = "points" in names and not frame.config.organized
    with torch.inference_mode():
        frame = replace(frame.scaled(), things_only=not whole)
        return {name: packers[name][1](frame, buffers[name]) for name in names}


def _left_out(calibrated: bool, uncertainty: bool) -> tuple[str, ...]:
    return (RELATIVE if calibrated else METRIC) + (() if uncertainty else UNCERTAIN)


def _image(values: Callable[[Scene], Tensor], encoding: str) -> Callable[[Frame, packing.Buffer], Image]:
    return lambda frame, buffer: packing.image_message(frame.header, values(frame.scene), encoding, buffer)


def _depth(frame: Frame, buffer: packing.Buffer) -> Image:
    values = packing.depth(frame.scene, frame.labels, frame.config.max_depth, frame.camera)
    if frame.config.depth_encoding == "16UC1":
        values = packing.millimetres(values)
    return packing.image_message(frame.header, values, frame.config.depth_encoding, buffer)


def _uncertainty(frame: Frame, buffer: packing.Buffer) -> Image:
    values = packing.uncertainty(frame.scene, frame.labels, frame.config.max_depth, frame.camera)
    return packing.image_message(frame.header, values, "32FC1", buffer)


def _relative_depth(frame: Frame, buffer: packing.Buffer) -> Image:
    values = packing.depth(frame.scene, frame.labels, math.inf)  # max_depth is in metres, relative depth is not
    return packing.image_message(frame.header, values, "32FC1", buffer)


def _camera_info(frame: Frame, buffer: packing.Buffer) -> CameraInfo:
    # a copy: the node's input may hold the message and use it for other frames
    info = info_of(frame.camera) if frame.info is None else copy.copy(frame.info)
    info.header = frame.header
    return info


def _points(frame: Frame, buffer: packing.Buffer) -> PointCloud2:
    if not frame.config.organized:
        return _cloud(frame, frame.dense, buffer)
    return _cloud(frame, frame.organized, buffer, frame.size)


def _obstacles(frame: Frame, buffer: packing.Buffer) -> PointCloud2:
    return _cloud(frame, frame.obstacles, buffer)


def _ground(frame: Frame, buffer: packing.Buffer) -> PointCloud2:
    return _cloud(frame, frame.ground, buffer)


def _instances(frame: Frame, buffer: packing.Buffer) -> PointCloud2:
    return _cloud(frame, frame.instances[0], buffer)


def _cloud(
    frame: Frame, cloud: SegmentCloud, buffer: packing.Buffer, shape: tuple[int, int] | None = None
) -> PointCloud2:
    return packing.cloud_message(frame.placed_header, frame.placed(cloud), buffer, shape)


def _markers(frame: Frame, buffer: packing.Buffer) -> MarkerArray:
    message = packing.marker_array(frame.placed_header, frame.instances[1], frame.labels, frame.scene.things)
    return message if frame.placement is None else frame.placement.markers(message)


def _detections(frame: Frame, buffer: packing.Buffer) -> Any:
    message = detections.detection_array(frame.placed_header, frame.instances[1], frame.labels)
    return message if frame.placement is None else frame.placement.detections(message)


def _objects(frame: Frame, buffer: packing.Buffer) -> Any:
    message = objects.tracked_objects(frame.placed_header, frame.scene.things, frame.instances[1], frame.labels)
    return message if frame.placement is None else frame.placement.objects(message)


def _overlay(frame: Frame, buffer: packing.Buffer) -> Image:
    return packing.image_message(frame.header, overlay(frame.picture, frame.scene, frame.labels), "rgb8", buffer)


_Packer = Callable[[Frame, packing.Buffer], Any]
_PACKERS: dict[str, tuple[type, _Packer]] = {
    "panoptic": (Image, _image(packing.panoptic, "32SC1")),
    "semantic": (Image, _image(packing.semantic, "mono8")),
    "instance": (Image, _image(packing.instance, "16UC1")),
    "confidence": (Image, _image(packing.confidence, "mono8")),
    "depth": (Image, _depth),
    "depth/camera_info": (CameraInfo, _camera_info),
    "camera_info": (CameraInfo, _camera_info),  # beside depth, where RViz and image_transport look for it
    "depth/relative": (Image, _relative_depth),
    "depth/uncertainty": (Image, _uncertainty),
    "points": (PointCloud2, _points),
    "obstacles": (PointCloud2, _obstacles),
    "ground": (PointCloud2, _ground),
    "instances": (PointCloud2, _instances),
    "markers": (MarkerArray, _markers),
    "overlay": (Image, _overlay),
}


def _packers() -> dict[str, tuple[type, _Packer]]:
    packers = dict(_PACKERS)
    if detections.AVAILABLE:
        packers["detections"] = (detections.Detection3DArray, _detections)
    if objects.AVAILABLE:
        packers["objects"] = (objects.TrackedObjects, _objects)
    return packers

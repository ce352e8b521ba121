"""Publishers of the perception node; nothing is computed or copied for a topic that nobody reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header, String
from torch import Tensor
from visualization_msgs.msg import MarkerArray

from dvps_ros.config import PerceptionConfig
from dvps_ros.labels import LabelSet
from dvps_ros.nodes import detections, packing
from dvps_ros.nodes.messages import info_of
from dvps_ros.scene.render import overlay
from dvps_ros.scene.unproject import InstanceBox, instances, obstacles, organized_cloud, scene_cloud
from dvps_ros.structures import Intrinsics, Scene, SegmentCloud

#: Per-frame topics that need depth in metres.
METRIC = ("depth", "depth/camera_info", "points", "obstacles", "instances", "markers", "detections")


@dataclass(frozen=True)
class Frame:
    """One frame's result, to be published.

    Attributes
    ----------
    header : the input image's.
    image : (H, W, 3) uint8 RGB, as it came in.
    scene : labels and depth, at the image's size or scaled.
    intrinsics : the camera at the scene's size, None when unknown.
    info : the camera_info that came with the image, if any.
    labels, config : class table, and the node's parameters at this frame.
    things_only : whether ``dense`` holds things alone, because nobody reads the rest.
    """

    header: Header
    image: np.ndarray
    scene: Scene
    intrinsics: Intrinsics | None
    info: CameraInfo | None
    labels: LabelSet
    config: PerceptionConfig
    things_only: bool = False

    @property
    def metric(self) -> bool:
        """True when there is depth in metres."""
        return self.intrinsics is not None and self.scene.metric

    def scaled(self) -> Frame:
        """The frame with its scene at ``config.output_scale``: labels and depth by nearest neighbour."""
        factor = self.config.output_scale
        height, width = (max(1, round(side * factor)) for side in self.scene.panoptic.shape)
        if (height, width) == tuple(self.scene.panoptic.shape):
            return self
        maps = (_nearest(values, height, width) for values in _maps(self.scene))
        scene = Scene(*maps, segments=self.scene.segments, metric=self.scene.metric)
        camera = None if self.intrinsics is None else self.intrinsics.resized(width, height)
        return Frame(self.header, self.image, scene, camera, None, self.labels, self.config)

    @cached_property
    def picture(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB, the image at the scene's size, by area."""
        height, width = self.scene.panoptic.shape
        if self.image.shape[:2] == (height, width):
            return self.image
        return cv2.resize(self.image, (width, height), interpolation=cv2.INTER_AREA)

    @cached_property
    def organized(self) -> SegmentCloud:
        """One point per pixel, NaN where there is none."""
        return organized_cloud(self.scene, self.picture, self.intrinsics, self.labels, **self._limits)

    @cached_property
    def dense(self) -> SegmentCloud:
        """Valid points only."""
        selection = {"stride": self.config.points_stride, "things_only": self.things_only, **self._limits}
        return scene_cloud(self.scene, self.picture, self.intrinsics, self.labels, **selection)

    @cached_property
    def instances(self) -> tuple[SegmentCloud, tuple[InstanceBox, ...]]:
        """Points of things grouped by instance, and their boxes."""
        return instances(self.dense, self.config.box_percentile, self.config.instance_gap)

    @property
    def _limits(self) -> dict[str, float]:
        edges = self.config.edge_threshold or math.inf
        return {"max_depth": self.config.max_depth, "edge_threshold": edges}


class Outputs:
    """All topics of the perception node below its own name.

    Parameters
    ----------
    node : has the publishers; they send only while it is active.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        self._buffers = {name: packing.Buffer() for name in topics()}
        self._publishers = {name: self._publisher(kind, name, qos) for name, kind in topics().items()}
        latched = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        self._labels = self._publisher(String, "labels", latched)
        self._label_info = None
        if detections.AVAILABLE:
            self._label_info = self._publisher(detections.LabelInfo, "label_info", latched)

    def wanted(self) -> frozenset[str]:
        """Names of the per-frame topics that somebody reads."""
        return frozenset(name for name, publisher in self._publishers.items() if publisher.get_subscription_count())

    def pack(self, frame: Frame, wanted: frozenset[str]) -> dict[str, Any]:
        """What ``pack`` makes of the ``wanted`` topics, in memory that the next call reuses: publish it before."""
        return pack(frame, wanted, self._buffers)

    def publish(self, messages: dict[str, Any]) -> None:
        """Send what ``pack`` made."""
        for name, message in messages.items():
            self._publishers[name].publish(message)

    def publish_labels(self, labels: LabelSet, score_threshold: float) -> None:
        """Send the latched meaning of the numbers."""
        self._labels.publish(String(data=packing.labels_json(labels, score_threshold)))
        if self._label_info is not None:
            header = Header(stamp=self._node.get_clock().now().to_msg())
            self._label_info.publish(detections.label_info(header, labels, score_threshold))

    def destroy(self) -> None:
        """Take back all publishers and their memory."""
        others = [self._labels] if self._label_info is None else [self._labels, self._label_info]
        for publisher in (*self._publishers.values(), *others):
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers, self._buffers = {}, {}

    def _publisher(self, kind: type, name: str, qos: QoSProfile) -> Any:
        overrides = QoSOverridingOptions.with_default_policies()
        return self._node.create_lifecycle_publisher(kind, f"~/{name}", qos, qos_overriding_options=overrides)


def topics() -> dict[str, type]:
    """Message type of every per-frame topic; ``detections`` only where vision_msgs is installed."""
    return {name: kind for name, (kind, _) in _packers().items()}


def pack(frame: Frame, wanted: Iterable[str], buffers: Mapping[str, packing.Buffer]) -> dict[str, Any]:
    """Messages of the ``wanted`` topics, by name; those in metres are left out when the camera is unknown.

    Parameters
    ----------
    frame : what is computed for a topic is kept in it for the others, and nothing is computed that none of them needs.
    wanted : names of topics.
    buffers : memory of each topic, which its message then holds.
    """
    packers = _packers()
    names = [name for name in wanted if frame.metric or name not in METRIC]
    whole = "obstacles" in names or ("points" in names and not frame.config.organized)
    with torch.inference_mode():
        frame = replace(frame.scaled(), things_only=not whole)
        return {name: packers[name][1](frame, buffers[name]) for name in names}


def _image(values: Callable[[Scene], Tensor], encoding: str) -> Callable[[Frame, packing.Buffer], Image]:
    return lambda frame, buffer: packing.image_message(frame.header, values(frame.scene), encoding, buffer)


def _depth(frame: Frame, buffer: packing.Buffer) -> Image:
    values = packing.depth(frame.scene, frame.labels, frame.config.max_depth)
    if frame.config.depth_encoding == "16UC1":
        values = packing.millimetres(values)
    return packing.image_message(frame.header, values, frame.config.depth_encoding, buffer)


def _camera_info(frame: Frame, buffer: packing.Buffer) -> CameraInfo:
    info = frame.info or info_of(frame.intrinsics)
    info.header = frame.header
    return info


def _points(frame: Frame, buffer: packing.Buffer) -> PointCloud2:
    if not frame.config.organized:
        return packing.cloud_message(frame.header, frame.dense, buffer)
    return packing.cloud_message(frame.header, frame.organized, buffer, tuple(frame.scene.panoptic.shape))


def _obstacles(frame: Frame, buffer: packing.Buffer) -> PointCloud2:
    thinned = obstacles(frame.dense, frame.labels, frame.config.voxel_size)
    return packing.cloud_message(frame.header, thinned, buffer)


def _instances(frame: Frame, buffer: packing.Buffer) -> PointCloud2:
    return packing.cloud_message(frame.header, frame.instances[0], buffer)


def _markers(frame: Frame, buffer: packing.Buffer) -> MarkerArray:
    return packing.marker_array(frame.header, frame.instances[1], frame.labels)


def _detections(frame: Frame, buffer: packing.Buffer) -> Any:
    return detections.detection_array(frame.header, frame.instances[1], frame.labels)


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
    "points": (PointCloud2, _points),
    "obstacles": (PointCloud2, _obstacles),
    "instances": (PointCloud2, _instances),
    "markers": (MarkerArray, _markers),
    "overlay": (Image, _overlay),
}


def _packers() -> dict[str, tuple[type, _Packer]]:
    if not detections.AVAILABLE:
        return _PACKERS
    return {**_PACKERS, "detections": (detections.Detection3DArray, _detections)}


def _maps(scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    return scene.panoptic, scene.depth, scene.confidence


def _nearest(values: Tensor, height: int, width: int) -> Tensor:
    rows, columns = (
        ((torch.arange(new, device=values.device) + 0.5) * (old / new)).long().clamp(max=old - 1)
        for new, old in zip((height, width), values.shape, strict=True)
    )
    return values[rows[:, None], columns]

"""A perceived frame on its way to the topics: what several of them share is computed once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header
from torch import Tensor

from dvps_ros.config import PerceptionConfig
from dvps_ros.labels import LabelSet
from dvps_ros.nodes.placement import Placement
from dvps_ros.scene.boxes import InstanceBox, instances
from dvps_ros.scene.clouds import ground_cloud, obstacle_cloud, organized_cloud, scene_cloud, valid_pixels
from dvps_ros.scene.resampling import Nearest
from dvps_ros.structures import Intrinsics, Scene, SegmentCloud


@dataclass(frozen=True)
class Frame:
    """The result of one frame, to be published.

    Attributes
    ----------
    header : the input image's.
    image : (H, W, 3) uint8 RGB, as it came in.
    scene : labels and depth, at the image's size or scaled.
    intrinsics : the camera at the scene's size, None when unknown.
    info : the camera_info that came with the image, if any.
    labels, config : class table, and the node's parameters at this frame.
    placement : the frame of clouds, boxes and objects; None: the camera's.
    things_only : whether ``dense`` holds things alone, because no topic needs the rest.
    """

    header: Header
    image: np.ndarray
    scene: Scene
    intrinsics: Intrinsics | None
    info: CameraInfo | None
    labels: LabelSet
    config: PerceptionConfig
    placement: Placement | None = None
    things_only: bool = False

    @property
    def camera(self) -> Intrinsics:
        """The calibrated camera, without which nothing in metres is published."""
        assert self.intrinsics is not None, "callers check metric first"
        return self.intrinsics

    @property
    def metric(self) -> bool:
        """True when there is depth in metres."""
        return self.intrinsics is not None and self.scene.metric

    @property
    def placed_header(self) -> Header:
        """The header of clouds, boxes and objects."""
        return self.header if self.placement is None else self.placement.header(self.header)

    def placed(self, cloud: SegmentCloud) -> SegmentCloud:
        """``cloud`` in the frame of ``placed_header``."""
        return cloud if self.placement is None else self.placement.cloud(cloud)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the scene's maps."""
        height, width = self.scene.panoptic.shape
        return height, width

    def scaled(self) -> Frame:
        """The frame with its scene at ``config.output_scale``: labels and depth by nearest neighbour."""
        height, width = (max(1, round(side * self.config.output_scale)) for side in self.size)
        if (height, width) == self.size:
            return self
        scene = self.scene.mapped(Nearest.of(self.size, (height, width), self.size, self.scene.panoptic.device))
        camera = None if self.intrinsics is None else self.intrinsics.resized(width, height)
        return replace(self, scene=scene, intrinsics=camera, info=None)

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
        return organized_cloud(self.scene, self.picture, self.camera, self.labels, valid=self.valid)

    @cached_property
    def dense(self) -> SegmentCloud:
        """Valid points only."""
        return scene_cloud(
            *(self.scene, self.picture, self.camera, self.labels),
            stride=self.config.points_stride,
            things_only=self.things_only,
            valid=self.valid,
        )

    @cached_property
    def obstacles(self) -> SegmentCloud:
        """Points that a planner must stay clear of, one in each voxel; none whose depth is too uncertain."""
        return self._thinned(obstacle_cloud)

    @cached_property
    def ground(self) -> SegmentCloud:
        """Points of drivable ground and pavement, one in each voxel; none whose depth is too uncertain."""
        return self._thinned(ground_cloud)

    def _thinned(self, make: Callable[..., SegmentCloud]) -> SegmentCloud:
        return make(
            *(self.scene, self.picture, self.camera, self.labels, self.config.voxel_size),
            stride=self.config.points_stride,
            max_std=self.config.max_uncertainty or math.inf,
            valid=self.valid,
        )

    @cached_property
    def instances(self) -> tuple[SegmentCloud, tuple[InstanceBox, ...]]:
        """Points of things grouped by instance, and their boxes."""
        return instances(self.dense, self.config.box_percentile, self.config.instance_gap)

    @cached_property
    def valid(self) -> Tensor:
        """(H, W) bool: the pixels that are points."""
        limits = {"max_depth": self.config.max_depth, "edge_threshold": self.config.edge_threshold or math.inf}
        return valid_pixels(self.scene, self.camera, self.labels, **limits)

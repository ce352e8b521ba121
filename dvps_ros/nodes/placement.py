"""Clouds, boxes and objects in another frame than the camera's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from geometry_msgs.msg import Point, Pose, Quaternion
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from dvps_ros.structures import SegmentCloud


@dataclass(frozen=True)
class Placement:
    """Where the camera is in the frame ``frame_id`` at the time of an image.

    Attributes
    ----------
    frame_id : name of the frame.
    matrix : (4, 4) float64 from the camera's optical frame to it, metres.
    """

    frame_id: str
    matrix: np.ndarray

    def header(self, header: Header) -> Header:
        """The header of what is placed, with the stamp of the image's ``header``."""
        return Header(stamp=header.stamp, frame_id=self.frame_id)

    def cloud(self, cloud: SegmentCloud) -> SegmentCloud:
        """``cloud`` with its points (N, 3) in the frame; NaN stays NaN."""
        matrix = torch.from_numpy(self.matrix).to(cloud.xyz)
        return replace(cloud, xyz=torch.addmm(matrix[:3, 3], cloud.xyz, matrix[:3, :3].T))

    def markers(self, message: MarkerArray) -> MarkerArray:
        """The markers, moved in place; an arrow's points are relative to its pose."""
        for marker in message.markers:
            marker.pose = self._moved(marker.pose)
        return message

    def detections(self, message: Any) -> Any:
        """A vision_msgs/Detection3DArray, moved in place: its boxes keep their sizes and turn with the camera."""
        for detection in message.detections:
            detection.bbox.center = self._moved(detection.bbox.center)
            for result in detection.results:
                result.pose.pose = detection.bbox.center
        return message

    def objects(self, message: Any) -> Any:
        """An autoware_perception_msgs/TrackedObjects, moved in place; twists are along the objects' own axes."""
        rotation = self.matrix[:3, :3]
        for one in message.objects:
            place = one.kinematics.pose_with_covariance
            place.pose = self._moved(place.pose)
            covariance = np.array(place.covariance).reshape(6, 6)  # the angles' part is alike in all directions
            covariance[:3, :3] = rotation @ covariance[:3, :3] @ rotation.T
            place.covariance = covariance.reshape(-1)
        return message

    def _moved(self, pose: Pose) -> Pose:
        """The pose in the frame."""
        at, turn = pose.position, pose.orientation
        position = self.matrix[:3, :3] @ (at.x, at.y, at.z) + self.matrix[:3, 3]
        turned = Rotation.from_matrix(self.matrix[:3, :3]) * Rotation.from_quat((turn.x, turn.y, turn.z, turn.w))
        return Pose(
            position=Point(**dict(zip("xyz", position.tolist(), strict=True))),
            orientation=Quaternion(**dict(zip("xyzw", turned.as_quat().tolist(), strict=True))),
        )

"""Pose of the camera in a fixed frame, accumulated from its motion between frames."""

from __future__ import annotations

import numpy as np

from dvps_ros.config import TrackConfig
from dvps_ros.labels import LabelSet
from dvps_ros.scene.ego_motion import EgoMotion, exponential, implausible, logarithm
from dvps_ros.scene.view import View
from dvps_ros.structures import CameraMotion

#: Seconds for which the camera is assumed to keep its velocity while its motion is unknown.
_COASTING = 3.0


class CameraPose:
    """Accumulates the camera's motion, which is estimated from the image or given.

    Attributes
    ----------
    pose : (4, 4) from the camera's optical frame to the fixed frame, which is the optical frame of the first image.
    motion : the last motion.
    """

    def __init__(self, labels: LabelSet, config: TrackConfig) -> None:
        self.config = config
        self._ego = EgoMotion(labels, config)
        self.reset()

    def reset(self) -> None:
        """Start again with the next frame."""
        self.pose = np.eye(4)
        self.motion = CameraMotion(problem="no frame before")
        self._given: np.ndarray | None = None
        self._known: float | None = None  # time at which the motion was last known
        self._now = 0.0
        self._rate = np.zeros(6)  # per second
        self._ego.reset()

    @property
    def relative(self) -> bool:
        """Whether the camera's motion is unknown, so that velocities are relative to the camera."""
        return self._known is None or self._now - self._known > _COASTING

    def rescale(self, factor: float) -> None:
        """Multiply all distances by ``factor``; given poses are always in metres."""
        self.pose = self.pose.copy()
        self.pose[:3, 3] *= factor
        self._rate[3:] *= factor
        self._ego.rescale(factor)

    def update(self, now: float, seconds: float, view: View | None, pose: np.ndarray | None) -> bool:
        """Add the camera's motion in the ``seconds`` up to ``now``; returns False after a cut to another place.

        ``view`` is the image, for an estimate; ``pose`` (4, 4) from TF or odometry replaces it. Both may be None, and a
        pose may be missing in some frames.
        """
        motion = CameraMotion(seconds=seconds, problem="no picture")
        if pose is not None and not np.isfinite(pose).all():
            motion, pose = CameraMotion(seconds=seconds, problem="the pose is not finite"), None
            self._ego.reset()
        elif pose is not None:
            pose = np.asarray(pose, np.float64)
            motion = self._between_given(pose, seconds)
            self._ego.reset()  # its last view is no longer that of the previous frame
        elif view is not None and self.config.ego_motion:
            motion = self._ego.update(view, seconds)
            if motion.cut:
                self.reset()
                self.motion = motion
                self._ego.update(view, 0.0)
                return False
        self.motion = motion
        step = np.eye(4)
        if motion.matrix is not None:
            step, self._known = motion.matrix, now
            if seconds > 0:
                self._rate = logarithm(step) / seconds
        elif self._known is not None and now - self._known <= _COASTING:
            step = exponential(self._rate * seconds)
        self.pose = self.pose @ np.linalg.inv(step)
        if pose is not None:
            self._given = pose
        elif self._given is not None:  # so that the next given pose does not repeat this step
            self._given = self._given @ np.linalg.inv(step)
        self._now = now
        return True

    def _between_given(self, pose: np.ndarray, seconds: float) -> CameraMotion:
        """The motion from the last given pose, advanced by the steps since, to ``pose``."""
        if self._given is None:
            return CameraMotion(seconds=seconds, problem="no frame before")
        matrix = np.linalg.inv(pose) @ self._given
        problem = implausible(matrix, seconds, self.config)
        return CameraMotion(None if problem else matrix, seconds, 1.0, "" if problem else "given", problem)

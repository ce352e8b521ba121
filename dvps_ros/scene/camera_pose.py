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
#: Times that differ by less than this many seconds are those of one frame.
_SAME_TIME = 1e-6
#: Problem of the first frame.
_FIRST = "no frame before"


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
        self.motion = CameraMotion(problem=_FIRST)
        self._given: tuple[float, np.ndarray] | None = None  # the last given pose and its time
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

        ``pose`` (4, 4) comes from TF or odometry, ``view`` is the image, from which the motion is estimated where poses
        do not give it: if this frame or the last one has none, or if they are far apart. Both may be None.

        After frames without a pose only the motion since the last frame is added, not what was wrong about the motions
        that were assumed meanwhile: tracks have positions relative to those.
        """
        motion = CameraMotion(seconds=seconds, problem="no picture")
        if pose is not None and not np.isfinite(pose).all():
            motion, pose = CameraMotion(seconds=seconds, problem="the pose is not finite"), None
        if pose is not None:
            pose = np.asarray(pose, np.float64)
            motion = self._between_given(pose, now, seconds)
        if not self.config.ego_motion:
            view = None
        if self._every_frame_given(now - seconds) and motion.matrix is not None:
            self._ego.follow(view, motion)
        elif view is None:
            self._ego.reset()
        else:
            seen = self._ego.update(view, seconds)
            if seen.cut and motion.matrix is None:
                self.reset()
                self.motion = seen
                self._ego.follow(view, CameraMotion())
                self._given = None if pose is None else (now, pose)
                return False
            if seen.matrix is not None or motion.problem in ("no picture", _FIRST):
                motion = seen
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
            self._given = now, pose
        self._now = now
        return True

    def _every_frame_given(self, before: float) -> bool:
        """Whether the last frame, at the time ``before``, had a pose."""
        return self._given is not None and before - self._given[0] <= _SAME_TIME

    def _between_given(self, pose: np.ndarray, now: float, seconds: float) -> CameraMotion:
        """The motion in the ``seconds`` up to ``now``, from the last given pose to ``pose``.

        If that is older than the last frame, the camera is assumed to have moved evenly since.
        """
        if self._given is None or now - self._given[0] > _COASTING:
            return CameraMotion(seconds=seconds, problem=_FIRST)
        matrix, elapsed = np.linalg.inv(pose) @ self._given[1], max(now - self._given[0], seconds)
        problem = implausible(matrix, elapsed, self.config)
        if problem:
            return CameraMotion(None, seconds, 1.0, "", problem)
        if elapsed > seconds + _SAME_TIME:
            matrix = exponential(logarithm(matrix) * (seconds / elapsed))
        return CameraMotion(matrix, seconds, 1.0, "given")

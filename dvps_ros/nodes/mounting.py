"""Where the camera is: its height above the ground and its up direction, and its pose in a frame that does not move."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rclpy.node import Node

from dvps_ros.config import PerceptionConfig
from dvps_ros.nodes.placement import Placement
from dvps_ros.nodes.transforms import Transforms
from dvps_ros.scene.ground import Direction

#: Seconds for which a transform counts after look-ups of it have begun to fail.
_HELD = 10.0
#: Stamps that are earlier than the last one by more than this many nanoseconds jump back, as where a recording loops.
_BACK = 1_000_000_000


@dataclass(frozen=True)
class Mount:
    """What is known of a camera.

    Attributes
    ----------
    height : metres above the ground; 0 where unknown.
    up : the up direction in its optical frame; None where unknown.
    problem : why height or up direction is unknown although parameters ask for it; else empty.
    """

    height: float = 0.0
    up: Direction | None = None
    problem: str = ""


class Mounting:
    """Gives the mount of a camera by its frame, from the parameters ``camera_height`` and ``base_frame``.

    It also gives the pose of the camera in ``fixed_frame``, and in ``target_frame``.

    Parameters
    ----------
    node : listens to transforms, where one of the three frames is given.
    settings : gives the current parameters.

    Attributes
    ----------
    pose_problem : why the last ``pose`` is unknown although ``fixed_frame`` is given; else empty.
    placement_problem : the same of the last ``placement`` and ``target_frame``.
    """

    def __init__(self, node: Node, settings: Callable[[], PerceptionConfig]) -> None:
        self._settings = settings
        given = settings()
        wanted = given.base_frame or given.fixed_frame or given.target_frame
        self._transforms = Transforms(node) if wanted else None
        self.pose_problem = self.placement_problem = ""
        self._last: tuple[str, str, np.ndarray, float] | None = None  # frames, transform and time of the last look-up
        self._stamp = 0  # of the last frame

    def begin(self, stamp: int) -> None:
        """Begin a frame with this ``stamp`` (nanoseconds; 0: none): after a jump back old transforms are forgotten."""
        if 0 < stamp < self._stamp - _BACK and self._transforms is not None:
            self._transforms.forget()
            self._last = None
        self._stamp = stamp or self._stamp

    def of(self, frame_id: str) -> Mount:
        """The mount of the camera whose images have this ``frame_id``; a transform is looked up anew each time.

        Where it is missing, the last one counts for ``_HELD`` seconds, and ``problem`` says so.
        """
        given = self._settings()
        if self._transforms is None or not given.base_frame:
            return Mount(given.camera_height)
        pose, now, problem = self._transforms.latest(given.base_frame, frame_id), time.monotonic(), ""
        if pose is not None:
            self._last = (given.base_frame, frame_id, pose, now)
        else:
            problem = self._transforms.problem
            if self._last is None or self._last[:2] != (given.base_frame, frame_id) or now - self._last[3] > _HELD:
                return Mount(given.camera_height, problem=problem)
            pose = self._last[2]
        # the z axis of base_frame (REP 103) in the optical frame
        up = (float(pose[2, 0]), float(pose[2, 1]), float(pose[2, 2]))
        height = given.camera_height or float(pose[2, 3])
        if not 0 < height < math.inf:
            return Mount(0.0, up, f"{frame_id} lies {-height:.2f} m below the ground plane of {given.base_frame}")
        return Mount(height, up, problem)

    def pose(self, frame_id: str, stamp: int) -> np.ndarray | None:
        """(4, 4) from the camera's optical frame to ``fixed_frame`` at ``stamp`` (nanoseconds); None where unknown.

        It waits at most ``transform_timeout`` seconds.
        """
        frame = self._settings().fixed_frame
        if frame and not stamp:
            self.pose_problem = "the image has no stamp"
            return None
        pose, self.pose_problem = self._pose_in(frame, frame_id, stamp)
        return pose

    def placement(self, frame_id: str, stamp: int) -> Placement | None:
        """The camera's pose in ``target_frame`` at ``stamp`` (nanoseconds; 0: the newest); None where unknown.

        It waits at most ``transform_timeout`` seconds.
        """
        frame = self._settings().target_frame
        pose, self.placement_problem = self._pose_in(frame, frame_id, stamp)
        return None if pose is None else Placement(frame, pose)

    def _pose_in(self, frame: str, frame_id: str, stamp: int) -> tuple[np.ndarray | None, str]:
        """The camera's pose in ``frame`` at ``stamp``, and why it is unknown; neither where ``frame`` is empty."""
        if self._transforms is None or not frame:
            return None, ""
        pose = self._transforms.at(frame, frame_id, stamp, self._settings().transform_timeout)
        return pose, self._transforms.problem

    def destroy(self) -> None:
        """Stop listening to transforms."""
        if self._transforms is not None:
            self._transforms.destroy()

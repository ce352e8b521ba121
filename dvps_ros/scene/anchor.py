"""Scale over time: the factor on a network's depth that follows from the camera's known height above the ground."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from dvps_ros.config import GroundConfig
from dvps_ros.labels import LabelSet
from dvps_ros.scene.clock import FrameClock
from dvps_ros.scene.ground import Direction, GroundPlane, ground_plane
from dvps_ros.structures import Anchor, Intrinsics, Scene

#: A larger change of the logarithm of focal length or height between two frames means another camera.
_MAX_CAMERA_CHANGE = 0.02


class GroundAnchor:
    """Multiplies distances of scenes by a factor that is averaged over time.

    The ground of each frame gives one factor, which puts the camera at its height. If the up direction is unknown, the
    ground's tilt is fitted too, and a network that was trained with many cameras may tell the scale nearly as well as
    the ground: ``own_weight`` then takes a mean of both, and the camera stays a little off its height. The weight fades
    for large factors, which only errors of the network explain.

    The average over time is taken of the factors' logarithms: at first over all frames, so
    that the first frame counts fully, later over about ``memory`` seconds. From then on no frame, however wrong, moves
    the factor by more than ``max_step / memory`` per second. Without a valid ground plane the factor is held. After
    ``hold`` seconds it fades to 1, and the averaging time fades to 0.

    Parameters
    ----------
    labels : the class table; ``labels.ground`` are the ground classes.
    config : limits of valid planes, and the times.

    Attributes: ``clock`` has the frames' time.
    """

    def __init__(self, labels: LabelSet, config: GroundConfig | None = None) -> None:
        self.labels = labels
        self.config = config or GroundConfig()
        self.clock = FrameClock(self.config.period)
        self.reset()

    def reset(self) -> None:
        """Forget all frames: the next one counts fully."""
        self.clock.reset()
        self._forget()

    def _forget(self) -> None:
        """Forget the average, but not the time."""
        self._log_factor = 0.0
        self._age = 0.0  # averaging time of the factor, seconds
        self._last_ground: float | None = None  # time of the last valid ground plane
        self._camera: tuple[float, float, int, int] | None = None  # ln height, ln fx, width, height of the last frame

    def update(
        self,
        scene: Scene,
        intrinsics: Intrinsics | None,
        height: float,
        up: Direction | None = None,
        stamp: float | None = None,
    ) -> Scene:
        """The next frame's scene with its distances multiplied by the averaged factor.

        Parameters
        ----------
        scene : labels, and metric depth of the network.
        intrinsics : the camera at the scene's size.
        height : height of the camera above the ground, metres.
        up : up direction in the optical frame; None if unknown.
        stamp : seconds; None: ``period`` after the last frame.

        A scene that is not metric is returned unchanged, with ``anchor.state`` "lost". The average starts again when
        the camera or its height changes abruptly, when stamps jump back, or after a gap of ``max_gap`` seconds.
        """
        if not scene.metric or intrinsics is None:
            return replace(scene, anchor=Anchor(state="lost", problem="the camera is not calibrated"))
        elapsed = self._advance(stamp, (math.log(height), math.log(intrinsics.fx), intrinsics.width, intrinsics.height))
        plane = self._within_bounds(ground_plane(scene, intrinsics, self.labels, self.config, up), height)
        if plane.problem:
            self._fade(elapsed)
        else:
            self._average(self._weighed(math.log(height / plane.height), up), elapsed)
        factor, state = math.exp(self._log_factor), self._state(plane)
        anchor = Anchor(factor, state, plane.problem, plane.share, plane.inliers, plane.tilt)
        return replace(scene.scaled(factor) if factor != 1 else scene, anchor=anchor)

    def _advance(self, stamp: float | None, camera: tuple[float, float, int, int]) -> float:
        """Advance to the time of a frame; returns the seconds since the last frame, 0 for the first one."""
        elapsed = self.clock.advance(stamp)
        if not (0 <= elapsed <= self.config.max_gap and self._is_same(camera)):
            self._forget()
            elapsed = 0.0
        self._camera = camera
        return elapsed

    def _is_same(self, camera: tuple[float, float, int, int]) -> bool:
        before = self._camera
        return (
            before is not None
            and camera[2:] == before[2:]
            and all(abs(a - b) <= _MAX_CAMERA_CHANGE for a, b in zip(camera[:2], before[:2], strict=True))
        )

    def _within_bounds(self, plane: GroundPlane, height: float) -> GroundPlane:
        """The plane, with a problem if its factor is out of bounds."""
        if plane.problem or self.config.min_factor <= height / plane.height <= self.config.max_factor:
            return plane
        return replace(plane, problem="the distance of the ground is out of bounds")

    def _average(self, log_factor: float, elapsed: float) -> None:
        """Average the factor of a frame with a valid ground plane."""
        config = self.config
        if self._last_ground is None:
            self._log_factor = log_factor
        elif elapsed > 0:
            self._age = min(self._age + elapsed, config.memory)
            limit = config.max_step * config.memory / self._age
            difference = min(limit, max(-limit, log_factor - self._log_factor))
            self._log_factor += difference * (1 - math.exp(-elapsed / self._age))
        self._last_ground = self.clock.now

    def _weighed(self, log_factor: float, up: Direction | None) -> float:
        """Logarithm of a frame's factor: that of its ground, or its mean with 0, the network's own scale."""
        weight = self.config.own_weight if up is None else 0.0
        return log_factor * (1 - weight / (1 + (log_factor / self.config.own_range) ** 2))

    def _fade(self, elapsed: float) -> None:
        """Hold the factor in a frame without a valid ground plane; after ``hold`` seconds fade it to 1."""
        if self._since_ground() > self.config.hold:
            remaining = math.exp(-elapsed / self.config.release)
            self._log_factor *= remaining
            self._age *= remaining

    def _since_ground(self) -> float:
        """Seconds since the last valid ground plane; NaN if there was none."""
        last, now = self._last_ground, self.clock.now
        return math.nan if last is None or now is None else now - last

    def _state(self, plane: GroundPlane) -> Literal["anchored", "held", "lost"]:
        if not plane.problem:
            return "anchored"
        return "held" if self._since_ground() <= self.config.hold else "lost"

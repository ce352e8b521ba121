"""Scale over time: the factor on a network's distances that puts the camera at its known height above the ground."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from dvps_ros.config import GroundConfig
from dvps_ros.labels import LabelSet
from dvps_ros.scene.ground import Direction, GroundPlane, ground_plane
from dvps_ros.structures import Anchor, Intrinsics, Scene

#: A camera whose focal length or height changes by more than this, in ln, from one frame to the next is another one.
_OTHER = 0.02


class GroundAnchor:
    """Multiplies distances of scenes by a factor that is averaged over time.

    Every frame's ground tells a factor of its own. In ln, they are averaged: over all time in the beginning, so that
    the first frame counts fully, later over about ``memory`` seconds; then no frame, however wrong, moves the factor by
    more than ``max_step / memory`` per second. Where no ground counts the factor is held, and after ``hold`` seconds it
    fades to 1 together with what it rests on.

    Parameters
    ----------
    labels : tells which classes are ground.
    config : which planes count, and the times.
    """

    def __init__(self, labels: LabelSet, config: GroundConfig | None = None) -> None:
        self.labels = labels
        self.config = config or GroundConfig()
        self.reset()

    def reset(self) -> None:
        """Forget all frames: the next one counts fully."""
        self._log_factor = 0.0
        self._age = 0.0  # seconds that the factor rests on
        self._counted: float | None = None  # when ground counted the last time
        self._now: float | None = None
        self._before: tuple[float, float, int, int] | None = None  # the camera of the last frame

    def update(
        self,
        scene: Scene,
        intrinsics: Intrinsics | None,
        height: float,
        up: Direction | None = None,
        stamp: float | None = None,
    ) -> Scene:
        """The next frame's scene with distances in true metres, as far as its ground tells.

        Parameters
        ----------
        scene : labels, and metric depth as the network gives it.
        intrinsics : the camera at the scene's size.
        height : metres of the camera above the ground.
        up : in the optical frame, where it is known.
        stamp : seconds; None: ``period`` after the last frame.

        A scene that is not metric comes back as it is. The anchoring starts anew when the camera or its height changes
        abruptly, when stamps jump back, or after a gap of ``max_gap`` seconds.
        """
        if not scene.metric or intrinsics is None:
            return replace(scene, anchor=Anchor(state="lost", problem="the camera is not calibrated"))
        elapsed = self._advance(stamp, (math.log(height), math.log(intrinsics.fx), intrinsics.width, intrinsics.height))
        plane = self._believed(ground_plane(scene, intrinsics, self.labels, self.config, up), height)
        if plane.problem:
            self._fade(elapsed)
        else:
            self._average(math.log(height / plane.height), elapsed)
        factor, state = math.exp(self._log_factor), self._state(plane)
        anchor = Anchor(factor, state, plane.problem, plane.share, plane.inliers, plane.tilt)
        return replace(scene.scaled(factor) if factor != 1 else scene, anchor=anchor)

    def _advance(self, stamp: float | None, camera: tuple[float, float, int, int]) -> float:
        """Go on to the time of a frame; seconds since the one before, 0 for the first after a start."""
        before, now = self._now, stamp
        if now is None:
            now = 0.0 if before is None else before + self.config.period
        if before is not None and not (0 <= now - before <= self.config.max_gap and self._is_same(camera)):
            self.reset()
            before = None
        self._now, self._before = now, camera
        return 0.0 if before is None else now - before

    def _is_same(self, camera: tuple[float, float, int, int]) -> bool:
        before = self._before
        return (
            before is not None
            and camera[2:] == before[2:]
            and all(abs(a - b) <= _OTHER for a, b in zip(camera[:2], before[:2], strict=True))
        )

    def _believed(self, plane: GroundPlane, height: float) -> GroundPlane:
        """The plane, with a problem where its factor would be out of bounds."""
        if plane.problem or self.config.min_factor <= height / plane.height <= self.config.max_factor:
            return plane
        return replace(plane, problem="the ground's distance is out of bounds")

    def _average(self, log_factor: float, elapsed: float) -> None:
        """Take in what a frame says."""
        config = self.config
        if self._counted is None:
            self._log_factor = log_factor
        elif elapsed > 0:
            self._age = min(self._age + elapsed, config.memory)
            limit = config.max_step * config.memory / self._age
            difference = min(limit, max(-limit, log_factor - self._log_factor))
            self._log_factor += difference * (1 - math.exp(-elapsed / self._age))
        self._counted = self._now

    def _fade(self, elapsed: float) -> None:
        """Take in that a frame says nothing."""
        if self._since_counted() > self.config.hold:
            left = math.exp(-elapsed / self.config.release)
            self._log_factor *= left
            self._age *= left

    def _since_counted(self) -> float:
        """Seconds since ground counted the last time; NaN where it never did."""
        return math.nan if self._counted is None or self._now is None else self._now - self._counted

    def _state(self, plane: GroundPlane) -> Literal["anchored", "held", "lost"]:
        if not plane.problem:
            return "anchored"
        return "held" if self._since_counted() <= self.config.hold else "lost"

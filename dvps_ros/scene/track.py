"""Stable instance numbers: things are tracked in 3D, in a fixed frame.

Each track has a constant-velocity Kalman filter. Things and tracks are matched by an optimal assignment (Kuhn 1955) of
masks, positions, classes and query embeddings. Time comes from the frames' stamps.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from dvps_ros.config import TrackConfig
from dvps_ros.labels import DIVISOR, VOID, LabelSet
from dvps_ros.scene import kalman
from dvps_ros.scene.association import affinity
from dvps_ros.scene.camera_pose import CameraPose
from dvps_ros.scene.clock import FrameClock
from dvps_ros.scene.indexing import look_up
from dvps_ros.scene.things import Thing, grid_camera, split, things_of
from dvps_ros.scene.tracks import Track, forecast, seen_shares
from dvps_ros.scene.view import View, in_view
from dvps_ros.structures import Intrinsics, Scene, TrackedThing

#: A thing with less than this share of its remembered pixels is partly hidden.
_PART = 0.7
#: Share of a thing at the image border that may be outside the image.
_OUTSIDE = 0.3
#: Factor for tracks that were not seen in the last frame, and further factor for those not seen for ``keep`` seconds.
_UNSEEN, _LOST = 0.5, 0.5
#: Largest number of tracks: it bounds the cost of a frame, and numbers do not run out. The latest ones are kept.
_MAX_TRACKS = 400
#: Every panoptic value.
_IDS = torch.arange(VOID + 1, dtype=torch.int32)
#: Without an estimate of the camera's motion, this many matches give it, if they moved by more than these metres.
_MIN_MATCHES, _MOVED = 3, 0.3


class Tracker:
    """Gives every thing a number 1..999 that it keeps while it is visible, and for some seconds while it is not.

    Numbers are unique among all things of a frame, whatever their class, so that a thing keeps its number when the
    network changes its class. Numbers of lost things are reused as late as possible. After stamps that jump back, a gap
    of ``config.max_gap`` seconds or a cut, tracking starts again with unused numbers. ``clock`` has the frames' time.
    """

    def __init__(self, labels: LabelSet, config: TrackConfig | None = None) -> None:
        self.labels = labels
        self.config = config or TrackConfig()
        self._camera = CameraPose(labels, self.config)
        self.clock = FrameClock(self.config.period)
        self.reset()

    def reset(self) -> None:
        """Forget all things; numbers of the next frame start at 1."""
        self._last_number = 0
        self.clock.reset()
        self._size: tuple[int, int] | None = None
        self._metric: bool | None = None
        self._scale = 1.0  # scale factor of the last frame
        self._forget()

    def _forget(self) -> None:
        """Forget all things and the camera's motion, but not the last number."""
        self._forget_things()
        self._camera.reset()

    def _forget_things(self) -> None:
        self._tracks: list[Track] = []

    def _forget_velocities(self) -> None:
        """Forget how fast things are: velocities over the ground and relative to the camera do not compare."""
        rotation = self._camera.pose[:3, :3]
        for track in self._tracks:
            mean, covariance = kalman.initialized(track.mean[None, :3], track.covariance[None, :3, :3], rotation)
            track.mean, track.covariance = mean[0], covariance[0]

    def update(
        self,
        scene: Scene,
        camera: Intrinsics | None = None,
        stamp: float | None = None,
        view: View | None = None,
        pose: np.ndarray | None = None,
    ) -> Scene:
        """The next frame's scene with stable instance numbers in its label map and segments; depth does not change.

        Parameters
        ----------
        scene : labels, depth, and optionally embeddings.
        camera : the camera at the scene's size; None: positions are relative.
        stamp : seconds; None: ``config.period`` after the last frame.
        view : the image, for the estimate of the camera's motion; None: the motion is not estimated.
        pose : (4, 4) from the optical frame to a fixed one, from TF or odometry; it replaces the estimate.
        """
        size = (scene.panoptic.shape[0], scene.panoptic.shape[1])
        if size != self._size or scene.metric != self._metric:
            # another camera, resolution or unit of length: positions do not compare
            self._forget()
            self._size, self._metric = size, scene.metric
        seconds = self._advance(stamp)
        self._rescale(scene.scale_factor)
        was_relative = self._camera.relative
        if not self._camera.update(self._time, seconds, view, pose):
            self._forget_things()
        elif self._camera.relative != was_relative:
            self._forget_velocities()
        grid = grid_camera(size, camera)
        segments = [s for s in scene.segments if self.labels.is_thing[s.class_id]]
        things = things_of(scene, segments, grid)
        places, widths = _places(things, grid)
        self._predict(seconds)
        numbers = self._numbers(things, places, widths, grid, seconds)
        self._update_tracks(things, numbers, places, widths, grid)
        scene = replace(scene, motion=self._camera.motion)
        scene = renumbered(scene, {s.id: n for s, n in zip(segments, numbers, strict=True)})
        return replace(scene, things=self._known_things(scene)) if scene.metric else scene

    def _advance(self, stamp: float | None) -> float:
        """Advance to the time of a frame; returns the seconds since the last frame, 0 for the first one."""
        seconds = self.clock.advance(stamp)
        if 0 <= seconds <= self.config.max_gap:
            return seconds
        self._forget()
        return 0.0

    @property
    def _time(self) -> float:
        """Time of the current frame, seconds."""
        assert self.clock.now is not None, "update comes first"
        return self.clock.now

    def _rescale(self, factor: float) -> None:
        """Convert all tracks to the scale of this frame, so that a change of scale is not taken for motion."""
        ratio, self._scale = factor / self._scale, factor
        if ratio != 1:
            self._camera.rescale(ratio)
            for track in self._tracks:
                track.rescale(ratio)

    def _predict(self, seconds: float) -> None:
        """Drop tracks that were not seen for too long, and predict the others."""
        longest = max(self.config.keep, self.config.reidentify)
        limits = [longest if t.hits >= self.config.min_hits else self.config.keep for t in self._tracks]
        before = self._time - seconds - 1e-6
        kept = [t for t, limit in zip(self._tracks, limits, strict=True) if before - t.seen <= limit]
        if len(kept) > _MAX_TRACKS:
            kept = sorted(kept, key=lambda t: (t.seen, t.hits), reverse=True)[:_MAX_TRACKS]
        self._tracks = kept
        if kept and seconds > 0:
            mean, covariance = kalman.predicted(
                np.stack([t.mean for t in kept]),
                np.stack([t.covariance for t in kept]),
                seconds,
                self.config.acceleration,
            )
            for track, m, c in zip(kept, mean, covariance, strict=True):
                track.mean, track.covariance = m, c

    def _numbers(
        self, things: list[Thing], places: np.ndarray, widths: np.ndarray, grid: Intrinsics, seconds: float
    ) -> list[int]:
        """The number of each thing: that of its track, or a new one."""
        matches = self._matches(things, places, widths, grid, seconds)
        if self._camera.motion.matrix is None and len(matches) >= _MIN_MATCHES:
            # the motion that most things share is the camera's
            rotation, place = self._camera.pose[:3, :3], self._camera.pose[:3, 3]
            closer = [((self._tracks[t].mean[:3] - place) @ rotation)[2] - places[n, 2] for t, n in matches]
            advance = float(np.median(closer))
            if abs(advance) > _MOVED:
                for track in self._tracks:
                    track.shift(-advance * rotation[:, 2])
                matches = self._matches(things, places, widths, grid, seconds)
        number_of = {n: self._tracks[t].number for t, n in matches}
        taken = set(number_of.values())
        return [number_of[n] if n in number_of else self._new_number(taken) for n in range(len(things))]

    def _matches(
        self, things: list[Thing], places: np.ndarray, widths: np.ndarray, grid: Intrinsics, seconds: float
    ) -> list[tuple[int, int]]:
        """Indices of matching tracks and things: the assignment with the largest total affinity."""
        if not self._tracks or not things:
            return []
        remembered = [t.thing for t in self._tracks]
        expected = forecast(self._tracks, self._camera.pose, grid)
        score = affinity(expected, remembered, things, places, widths, self.config)
        unseen = np.array([max(self._time - seconds - t.seen, 0.0) for t in self._tracks])
        # Prefer tracks that were seen recently. A thing that was lost and found may have several tracks, and the
        # uncertain position of an old track is near everything.
        score = score * (_UNSEEN ** (unseen > 1e-6) * np.interp(unseen, [0, self.config.keep], [1, _LOST]))[:, None]
        pairs = zip(*(side.tolist() for side in linear_sum_assignment(score, maximize=True)), strict=True)
        return [(t, n) for t, n in pairs if score[t, n] > 0]

    def _new_number(self, taken: set[int]) -> int:
        remembered = {track.number for track in self._tracks} | taken
        # Numbers only run out after hundreds of things were lost at once; then numbers of lost things are reused.
        blocked = remembered if len(remembered) < DIVISOR - 1 else taken
        number = self._last_number % (DIVISOR - 1) + 1
        while number in blocked:
            number = number % (DIVISOR - 1) + 1
        self._last_number = number
        taken.add(number)
        return number

    def _update_tracks(
        self, things: list[Thing], numbers: list[int], places: np.ndarray, widths: np.ndarray, grid: Intrinsics
    ) -> None:
        """Update the tracks with the things of this frame."""
        by_number = {track.number: track for track in self._tracks}
        missing = [t for t in self._tracks if t.number not in set(numbers)]
        if not things:
            self._tracks = missing
            return
        rotation, place = self._camera.pose[:3, :3], self._camera.pose[:3, 3]
        seen = places @ rotation.T + place
        before = [by_number.get(n) for n in numbers]
        shares = seen_shares(before, things)
        hidden = np.clip(1 - np.minimum(shares, 1 / np.maximum(shares, 1e-6)), 0, 0.8)
        hidden[hidden < 1 - _PART] = 0
        hidden = np.maximum(hidden, _OUTSIDE * np.array([t.at_border for t in things]))
        noise = kalman.measurement_noise(places, widths, hidden, rotation, self.config.depth_noise)
        mean, covariance = kalman.initialized(seen, noise, rotation)
        old = [(k, t) for k, t in enumerate(before) if t is not None]
        if old:
            at = [k for k, _ in old]
            known = np.stack([t.mean for _, t in old]), np.stack([t.covariance for _, t in old])
            mean[at], covariance[at] = kalman.updated(*known, seen[at], noise[at])
        points = np.concatenate([t.points for t in things]) @ rotation.T + place
        shapes = split(points, np.array([len(t.points) for t in things]))
        rows = zip(before, numbers, things, shapes, mean, covariance, shares.tolist(), strict=True)
        self._tracks = [self._updated(*row) for row in rows] + missing

    def _updated(
        self,
        track: Track | None,
        number: int,
        thing: Thing,
        points: np.ndarray,
        mean: np.ndarray,
        covariance: np.ndarray,
        share: float,
    ) -> Track:
        """The track, or a new one, after its ``thing`` was seen; ``points`` (M, 3) are in the fixed frame."""
        now = self._time
        if track is None:
            return Track(number, thing, points - mean[:3], mean, covariance, now, now, now, mean[:3])
        track.mean, track.covariance, track.seen, track.hits = mean, covariance, now, track.hits + 1
        if share < _PART and now - track.whole < self.config.keep:  # partly hidden: keep the last full view
            track.thing = replace(track.thing, class_id=thing.class_id)
        else:
            track.thing, track.shape, track.whole, track.standing = thing, points - mean[:3], now, mean[:3]
        return track

    def _known_things(self, scene: Scene) -> tuple[TrackedThing, ...]:
        """State and covariance of the things of a renumbered scene, in order of id."""
        tracks = {t.number: t for t in self._tracks}
        turn = self._camera.pose[:3, :3].T
        both = np.kron(np.eye(2), turn)
        things = [(s.id, tracks[s.instance]) for s in scene.segments if self.labels.is_thing[s.class_id]]
        if not things:
            return ()
        means = np.stack([t.mean for _, t in things])
        positions, velocities = (means[:, :3] - self._camera.pose[:3, 3]) @ turn.T, means[:, 3:] @ turn.T
        covariances = both @ np.stack([t.covariance for _, t in things]) @ both.T
        confirmed, relative = self.config.min_hits, self._camera.relative
        rows = zip(things, positions, velocities, covariances, strict=True)
        return tuple(
            TrackedThing(id_, position, velocity, covariance, t.seen - t.born, t.hits, t.hits >= confirmed, relative)
            for (id_, t), position, velocity, covariance in rows
        )


def _places(things: list[Thing], grid: Intrinsics) -> tuple[np.ndarray, np.ndarray]:
    """Positions (N, 3) in the optical frame and widths (N,) of things."""
    if not things:
        return np.zeros((0, 3)), np.zeros(0)
    depth = np.array([t.depth for t in things])
    rays = in_view(np.stack([t.center[::-1] for t in things]), grid)
    places = np.concatenate([rays, np.ones((len(things), 1))], 1) * depth[:, None]
    return places, np.array([t.extent for t in things]) * depth / grid.fx


def renumbered(scene: Scene, numbers: dict[int, int]) -> Scene:
    """The scene with other instance numbers, by the ids of its things."""
    if not numbers:
        return scene
    segments = tuple(
        replace(s, id=s.class_id * DIVISOR + numbers[s.id], instance=numbers[s.id]) if s.id in numbers else s
        for s in scene.segments
    )
    device = scene.panoptic.device
    old, new = (torch.tensor([s.id for s in group], device=device) for group in (scene.segments, segments))
    new_id = _IDS.to(device, copy=True)
    new_id[old] = new.int()
    panoptic = look_up(new_id, scene.panoptic)
    order = sorted(range(len(segments)), key=lambda k: segments[k].id)
    embeddings = None if scene.embeddings is None else scene.embeddings[order]
    return replace(scene, panoptic=panoptic, segments=tuple(segments[k] for k in order), embeddings=embeddings)

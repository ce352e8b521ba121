"""Stable instance numbers: things followed in space, in a frame that does not move with the camera.

Each thing has a constant-velocity Kalman filter; what is seen is assigned to what is expected all at once (Kuhn 1955),
by masks, places, classes and the network's queries. Time comes from the frames' stamps.
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
from dvps_ros.scene.things import Thing, grid_camera, split, things_of
from dvps_ros.scene.tracks import Track, forecast, seen_shares
from dvps_ros.scene.view import View, normalized
from dvps_ros.structures import Intrinsics, Scene, TrackedThing

#: A thing that shows less than this share of its remembered pixels is partly hidden.
_PART = 0.7
#: Share of a thing that may be out of the picture, or hidden, where it is at the border or newly in view.
_CUT_OFF = 0.3
#: Worth of things that were not seen in the frame before, and further of those not seen for longer than ``keep``.
_UNSEEN, _LOST = 0.5, 0.5
#: So many things are remembered, those seen last first: the cost of a frame is bounded, and numbers do not run out.
_MOST = 400
#: Every panoptic value.
_IDS = torch.arange(VOID + 1, dtype=torch.int32)
#: So many things tell how the camera moved where the picture does not, from so many metres on.
_FEW, _MOVED = 3, 0.3


class Tracker:
    """Gives every thing a number 1..999 that it keeps while it is seen, and for some seconds in which it is not.

    Numbers are unique among all things of a frame, whatever their class, so that a thing keeps its own when the network
    changes its mind about the class. A number whose thing is gone is used again as late as possible. Stamps that jump
    back, a gap of ``config.max_gap`` seconds, and a picture of another place start anew with numbers not used yet.
    """

    def __init__(self, labels: LabelSet, config: TrackConfig | None = None) -> None:
        self.labels = labels
        self.config = config or TrackConfig()
        self._camera = CameraPose(labels, self.config)
        self.reset()

    def reset(self) -> None:
        """Forget all things: the next frame's are numbered from 1."""
        self._last_number = 0
        self._now: float | None = None
        self._size: tuple[int, int] | None = None
        self._scale = 1.0  # by which the frame before was multiplied
        self._forget()

    def _forget(self) -> None:
        """Forget all things and motion, but not which numbers were used."""
        self._forget_things()
        self._camera.reset()

    def _forget_things(self) -> None:
        self._tracks: list[Track] = []
        self._standing = np.zeros((0, 3))  # where tracks were in the frame before

    def update(
        self,
        scene: Scene,
        camera: Intrinsics | None = None,
        stamp: float | None = None,
        view: View | None = None,
        pose: np.ndarray | None = None,
    ) -> Scene:
        """The next frame's scene with stable instance numbers in its label map and segments (depth is untouched).

        Parameters
        ----------
        scene : labels, depth, and perhaps embeddings.
        camera : of the scene's size; None: places are relative.
        stamp : seconds; None: ``config.period`` after the frame before.
        view : the picture, from which the camera's own motion is estimated; None: it is not.
        pose : (4, 4) from the optical frame to a fixed one, where TF or odometry gives it: instead of ``view``.
        """
        size = (scene.panoptic.shape[0], scene.panoptic.shape[1])
        if size != self._size:  # another camera, or another resolution: places do not compare
            self.reset()
            self._size = size
        seconds = self._advance(stamp)
        self._rescale(scene.scale_factor)
        if not self._camera.update(self._time, seconds, view, pose):
            self._forget_things()
        grid = grid_camera(size, camera)
        segments = [s for s in scene.segments if self.labels.is_thing[s.class_id]]
        things = things_of(scene, segments, grid)
        places, widths = _places(things, grid)
        self._predict(seconds)
        numbers = self._numbers(things, places, widths, grid, seconds)
        self._remember(things, numbers, places, widths, grid)
        scene = replace(scene, motion=self._camera.motion)
        scene = _renumbered(scene, {s.id: n for s, n in zip(segments, numbers, strict=True)})
        return replace(scene, things=self._known_things(scene)) if scene.metric else scene

    def _advance(self, stamp: float | None) -> float:
        """Go on to the time of a frame; seconds since the one before, 0 for the first after a start."""
        before = self._now
        self._now = stamp if stamp is not None else self.config.period + (before if before is not None else 0.0)
        if before is None:
            return 0.0
        seconds = self._now - before
        if 0 <= seconds <= self.config.max_gap:
            return seconds
        self._forget()
        return 0.0

    @property
    def _time(self) -> float:
        """Of the frame in work."""
        assert self._now is not None, "update comes first"
        return self._now

    def _rescale(self, factor: float) -> None:
        """Measure all that is remembered as this frame is measured: another scale is no motion."""
        ratio, self._scale = factor / self._scale, factor
        if ratio != 1:
            self._camera.rescale(ratio)
            for track in self._tracks:
                track.rescale(ratio)

    def _predict(self, seconds: float) -> None:
        """Forget what is gone for long, and move the rest on."""
        longest = max(self.config.keep, self.config.reidentify)
        limits = [longest if t.hits >= self.config.min_hits else self.config.keep for t in self._tracks]
        before = self._time - seconds - 1e-6
        kept = [t for t, limit in zip(self._tracks, limits, strict=True) if before - t.seen <= limit]
        if len(kept) > _MOST:
            kept = sorted(kept, key=lambda t: (t.seen, t.hits), reverse=True)[:_MOST]
        self._standing = np.array([t.mean[:3] for t in kept]).reshape(-1, 3)
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
        """The number of each thing: its track's, or a fresh one."""
        matches = self._matches(things, places, widths, grid, seconds)
        if self._camera.motion.matrix is None and len(matches) >= _FEW:  # what most things did, the camera did
            rotation, place = self._camera.pose[:3, :3], self._camera.pose[:3, 3]
            closer = [((self._tracks[t].mean[:3] - place) @ rotation)[2] - places[n, 2] for t, n in matches]
            advance = float(np.median(closer))
            if abs(advance) > _MOVED:
                for track in self._tracks:
                    track.mean = _shifted(track.mean, -advance * rotation[:, 2])
                self._standing = self._standing - advance * rotation[:, 2]
                matches = self._matches(things, places, widths, grid, seconds)
        number_of = {n: self._tracks[t].number for t, n in matches}
        taken = set(number_of.values())
        return [number_of[n] if n in number_of else self._fresh_number(taken) for n in range(len(things))]

    def _matches(
        self, things: list[Thing], places: np.ndarray, widths: np.ndarray, grid: Intrinsics, seconds: float
    ) -> list[tuple[int, int]]:
        """Pairs of track and thing that are the same, the best assignment of all together."""
        if not self._tracks or not things:
            return []
        remembered = [t.thing for t in self._tracks]
        worth = affinity(
            forecast(self._tracks, self._standing, self._camera.pose, grid),
            remembered,
            things,
            places,
            widths,
            self.config,
        )
        unseen = np.array([max(self._time - seconds - t.seen, 0.0) for t in self._tracks])
        # the one seen last goes first: what was lost and found may have left more than one track, and what may be
        # anywhere is near everything
        worth = worth * (_UNSEEN ** (unseen > 1e-6) * np.interp(unseen, [0, self.config.keep], [1, _LOST]))[:, None]
        pairs = zip(*(side.tolist() for side in linear_sum_assignment(worth, maximize=True)), strict=True)
        return [(t, n) for t, n in pairs if worth[t, n] > 0]

    def _fresh_number(self, taken: set[int]) -> int:
        remembered = {track.number for track in self._tracks} | taken
        # All in use only when hundreds of things went missing at once: then the remembered ones give way.
        blocked = remembered if len(remembered) < DIVISOR - 1 else taken
        number = self._last_number % (DIVISOR - 1) + 1
        while number in blocked:
            number = number % (DIVISOR - 1) + 1
        self._last_number = number
        taken.add(number)
        return number

    def _remember(
        self, things: list[Thing], numbers: list[int], places: np.ndarray, widths: np.ndarray, grid: Intrinsics
    ) -> None:
        """Take in what was seen."""
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
        hidden = np.maximum(hidden, _CUT_OFF * np.array([t.at_border for t in things]))
        noise = kalman.measurement_noise(places, widths, hidden, rotation, self.config.depth_noise)
        mean, covariance = kalman.begun(seen, noise, rotation)
        old = [(k, t) for k, t in enumerate(before) if t is not None]
        if old:
            at = [k for k, _ in old]
            known = np.stack([t.mean for _, t in old]), np.stack([t.covariance for _, t in old])
            mean[at], covariance[at] = kalman.updated(*known, seen[at], noise[at])
        points = np.concatenate([t.points for t in things]) @ rotation.T + place
        shapes = split(points, np.array([len(t.points) for t in things]))
        rows = zip(before, numbers, things, shapes, mean, covariance, shares.tolist(), strict=True)
        self._tracks = [self._seen(*row) for row in rows] + missing

    def _seen(
        self,
        track: Track | None,
        number: int,
        thing: Thing,
        points: np.ndarray,
        mean: np.ndarray,
        covariance: np.ndarray,
        share: float,
    ) -> Track:
        """The track, or a new one, after its ``thing`` was seen; ``points`` are the thing's in the fixed frame."""
        now = self._time
        if track is None:
            return Track(number, thing, points - mean[:3], mean, covariance, now, now, now)
        track.mean, track.covariance, track.seen, track.hits = mean, covariance, now, track.hits + 1
        if share < _PART and now - track.whole < self.config.keep:  # half hidden: its shape says little
            track.thing = replace(track.thing, class_id=thing.class_id)
        else:
            track.thing, track.shape, track.whole = thing, points - mean[:3], now
        return track

    def _known_things(self, scene: Scene) -> tuple[TrackedThing, ...]:
        """What is known of the things of a renumbered scene, in order of id."""
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


def _shifted(mean: np.ndarray, by: np.ndarray) -> np.ndarray:
    return np.concatenate([mean[:3] + by, mean[3:]])


def _places(things: list[Thing], grid: Intrinsics) -> tuple[np.ndarray, np.ndarray]:
    """Positions (N, 3) in the camera's frame and widths (N,) of things."""
    if not things:
        return np.zeros((0, 3)), np.zeros(0)
    depth = np.array([t.depth for t in things])
    rays = normalized(np.stack([t.center[::-1] for t in things]), grid)
    rays = np.where(np.isfinite(rays), rays, 0.0)
    places = np.concatenate([rays, np.ones((len(things), 1))], 1) * depth[:, None]
    return places, np.array([t.extent for t in things]) * depth / grid.fx


def _renumbered(scene: Scene, numbers: dict[int, int]) -> Scene:
    if not numbers:
        return scene
    segments = tuple(
        replace(s, id=s.class_id * DIVISOR + numbers[s.id], instance=numbers[s.id]) if s.id in numbers else s
        for s in scene.segments
    )
    new_id = _IDS.clone()
    new_id[[s.id for s in scene.segments]] = torch.tensor([s.id for s in segments], dtype=torch.int32)
    flat = new_id.to(scene.panoptic.device).index_select(0, scene.panoptic.flatten())
    panoptic = flat.view(scene.panoptic.shape)
    order = sorted(range(len(segments)), key=lambda k: segments[k].id)
    embeddings = None if scene.embeddings is None else scene.embeddings[order]
    return replace(scene, panoptic=panoptic, segments=tuple(segments[k] for k in order), embeddings=embeddings)

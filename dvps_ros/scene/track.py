"""Stable instance numbers: the things of each frame matched to those of earlier ones by where their pixels lie."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from dvps_ros.config import TrackConfig
from dvps_ros.labels import DIVISOR, LabelSet
from dvps_ros.structures import Scene, Segment

#: Things are compared on a grid of at most this many samples of the label map.
_GRID_SAMPLES = 32768
#: How much less a candidate of another class is worth: the network may change its mind about a thing's class.
_OTHER_CLASS = 0.6
#: Spread of the depth ratio (in ln) and of the place (in object sizes) inside which things count as close.
_DEPTH_SPREAD, _PLACE_SPREAD = 0.25, 1.5
#: A thing that shows less than this share of its remembered pixels is partly hidden.
_PART = 0.7
#: Worth of lying wholly inside what is remembered, as a half hidden thing does, next to 1 for the same pixels.
_INSIDE = 0.35


@dataclass(frozen=True)
class _Thing:
    """A thing of one frame on the sampling grid: its pixels (P, 2) int row, column; centre (2,); depth or NaN."""

    class_id: int
    pixels: np.ndarray
    center: np.ndarray
    depth: float

    @property
    def extent(self) -> float:
        return math.sqrt(len(self.pixels))


@dataclass(frozen=True)
class _Track:
    """What is remembered of a thing.

    ``thing`` is its last full view, ``offset`` (2,) how far it has moved since by prediction, ``velocity`` (2,) its
    motion per frame or None before it was seen twice; ``missed`` and ``hidden`` count the frames in a row in which
    nothing, or only a part of it, was seen.
    """

    number: int
    thing: _Thing
    velocity: np.ndarray | None = None
    offset: np.ndarray = field(default_factory=lambda: np.zeros(2))
    missed: int = 0
    hidden: int = 0

    @property
    def shift(self) -> np.ndarray:
        """From the remembered view to where the thing should be in the next frame."""
        return self.offset if self.velocity is None else self.offset + self.velocity


@dataclass(frozen=True)
class _Forecast:
    """Where T tracks should be: their pixels (P, 2) each, centres (T, 2), extents (T,) and depths (T,)."""

    pixels: list[np.ndarray]
    centers: np.ndarray
    extents: np.ndarray
    depths: np.ndarray


class Tracker:
    """Gives every thing a number 1..999 that it keeps while it is seen, and for a few frames in which it is not.

    Numbers are unique among all things of a frame, whatever their class, so that a thing keeps its own when the network
    changes its mind about the class. A number whose thing is gone is used again as late as possible.
    """

    def __init__(self, labels: LabelSet, config: TrackConfig | None = None) -> None:
        self.labels = labels
        self.config = config or TrackConfig()
        self.reset()

    def reset(self) -> None:
        """Forget all things: the next frame's are numbered from 1."""
        self._tracks: list[_Track] = []
        self._last_number = 0
        self._size: tuple[int, int] | None = None
        self._advance = 0.0  # metres that the camera comes closer to most things, per frame
        self._center = np.zeros(2)

    def update(self, scene: Scene) -> Scene:
        """The next frame's scene with stable instance numbers in its label map and segments (depth is untouched)."""
        size = (scene.panoptic.shape[0], scene.panoptic.shape[1])
        if size != self._size:  # another camera, or another resolution: places do not compare
            self.reset()
            self._size = size
            self._center = (np.array(size) / _stride(size) - 1) / 2
        segments = [s for s in scene.segments if self.labels.is_thing[s.class_id]]
        things = _things(scene, segments)
        numbers = self._numbers(things)
        self._remember(things, numbers)
        return _renumbered(scene, {s.id: n for s, n in zip(segments, numbers, strict=True)})

    def _numbers(self, things: list[_Thing]) -> list[int]:
        """The number of each thing: its track's, or a fresh one."""
        matches = self._matches(things)
        advance = _advance([(self._tracks[t], things[n]) for t, n in matches], self._advance)
        if advance != self._advance:  # the camera moves otherwise than thought: look again, knowing how
            self._advance = advance
            matches = self._matches(things)
        number_of = {n: self._tracks[t].number for t, n in matches}
        taken = set(number_of.values())
        return [number_of[n] if n in number_of else self._fresh_number(taken) for n in range(len(things))]

    def _matches(self, things: list[_Thing]) -> list[tuple[int, int]]:
        """Pairs of track and thing that are the same, the best assignment of all together."""
        affinity = _affinity(self._tracks, things, self._advance, self._center, self.config)  # (T, N), 0: cannot be
        rows, columns = linear_sum_assignment(affinity, maximize=True)
        return [(int(t), int(n)) for t, n in zip(rows, columns, strict=True) if affinity[t, n] > 0]

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

    def _remember(self, things: list[_Thing], numbers: list[int]) -> None:
        before = {track.number: track for track in self._tracks}
        patience = self.config.patience
        seen = [
            _seen(before.get(number), number, thing, patience) for number, thing in zip(numbers, things, strict=True)
        ]
        now = set(numbers)
        missing = [replace(t, offset=t.shift, missed=t.missed + 1) for t in self._tracks if t.number not in now]
        self._tracks = seen + [track for track in missing if track.missed <= self.config.patience]


def _seen(before: _Track | None, number: int, thing: _Thing, patience: int) -> _Track:
    if before is None:
        return _Track(number, thing)
    share = len(thing.pixels) / len(before.thing.pixels)
    if share < _PART and before.hidden < patience:  # half hidden: its centre and shape say little, go on predicting
        remembered = replace(before.thing, class_id=thing.class_id)
        return replace(before, thing=remembered, offset=before.shift, missed=0, hidden=before.hidden + 1)
    if before.hidden or before.missed or share > 1 / _PART:  # newly in view: the jump of its centre is no motion
        return _Track(number, thing, before.velocity)
    moved = thing.center - before.thing.center
    return _Track(number, thing, moved if before.velocity is None else (before.velocity + moved) / 2)


def _advance(matches: list[tuple[_Track, _Thing]], before: float) -> float:
    """Median loss of depth per frame over fully seen things, in metres; ``before`` where too few tell it."""
    losses = [
        (track.thing.depth - thing.depth) / (track.missed + 1)
        for track, thing in matches
        if not track.hidden and math.isfinite(track.thing.depth - thing.depth)
    ]
    return float(np.median(losses)) if len(losses) >= 3 else before


def _stride(size: tuple[int, int]) -> int:
    return max(1, math.ceil(math.sqrt(size[0] * size[1] / _GRID_SAMPLES)))


def _things(scene: Scene, segments: list[Segment]) -> list[_Thing]:
    """The given segments on the sampling grid, in their order."""
    if not segments:
        return []
    height, width = scene.panoptic.shape
    stride = _stride((height, width))
    grid = scene.panoptic[stride // 2 :: stride, stride // 2 :: stride].cpu().numpy()
    ids = np.array([s.id for s in segments])
    order = np.argsort(ids)
    place = np.minimum(np.searchsorted(ids, grid, sorter=order), len(ids) - 1)
    index = np.where(ids[order[place]] == grid, order[place], -1)
    pixels = np.argwhere(index >= 0)
    owner = index[index >= 0]
    grouped = pixels[np.argsort(owner, kind="stable")]
    starts = np.cumsum(np.bincount(owner, minlength=len(ids)))[:-1]
    parts = np.split(grouped, starts)
    return [_thing(s, part, scene.panoptic, stride) for s, part in zip(segments, parts, strict=True)]


def _thing(segment: Segment, pixels: np.ndarray, panoptic: Tensor, stride: int) -> _Thing:
    if len(pixels) == 0:  # so small that it slipped through the grid
        center = (panoptic == segment.id).nonzero().float().mean(0).cpu().numpy()
        pixels = (center[None] / stride).astype(np.int64)
    return _Thing(segment.class_id, pixels, pixels.mean(0), segment.median_depth)


def _affinity(
    tracks: list[_Track], things: list[_Thing], advance: float, center: np.ndarray, config: TrackConfig
) -> np.ndarray:
    """(T, N) how well each track and thing go together, 0 where they cannot be the same.

    The best of three forecasts counts: the thing's own motion goes on; it stands while the camera comes ``advance``
    metres closer, along an axis through ``center`` of the grid; it is seen where it was.
    """
    if not tracks or not things:
        return np.zeros((len(tracks), len(things)))
    overlap = proximity = np.zeros((len(tracks), len(things)))
    for forecast, trust in (
        (_moved(tracks, [t.shift for t in tracks]), 1.0),
        (_approached(tracks, advance, center), 1.0),
        (_moved(tracks, [np.zeros(2)] * len(tracks)), 0.9),
    ):
        closeness = _depth_closeness(forecast, things)
        overlap = np.maximum(overlap, trust * _overlap(forecast, things, closeness))
        proximity = np.maximum(proximity, trust * closeness * _proximity(forecast, things))
    possible = (overlap >= max(config.min_overlap, 1e-6)) | (proximity >= max(config.min_proximity, 1e-6))
    same = np.array([t.thing.class_id for t in tracks])[:, None] == np.array([n.class_id for n in things])[None]
    return np.where(possible, overlap + 0.5 * proximity, 0) * np.where(same, 1, _OTHER_CLASS)


def _moved(tracks: list[_Track], shifts: list[np.ndarray]) -> _Forecast:
    return _Forecast(
        [t.thing.pixels + np.rint(shift).astype(np.int64) for t, shift in zip(tracks, shifts, strict=True)],
        np.array([t.thing.center + shift for t, shift in zip(tracks, shifts, strict=True)]),
        np.array([t.thing.extent for t in tracks]),
        np.array([t.thing.depth for t in tracks]),
    )


def _approached(tracks: list[_Track], advance: float, center: np.ndarray) -> _Forecast:
    """Standing things seen from closer: larger, and further away from the centre of the view."""
    depths = np.array([t.thing.depth for t in tracks])
    left = np.maximum(depths - advance * np.array([t.missed + 1 for t in tracks]), 0.3 * depths)
    zooms = np.where(left > 0, depths / np.where(left > 0, left, 1), 1.0)  # also 1 where depth is unknown
    pixels = [
        np.rint(center + (t.thing.pixels - center) * zoom).astype(np.int64)
        for t, zoom in zip(tracks, zooms, strict=True)
    ]
    centers = np.array([center + (t.thing.center - center) * zoom for t, zoom in zip(tracks, zooms, strict=True)])
    return _Forecast(pixels, centers, np.array([t.thing.extent for t in tracks]) * zooms, left)


def _overlap(forecast: _Forecast, things: list[_Thing], closeness: np.ndarray) -> np.ndarray:
    """(T, N) intersection over union of forecast and seen pixels; a part inside the whole counts ``_INSIDE``."""
    expected = forecast.pixels
    everything = np.concatenate([*expected, *(n.pixels for n in things)])
    low = everything.min(0)
    height, width = everything.max(0) - low + 1
    canvas = np.full(height * width, len(things))  # things do not overlap: one map holds them all
    for number, thing in enumerate(things):
        canvas[_flat(thing.pixels - low, width)] = number
    track_of = np.repeat(np.arange(len(expected)), [len(p) for p in expected])
    thing_at = canvas[_flat(np.concatenate(expected) - low, width)]
    bins = len(expected) * (len(things) + 1)
    joint = np.bincount(track_of * (len(things) + 1) + thing_at, minlength=bins).reshape(len(expected), -1)[:, :-1]
    before, now = np.array([len(p) for p in expected])[:, None], np.array([len(n.pixels) for n in things])[None]
    return np.maximum(joint / (before + now - joint), _INSIDE * closeness * joint / now)


def _flat(pixels: np.ndarray, width: int) -> np.ndarray:
    return pixels[:, 0] * width + pixels[:, 1]


def _proximity(forecast: _Forecast, things: list[_Thing]) -> np.ndarray:
    """(T, N) closeness 0..1 in place and size, for small things that outrun their own size."""
    before, now = forecast.extents[:, None], np.array([n.extent for n in things])[None]
    apart = np.linalg.norm(forecast.centers[:, None] - np.array([n.center for n in things])[None], axis=-1)
    distance = apart / (_PLACE_SPREAD * np.maximum(before, now) + 1)
    growth = 2 * np.log(before / now)  # ln of the ratio of areas
    return np.exp(-0.5 * (distance**2 + growth**2))


def _depth_closeness(forecast: _Forecast, things: list[_Thing]) -> np.ndarray:
    """(T, N) closeness 0..1 in depth, 1 where depth is unknown."""
    with np.errstate(all="ignore"):
        ratio = np.log(forecast.depths[:, None] / np.array([n.depth for n in things])[None])
    return np.exp(-0.5 * (np.nan_to_num(ratio, nan=0.0, posinf=0.0, neginf=0.0) / _DEPTH_SPREAD) ** 2)


def _renumbered(scene: Scene, numbers: dict[int, int]) -> Scene:
    if not numbers:
        return scene
    segments = tuple(
        replace(s, id=s.class_id * DIVISOR + numbers[s.id], instance=numbers[s.id]) if s.id in numbers else s
        for s in scene.segments
    )
    old = torch.tensor([s.id for s in scene.segments], dtype=torch.int32, device=scene.panoptic.device)
    new = torch.tensor([s.id for s in segments], dtype=torch.int32, device=scene.panoptic.device)
    at = torch.searchsorted(old, scene.panoptic).clamp(max=len(old) - 1)
    panoptic = new[at].where(old[at] == scene.panoptic, scene.panoptic)
    return replace(scene, panoptic=panoptic, segments=tuple(sorted(segments, key=lambda s: s.id)))

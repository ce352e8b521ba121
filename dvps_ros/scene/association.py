"""How well what is remembered and what is seen go together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dvps_ros.config import TrackConfig
from dvps_ros.scene.kalman import squared_distance
from dvps_ros.scene.things import Thing

#: How much less a candidate of another class is worth: the network may change its mind about a thing's class.
_OTHER_CLASS = 0.6
#: Worth of lying wholly inside what is expected, as a half hidden thing does, next to 1 for the same pixels.
_INSIDE = 0.35
#: Spread of a ratio of depths (in ln) inside which things count as close.
_DEPTH_SPREAD = 0.25
#: Deviations of place with which things are told apart: across in widths of the thing, along as a share of its depth.
_ACROSS, _ALONG = 0.25, 0.12
#: How far the middle of a part may be from that of the whole, as a share of the difference of their widths.
_PART = 1.0
#: Deviations beyond which nothing is close.
_FAR = 4.0
#: Worth of an embedding that says nothing, next to 1 for the same.
_UNLIKE = 0.5


@dataclass(frozen=True)
class Forecast:
    """Where T tracks may be, by F ideas of each: rows are all tracks by the first idea, then by the next.

    Attributes
    ----------
    pixels : (M, 2) int64 row, column on the grid, of points of all F * T.
    owner : (M,) which of the F * T each is of.
    cells : (M,) how many grid cells it should fill.
    position : (F * T, 3) in the camera's frame.
    spread : (F * T, 3, 3) covariance of the position, along the camera's axes.
    extent : (F * T,) side of a square of as many grid cells.
    trust : (F * T,) how far the idea is trusted, 0..1; the best counts.
    """

    pixels: np.ndarray
    owner: np.ndarray
    cells: np.ndarray
    position: np.ndarray
    spread: np.ndarray
    extent: np.ndarray
    trust: np.ndarray


def affinity(
    forecast: Forecast,
    remembered: list[Thing],
    things: list[Thing],
    position: np.ndarray,
    width: np.ndarray,
    config: TrackConfig,
) -> np.ndarray:
    """(T, N) how well each track and thing go together, 0 where they cannot be the same.

    Parameters
    ----------
    forecast : of the T tracks.
    remembered : the last full view of each track.
    things : what is seen.
    position : (N, 3) of the things, in the camera's frame.
    width : (N,) of the things, in metres.
    """
    closeness = _depth_closeness(forecast.position[:, 2], position[:, 2])
    by_idea = _overlap(forecast, things, closeness), _proximity(forecast, things, position, width)
    overlap, proximity = (
        (forecast.trust[:, None] * worth).reshape(-1, len(remembered), len(things)).max(0) for worth in by_idea
    )
    same = np.array([t.class_id for t in remembered])[:, None] == np.array([n.class_id for n in things])[None]
    alike = np.where(same, 1, _OTHER_CLASS)
    proximity = proximity * alike
    possible = (overlap >= max(config.min_overlap, 1e-6)) | (proximity >= max(config.min_proximity, 1e-6))
    total = np.where(possible, overlap * alike + proximity, 0)
    return total * _likeness(remembered, things, config.min_similarity)


def _likeness(remembered: list[Thing], things: list[Thing], least: float) -> np.ndarray:
    """(T, N) worth by the cosine of embeddings: ``_UNLIKE`` at ``least`` and below, 1 for the same or unknown."""
    before = [t.embedding for t in remembered if t.embedding is not None]
    now = [t.embedding for t in things if t.embedding is not None]
    if not before or not now or len(before) < len(remembered) or len(now) < len(things):
        return np.ones((len(remembered), len(things)))
    cosine = np.stack(before) @ np.stack(now).T
    return _UNLIKE + (1 - _UNLIKE) * np.clip((cosine - least) / max(1 - least, 1e-6), 0, 1)


def _map_of(things: list[Thing]) -> tuple[np.ndarray, int, int]:
    """(H, W) which thing is where, a border of one cell without any around all; row and column of its corner."""
    rows, columns = (np.concatenate([n.pixels[:, axis] for n in things]) for axis in (0, 1))
    top, left = int(rows.min()) - 1, int(columns.min()) - 1
    found = np.full((int(rows.max()) - top + 2, int(columns.max()) - left + 2), len(things))
    found[rows - top, columns - left] = np.repeat(np.arange(len(things)), [len(n.pixels) for n in things])
    return found, top, left  # things do not overlap: one map holds them all


def _overlap(forecast: Forecast, things: list[Thing], closeness: np.ndarray) -> np.ndarray:
    """(F * T, N) intersection over union of expected and seen pixels; a part inside the whole counts ``_INSIDE``."""
    found, top, left = _map_of(things)
    rows = np.clip(forecast.pixels[:, 0] - top, 0, found.shape[0] - 1)
    thing_at = found[rows, np.clip(forecast.pixels[:, 1] - left, 0, found.shape[1] - 1)]
    tracks, columns = len(forecast.position), len(things) + 1
    joint = np.bincount(forecast.owner * columns + thing_at, forecast.cells, tracks * columns).reshape(tracks, columns)
    now = np.array([len(n.pixels) for n in things])[None]
    joint, before = np.minimum(joint[:, :-1], now), joint.sum(1)[:, None]
    return np.maximum(joint / np.maximum(before + now - joint, 1e-6), _INSIDE * closeness * joint / now)


def _proximity(forecast: Forecast, things: list[Thing], position: np.ndarray, width: np.ndarray) -> np.ndarray:
    """(F * T, N) closeness 0..1 in space and size."""
    extent = np.array([n.extent for n in things])
    # a part that is seen, of what is remembered or the other way round, has its middle elsewhere
    part = _PART * abs(forecast.extent[:, None] / extent - 1) * width  # (F * T, N)
    across, along = _ACROSS * width + part, np.broadcast_to(_ALONG * position[:, 2], part.shape)
    off = position[None] - forecast.position[:, None]
    widest = np.trace(forecast.spread, axis1=1, axis2=2)[:, None] + np.maximum(across, along) ** 2
    t, n = np.nonzero((off**2).sum(-1) < _FAR**2 * widest)  # all others are surely farther than that
    ray = position / np.linalg.norm(position, axis=1, keepdims=True)
    outer = (ray[:, :, None] * ray[:, None])[n]
    noise = (across[t, n] ** 2)[:, None, None] * (np.eye(3) - outer) + (along[t, n] ** 2)[:, None, None] * outer
    spread = forecast.spread[t] + noise + 1e-6 * np.eye(3)
    distance = squared_distance(off[t, n], spread)
    growth = 2 * np.log(forecast.extent[t] / extent[n])  # ln of areas
    closeness = np.zeros(part.shape)
    closeness[t, n] = np.exp(-0.5 * (distance + 0.25 * growth**2))
    return closeness


def _depth_closeness(expected: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(F * T, N) closeness 0..1 in depth."""
    ratio = np.log(np.maximum(expected, 0.1)[:, None] / np.maximum(seen, 0.1)[None])
    return np.exp(-0.5 * (ratio / _DEPTH_SPREAD) ** 2)

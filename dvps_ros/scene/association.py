"""Affinity of tracks and things: by masks, positions, depths, classes and embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dvps_ros.config import TrackConfig
from dvps_ros.scene.kalman import squared_distance
from dvps_ros.scene.things import Thing

#: Factor for a thing of another class than the track's: the network may change a thing's class.
_OTHER_CLASS = 0.6
#: Overlap score of a mask that lies wholly inside the expected one, as of a half hidden thing; equal masks score 1.
_INSIDE = 0.35
#: Standard deviation of the logarithm of depth ratios.
_DEPTH_SPREAD = 0.25
#: Standard deviations of position: across the ray in widths of the thing, along it as a share of its depth.
_ACROSS, _ALONG = 0.25, 0.12
#: Largest offset between the centers of a part and of the whole, as a share of the difference of their widths.
_PART = 1.0
#: Number of standard deviations beyond which proximity is 0.
_FAR = 4.0
#: Factor for an embedding without similarity; equal embeddings have 1.
_DISSIMILAR = 0.5


@dataclass(frozen=True)
class Forecast:
    """Expected positions of T tracks under F motion hypotheses.

    Rows are all tracks under the first hypothesis, then all under the next.

    Attributes
    ----------
    pixels : (M, 2) int64 row, column on the grid, points of all F * T rows.
    owner : (M,) the row that each point belongs to.
    cells : (M,) expected number of grid cells that each point covers.
    depth : (M,) expected depth of each point in metres, 0 where it covers no cell.
    position : (F * T, 3) metres in the optical frame.
    spread : (F * T, 3, 3) covariance of the position in the optical frame, m².
    extent : (F * T,) side of a square with the expected number of grid cells.
    trust : (F * T,) weight of the hypothesis, 0..1; a track takes its best weighted score.
    """

    pixels: np.ndarray
    owner: np.ndarray
    cells: np.ndarray
    depth: np.ndarray
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
    """(T, N) affinity of each track and thing, 0 if they cannot be the same.

    Parameters
    ----------
    forecast : expected positions of the T tracks.
    remembered : the last full view of each track.
    things : the N things of the frame.
    position : (N, 3) of the things, metres in the optical frame.
    width : (N,) of the things, metres.
    config : lower limits of overlap, proximity and similarity.
    """
    by_hypothesis = _overlap(forecast, things, position[:, 2]), _proximity(forecast, things, position, width)
    overlap, proximity = (
        (forecast.trust[:, None] * score).reshape(-1, len(remembered), len(things)).max(0) for score in by_hypothesis
    )
    same = np.array([t.class_id for t in remembered])[:, None] == np.array([n.class_id for n in things])[None]
    class_factor = np.where(same, 1, _OTHER_CLASS)
    proximity = proximity * class_factor
    possible = (overlap >= max(config.min_overlap, 1e-6)) | (proximity >= max(config.min_proximity, 1e-6))
    total = np.where(possible, overlap * class_factor + proximity, 0)
    return total * _similarity(remembered, things, config.min_similarity)


def _similarity(remembered: list[Thing], things: list[Thing], least: float) -> np.ndarray:
    """(T, N) factor from the cosine of embeddings: ``_DISSIMILAR`` up to ``least``, 1 for equal or unknown ones."""
    before = [t.embedding for t in remembered if t.embedding is not None]
    now = [t.embedding for t in things if t.embedding is not None]
    if not before or not now or len(before) < len(remembered) or len(now) < len(things):
        return np.ones((len(remembered), len(things)))
    cosine = np.stack(before) @ np.stack(now).T
    return _DISSIMILAR + (1 - _DISSIMILAR) * np.clip((cosine - least) / max(1 - least, 1e-6), 0, 1)


def _index_map(things: list[Thing]) -> tuple[np.ndarray, int, int]:
    """(H, W) index of the thing in each cell, with an empty border of one cell; row and column of its corner."""
    rows, columns = (np.concatenate([n.pixels[:, axis] for n in things]) for axis in (0, 1))
    top, left = int(rows.min()) - 1, int(columns.min()) - 1
    found = np.full((int(rows.max()) - top + 2, int(columns.max()) - left + 2), len(things))
    found[rows - top, columns - left] = np.repeat(np.arange(len(things)), [len(n.pixels) for n in things])
    return found, top, left  # one map holds all things, because they do not overlap


def _overlap(forecast: Forecast, things: list[Thing], depth: np.ndarray) -> np.ndarray:
    """(F * T, N) IoU of expected and seen pixels.

    A thing that lies mostly inside the expected mask scores at least ``_INSIDE`` x closeness of depth x share inside.
    Its depth is compared with that expected at its pixels: the rest of a car that leaves the image is nearer or farther
    than the middle of the car.
    """
    found, top, left = _index_map(things)
    rows = np.clip(forecast.pixels[:, 0] - top, 0, found.shape[0] - 1)
    thing_at = found[rows, np.clip(forecast.pixels[:, 1] - left, 0, found.shape[1] - 1)]
    tracks, columns = len(forecast.position), len(things) + 1
    cell = forecast.owner * columns + thing_at
    joint, metres = (
        np.bincount(cell, weights, tracks * columns).reshape(tracks, columns)
        for weights in (forecast.cells, forecast.cells * forecast.depth)
    )
    before, joint, metres = joint.sum(1)[:, None], joint[:, :-1], metres[:, :-1]
    closeness = _depth_closeness(metres / np.maximum(joint, 1e-6), depth)
    now = np.array([len(n.pixels) for n in things])[None]
    joint = np.minimum(joint, now)
    return np.maximum(joint / np.maximum(before + now - joint, 1e-6), _INSIDE * closeness * joint / now)


def _proximity(forecast: Forecast, things: list[Thing], position: np.ndarray, width: np.ndarray) -> np.ndarray:
    """(F * T, N) similarity of position and size, 0..1."""
    extent = np.array([n.extent for n in things])
    # if only a part of the thing is visible, now or in the remembered view, its center is displaced
    part = _PART * abs(forecast.extent[:, None] / extent - 1) * width  # (F * T, N)
    across, along = _ACROSS * width + part, np.broadcast_to(_ALONG * position[:, 2], part.shape)
    off = position[None] - forecast.position[:, None]
    widest = np.trace(forecast.spread, axis1=1, axis2=2)[:, None] + np.maximum(across, along) ** 2
    t, n = np.nonzero((off**2).sum(-1) < _FAR**2 * widest)  # the trace bounds the variance: all others are farther
    ray = position / np.linalg.norm(position, axis=1, keepdims=True)
    outer = (ray[:, :, None] * ray[:, None])[n]
    noise = (across[t, n] ** 2)[:, None, None] * (np.eye(3) - outer) + (along[t, n] ** 2)[:, None, None] * outer
    spread = forecast.spread[t] + noise + 1e-6 * np.eye(3)
    distance = squared_distance(off[t, n], spread)
    growth = 2 * np.log(forecast.extent[t] / extent[n])  # logarithm of the ratio of areas
    closeness = np.zeros(part.shape)
    closeness[t, n] = np.exp(-0.5 * (distance + 0.25 * growth**2))
    return closeness


def _depth_closeness(expected: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(F * T, N) similarity of ``expected`` (F * T, N) and ``seen`` (N,) depth, 0..1."""
    ratio = np.log(np.maximum(expected, 0.1) / np.maximum(seen, 0.1)[None])
    return np.exp(-0.5 * (ratio / _DEPTH_SPREAD) ** 2)

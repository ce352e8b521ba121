"""Tracks of things, and the prediction of their positions and pixels in the next frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from dvps_ros.scene.association import Forecast
from dvps_ros.scene.rays import project
from dvps_ros.scene.things import Thing
from dvps_ros.structures import Intrinsics

#: Weights of the motion hypotheses: constant velocity, standing still, same place in the image.
_TRUST = (1.0, 0.95, 0.8)
#: Bounds of the zoom of a remembered view.
_ZOOM = (0.3, 3.0)


@dataclass(slots=True)
class Track:
    """The track of a thing.

    Attributes
    ----------
    number : its instance number.
    thing : its last full view.
    shape : (M, 3) its points relative to its center, along the axes of the fixed frame.
    mean, covariance : (6,) and (6, 6), position and velocity in the fixed frame.
    born, seen, whole : times in seconds when it was seen first, last, and last without being partly hidden.
    standing : (3,) its position in the fixed frame at the time ``whole``. The center of what is visible moves while a
        parked car disappears behind another; this position does not.
    hits : number of frames in which it was seen.
    """

    number: int
    thing: Thing
    shape: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    born: float
    seen: float
    whole: float
    standing: np.ndarray
    hits: int = 1

    def shift(self, offset: np.ndarray) -> None:
        """Add ``offset`` (3,), metres in the fixed frame, to its position."""
        self.mean, self.standing = self.mean + np.append(offset, np.zeros(3)), self.standing + offset

    def rescale(self, factor: float) -> None:
        """Multiply all distances by ``factor``, about the origin of the fixed frame."""
        self.thing = replace(self.thing, depth=self.thing.depth * factor, points=self.thing.points * factor)
        self.shape = self.shape * factor
        self.standing = self.standing * factor
        self.mean, self.covariance = self.mean * factor, self.covariance * factor**2


def forecast(tracks: list[Track], pose: np.ndarray, grid: Intrinsics) -> Forecast:
    """Prediction of T tracks under three motion hypotheses.

    The hypotheses are constant velocity, standing still since the last full view, and staying at the same place in the
    image.

    Parameters
    ----------
    tracks : their means are predicted to the current time.
    pose : (4, 4) from the optical frame to the fixed one.
    grid : the camera of the sampling grid.
    """
    rotation, place = pose[:3, :3], pose[:3, 3]
    views = [t.thing for t in tracks]
    covariance = np.stack([t.covariance for t in tracks])[:, :3, :3]
    moved = (np.stack([t.mean for t in tracks])[:, :3] - place) @ rotation
    standing = (np.stack([t.standing for t in tracks]) - place) @ rotation
    pixels, owner, cells, depth, zoom = _seen_from(tracks, np.stack([moved, standing]), rotation, grid)
    counts = [len(v.pixels) for v in views]
    extents = np.sqrt(counts)
    return Forecast(
        np.concatenate([pixels, *(v.pixels for v in views)]),
        np.concatenate([owner, np.repeat(np.arange(len(tracks)) + 2 * len(tracks), counts)]),
        np.concatenate([cells, np.ones(sum(counts))]),
        np.concatenate([depth, np.repeat([v.depth for v in views], counts)]),
        np.concatenate([moved, standing, moved]),
        np.concatenate([rotation.T @ covariance @ rotation] * 3),
        np.concatenate([(zoom * extents).ravel(), extents]),
        np.repeat(_TRUST, len(tracks)),
    )


def _seen_from(
    tracks: list[Track], places: np.ndarray, rotation: np.ndarray, grid: Intrinsics
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The remembered views of the tracks, placed at F positions each.

    Parameters
    ----------
    places : (F, T, 3) positions in the optical frame.
    rotation : (3, 3) from the optical frame to the fixed one.

    Returns
    -------
    pixels : (P, 2) int64 row and column of points.
    owner : (P,) index of the point's position, row-major in (F, T).
    cells : (P,) number of grid cells that the point covers, 0 outside the image.
    depth : (P,) depth of the point in metres, 0 outside the image.
    zoom : (F, T) mean zoom of the view.
    """
    counts = [len(t.shape) for t in tracks]
    of = np.repeat(np.arange(len(tracks)), counts)
    points = np.concatenate([t.shape for t in tracks]) @ rotation + places[:, of]  # (F, M, 3)
    at = project(torch.from_numpy(points), grid).numpy()[..., ::-1]  # row, column; NaN behind the camera
    before = np.concatenate([t.thing.points[:, 2] for t in tracks])
    zoom = np.clip(before / np.maximum(points[..., 2], 1e-3), *_ZOOM)  # (F, M)
    row, column = at[..., 0], at[..., 1]
    inside = (row > -0.5) & (row < grid.height - 0.5) & (column > -0.5) & (column < grid.width - 0.5)  # False for NaN
    pixels = np.rint(np.where(np.stack([inside, inside], -1), at, 0)).astype(np.int64).reshape(-1, 2)
    cells = np.array([t.thing.cells for t in tracks])[of] * zoom**2 * inside
    owner = (of + len(tracks) * np.arange(len(places))[:, None]).ravel()
    zooms = np.bincount(owner, zoom.ravel()).reshape(len(places), -1) / counts
    return pixels, owner, cells.ravel(), np.where(inside, points[..., 2], 0).ravel(), zooms


def seen_shares(before: list[Track | None], things: list[Thing]) -> np.ndarray:
    """(N,) pixels of each thing, as a share of those of its remembered view at the same distance; 1 for new things."""
    views = [thing if track is None else track.thing for track, thing in zip(before, things, strict=True)]
    zoom = np.clip([v.depth / t.depth for v, t in zip(views, things, strict=True)], *_ZOOM)
    return np.array([len(t.pixels) / len(v.pixels) for v, t in zip(views, things, strict=True)]) / zoom**2

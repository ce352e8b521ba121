"""What is remembered of things, and where they should be seen next."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from dvps_ros.scene.association import Forecast
from dvps_ros.scene.rays import project
from dvps_ros.scene.things import Thing
from dvps_ros.structures import Intrinsics

#: How far forecasts are trusted: it moves as it did, it stands still, it is seen where it was in the picture.
_TRUST = (1.0, 0.95, 0.8)
#: Zoom of a remembered view stays within these bounds.
_ZOOM = (0.3, 3.0)


@dataclass(slots=True)
class Track:
    """What is remembered of a thing.

    ``thing`` is its last full view, ``shape`` (M, 3) its points from its middle, along the axes of the fixed frame;
    ``mean`` (6,) and ``covariance`` (6, 6) are its place and velocity in the fixed frame; ``born``, ``seen`` and
    ``whole`` are when it was seen first, last, and not hidden last.
    """

    number: int
    thing: Thing
    shape: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    born: float
    seen: float
    whole: float
    hits: int = 1

    def rescale(self, factor: float) -> None:
        """All distances are ``factor`` times as long from now on, from the fixed frame's origin."""
        self.thing = replace(self.thing, depth=self.thing.depth * factor, points=self.thing.points * factor)
        self.shape = self.shape * factor
        self.mean, self.covariance = self.mean * factor, self.covariance * factor**2


def forecast(tracks: list[Track], standing: np.ndarray, pose: np.ndarray, grid: Intrinsics) -> Forecast:
    """Where T tracks should be: as they move, as if they stood, and where they were in the picture.

    Parameters
    ----------
    tracks : with means of now.
    standing : (T, 3) where they were in the frame before, in the fixed frame.
    pose : (4, 4) from the camera's frame to the fixed one.
    grid : the camera of the sampling grid.
    """
    rotation, place = pose[:3, :3], pose[:3, 3]
    views = [t.thing for t in tracks]
    covariance = np.stack([t.covariance for t in tracks])[:, :3, :3]
    moved = (np.stack([t.mean for t in tracks])[:, :3] - place) @ rotation
    standing = (standing - place) @ rotation
    pixels, owner, cells, zoom = _seen_from(tracks, np.stack([moved, standing]), rotation, grid)
    counts = [len(v.pixels) for v in views]
    extents = np.sqrt(counts)
    return Forecast(
        np.concatenate([pixels, *(v.pixels for v in views)]),
        np.concatenate([owner, np.repeat(np.arange(len(tracks)) + 2 * len(tracks), counts)]),
        np.concatenate([cells, np.ones(sum(counts))]),
        np.concatenate([moved, standing, moved]),
        np.concatenate([rotation.T @ covariance @ rotation] * 3),
        np.concatenate([(zoom * extents).ravel(), extents]),
        np.repeat(_TRUST, len(tracks)),
    )


def _seen_from(
    tracks: list[Track], places: np.ndarray, rotation: np.ndarray, grid: Intrinsics
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The remembered views as seen from F ``places`` (F, T, 3) each, in the frame of a camera turned by ``rotation``.

    Returns
    -------
    (P, 2) int64 row and column of points, (P,) of which place in row-major order they are, (P,) how many grid cells
    they fill, 0 out of sight; (F, T) by how much the views are zoomed.
    """
    counts = [len(t.shape) for t in tracks]
    of = np.repeat(np.arange(len(tracks)), counts)
    points = np.concatenate([t.shape for t in tracks]) @ rotation + places[:, of]  # (F, M, 3)
    at = project(torch.from_numpy(points), grid).numpy()[..., ::-1]  # row, column; NaN behind the camera
    before = np.concatenate([t.thing.points[:, 2] for t in tracks])
    zoom = np.clip(before / np.maximum(points[..., 2], 1e-3), *_ZOOM)  # (F, M)
    row, column = at[..., 0], at[..., 1]
    inside = (row > -0.5) & (row < grid.height - 0.5) & (column > -0.5) & (column < grid.width - 0.5)  # NaN is not
    pixels = np.rint(np.where(np.stack([inside, inside], -1), at, 0)).astype(np.int64).reshape(-1, 2)
    cells = np.array([t.thing.cells for t in tracks])[of] * zoom**2 * inside
    owner = (of + len(tracks) * np.arange(len(places))[:, None]).ravel()
    zooms = np.bincount(owner, zoom.ravel()).reshape(len(places), -1) / counts
    return pixels, owner, cells.ravel(), zooms


def seen_shares(before: list[Track | None], things: list[Thing]) -> np.ndarray:
    """(N,) seen pixels of each thing as a share of those that its remembered view would have at this distance; or 1."""
    views = [thing if track is None else track.thing for track, thing in zip(before, things, strict=True)]
    zoom = np.clip([v.depth / t.depth for v, t in zip(views, things, strict=True)], *_ZOOM)
    return np.array([len(t.pixels) / len(v.pixels) for v, t in zip(views, things, strict=True)]) / zoom**2

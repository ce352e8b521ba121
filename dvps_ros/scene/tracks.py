"""What is remembered of things, and where they should be seen next."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from dvps_ros.scene.association import Forecast
from dvps_ros.scene.rays import project
from dvps_ros.scene.things import Thing
from dvps_ros.structures import Intrinsics

#: How far forecasts are trusted: it stands still; it is seen where it was in the picture.
_STANDING, _SAME_PLACE = 0.95, 0.8
#: Zoom of a remembered view stays within these bounds.
_ZOOM = (0.3, 3.0)


@dataclass(frozen=True)
class Track:
    """What is remembered of a thing.

    ``thing`` is its last full view, taken from ``view`` (4, 4) in the fixed frame when it was at ``anchor`` (3,);
    ``mean`` (6,) and ``covariance`` (6, 6) are its place and velocity in the fixed
    frame; ``born``, ``seen`` and ``whole`` are when it was seen first, last, and not hidden last.
    """

    number: int
    thing: Thing
    view: np.ndarray
    anchor: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    born: float
    seen: float
    whole: float
    hits: int = 1

    def rescaled(self, factor: float) -> Track:
        """The same track with all distances ``factor`` times as long, from the fixed frame's origin."""
        view = self.view.copy()
        view[:3, 3] *= factor
        thing = replace(self.thing, depth=self.thing.depth * factor, points=self.thing.points * factor)
        mean, covariance = self.mean * factor, self.covariance * factor**2
        return replace(self, thing=thing, view=view, anchor=self.anchor * factor, mean=mean, covariance=covariance)


def forecasts(
    tracks: list[Track], standing: np.ndarray, pose: np.ndarray, grid: Intrinsics
) -> list[tuple[Forecast, float]]:
    """Where tracks should be: as they move, as if they stood, and where they were in the picture; each with its worth.

    Parameters
    ----------
    tracks : with means of now.
    standing : (T, 3) where they were in the frame before, in the fixed frame.
    pose : (4, 4) from the camera's frame to the fixed one.
    grid : the camera of the sampling grid.
    """
    rotation, place = pose[:3, :3], pose[:3, 3]
    spread = np.stack([rotation.T @ t.covariance[:3, :3] @ rotation for t in tracks])
    moved = (np.stack([t.mean[:3] for t in tracks]) - place) @ rotation
    standing = (standing - place) @ rotation
    return [
        (_forecast(tracks, pose, moved, spread, grid), 1.0),
        (_forecast(tracks, pose, standing, spread, grid), _STANDING),
        (_unmoved(tracks, moved, spread), _SAME_PLACE),
    ]


def _forecast(
    tracks: list[Track], pose: np.ndarray, places: np.ndarray, spread: np.ndarray, grid: Intrinsics
) -> Forecast:
    """The remembered views as seen from ``places`` (T, 3) in the camera's frame."""
    rotation = pose[:3, :3]
    point_lists, before_lists, cell_lists = [], [], []
    for track, at in zip(tracks, places, strict=True):
        turn, origin = track.view[:3, :3], track.view[:3, 3] - track.anchor
        point_lists.append((track.thing.points @ turn.T + origin) @ rotation + at)
        before_lists.append(track.thing.points[:, 2])
        cell_lists.append(np.full(len(point_lists[-1]), track.thing.cells))
    counts = [len(p) for p in point_lists]
    points, before, cells = (np.concatenate(parts) for parts in (point_lists, before_lists, cell_lists))
    pixels = project(torch.from_numpy(points), grid).numpy()[:, ::-1]  # row, column; NaN behind the camera
    zoom = np.clip(before / np.maximum(points[:, 2], 1e-3), *_ZOOM)
    inside = (
        np.isfinite(pixels).all(1) & (pixels > -0.5).all(1) & (pixels < [grid.height - 0.5, grid.width - 0.5]).all(1)
    )
    owner = np.repeat(np.arange(len(places)), counts)
    extents = np.array([t.thing.extent for t in tracks]) * np.bincount(owner, zoom) / counts
    at = np.rint(np.where(inside[:, None], pixels, 0)).astype(np.int64)
    return Forecast(at, owner, cells * zoom**2 * inside, places, spread, extents)


def _unmoved(tracks: list[Track], places: np.ndarray, spread: np.ndarray) -> Forecast:
    """The remembered views where they were in the picture."""
    views = [t.thing for t in tracks]
    pixels, counts = [v.pixels for v in views], [len(v.pixels) for v in views]
    owner = np.repeat(np.arange(len(views)), counts)
    extents = np.array([v.extent for v in views])
    return Forecast(np.concatenate(pixels), owner, np.ones(len(owner)), places, spread, extents)


def share_of(before: Track | None, thing: Thing) -> float:
    """Seen pixels as a share of those that the remembered view would have at this distance."""
    if before is None:
        return 1.0
    zoom = float(np.clip(before.thing.depth / thing.depth, *_ZOOM))
    return len(thing.pixels) / (len(before.thing.pixels) * zoom**2)

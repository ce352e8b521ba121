"""Center lines of streets, and the conversion of street coordinates (along, across, above) to world points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


class Path:
    """A smooth line in the plane, represented by its heading at regular steps.

    Parameters
    ----------
    start : s of its first point, metres.
    curvature : (N,) 1/m at steps of ``step`` metres from ``start``; positive turns left.
    origin, heading : world (x, y) in metres and direction in radians at s = 0.
    """

    def __init__(
        self,
        start: float,
        curvature: np.ndarray,
        step: float = 1.0,
        origin: tuple[float, float] = (0.0, 0.0),
        heading: float = 0.0,
    ) -> None:
        self.start, self.end = start, start + step * (len(curvature) - 1)
        self._s = start + step * np.arange(len(curvature))
        turn = np.concatenate([[0.0], np.cumsum((curvature[1:] + curvature[:-1]) / 2 * step)])
        self._heading = turn - np.interp(0.0, self._s, turn) + heading
        middle = (self._heading[1:] + self._heading[:-1]) / 2
        x = np.concatenate([[0.0], np.cumsum(np.cos(middle) * step)])
        y = np.concatenate([[0.0], np.cumsum(np.sin(middle) * step)])
        self._x = x - np.interp(0.0, self._s, x) + origin[0]
        self._y = y - np.interp(0.0, self._s, y) + origin[1]

    def heading(self, s: np.ndarray | float) -> np.ndarray:
        """Direction in radians at ``s`` (any shape)."""
        return np.interp(s, self._s, self._heading)

    def place(
        self, s: np.ndarray | float, lateral: np.ndarray | float = 0.0, height: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """World points (..., 3) at ``s`` metres along, ``lateral`` to the left and ``height`` above the ground."""
        s, lateral, height = np.broadcast_arrays(
            np.asarray(s, float), np.asarray(lateral, float), np.asarray(height, float)
        )
        heading = self.heading(s)
        beyond = np.where(s < self.start, s - self.start, np.where(s > self.end, s - self.end, 0.0))
        x = np.interp(s, self._s, self._x) + np.cos(heading) * beyond - np.sin(heading) * lateral
        y = np.interp(s, self._s, self._y) + np.sin(heading) * beyond + np.cos(heading) * lateral
        return np.stack([x, y, height], -1)

    def stations(self, first: float, last: float, spacing: float = 4.0) -> np.ndarray:
        """Ascending values of s from ``first`` to ``last``, at most ``spacing`` apart."""
        return np.linspace(first, last, max(2, int(np.ceil((last - first) / spacing)) + 1))

    def across(self, points: np.ndarray) -> np.ndarray:
        """Lateral offsets (N,) of world points (N, 2), metres to the left; accurate to millimetres in bends."""
        dx, dy = points[:, :1] - self._x, points[:, 1:] - self._y
        nearest = (dx * dx + dy * dy).argmin(1)
        row, heading = np.arange(len(points)), self._heading[nearest]
        return np.cos(heading) * dy[row, nearest] - np.sin(heading) * dx[row, nearest]


@dataclass(frozen=True)
class Corridor:
    """A track along a path that must stay free: from ``low`` to ``high`` metres to the left, up to ``top`` metres."""

    path: Path
    low: float
    high: float
    top: float

    def blocked_by(self, vertices: np.ndarray) -> bool:
        """Whether an object with these vertices (V, 3) reaches into the corridor."""
        middle = vertices[:, :2].mean(0, keepdims=True)
        reach = np.linalg.norm(vertices[:, :2] - middle, axis=1).max() + 1.0
        lateral = float(self.path.across(middle)[0])
        if lateral + reach < self.low or lateral - reach > self.high:
            return False
        below = vertices[vertices[:, 2] < self.top, :2]
        if not len(below):
            return False
        across = self.path.across(below)
        return bool(across.min() < self.high and across.max() > self.low)

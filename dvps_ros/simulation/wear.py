"""Dirt, grain and dappled shade on all surfaces: noise in world coordinates, applied to the rendered image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dvps_ros.simulation.textures import noise

_SIZE = 512
#: Size of the noise tile in metres for coarse stains and for fine grain.
_COARSE, _FINE = 41.0, 4.7
#: Distance in metres beyond which the fine grain is smaller than a pixel, for a focal length of 300 pixels.
_GRAIN_SIGHT = 8.0


@dataclass(frozen=True)
class Wear:
    """The noise of one street.

    Attributes
    ----------
    tile : (512, 512) float32 tileable noise, about -1..1.
    stains, grain, dapple : largest change of brightness by each, 0..1.
    sun : (3,) unit vector towards the sun, along which leaves cast dappled shade.
    """

    tile: np.ndarray
    stains: float
    grain: float
    dapple: float
    sun: np.ndarray

    @classmethod
    def of(cls, rng: np.random.Generator, most: float, sun: np.ndarray) -> Wear:
        """Random wear of at most ``most``; every third street has dappled shade."""
        tile = noise(rng, _SIZE, 8, 6)
        dapple = rng.uniform(0.3, 1.0) * most if rng.uniform() < 0.35 else 0.0
        return cls(tile, rng.uniform(0, 0.5) * most, rng.uniform(0, 0.6) * most, dapple, sun)

    def shade(self, points: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """Factor (H, W) float32 on the brightness of world points (H, W, 3) in metres, ``distance`` (H, W) away.

        Where the distance is 0 (the sky) the factor is 1.
        """
        x, y, z = np.moveaxis(points, -1, 0)
        factor = 1 + self.stains * (self._at(x + 0.6 * z, y - 0.8 * z, _COARSE) + self._at(x - z, y + z, 9.0)) * 0.6
        fades = np.minimum(1, _GRAIN_SIGHT / np.maximum(distance, 0.1))
        factor += self.grain * fades * self._at(x + 1.3 * z, y + 0.7 * z, _FINE)
        if self.dapple:
            slope = self.sun[:2] / max(self.sun[2], 0.15)
            u, v = x - slope[0] * z, y - slope[1] * z
            under_leaves = np.clip(4 * self._at(u, v, 97.0) + 0.3, 0, 1)
            light = np.clip(4 * self._at(v, u, 11.0) - 0.4, 0, 1)
            factor *= 1 - self.dapple * under_leaves * (1 - light)
        return np.where(distance > 0, np.clip(factor, 0.1, 2.0), 1.0).astype(np.float32)

    def _at(self, u: np.ndarray, v: np.ndarray, metres: float) -> np.ndarray:
        scale = _SIZE / metres
        column, row = (np.mod(part * scale, _SIZE).astype(np.float32) for part in (u, v))
        return cv2.remap(self.tile, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)

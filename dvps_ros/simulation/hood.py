"""The hood of the camera's own car at the bottom of the picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dvps_ros.simulation.patterns import any_color


@dataclass(frozen=True)
class Hood:
    """Shape and paint of a hood, in shares of the image's height and width.

    Attributes
    ----------
    height : height of its highest point above the lower edge.
    slope : how much lower its sides are.
    power : exponent of its outline.
    middle : column of its highest point, 0..1.
    color : (3,) RGB in 0..1.
    gloss : share of the mirrored scene in its color.
    """

    height: float
    slope: float
    power: float
    middle: float
    color: np.ndarray
    gloss: float

    @classmethod
    def of(cls, rng: np.random.Generator) -> Hood:
        """A random one."""
        return cls(
            rng.uniform(0.03, 0.16),
            rng.uniform(0.0, 0.15),
            rng.uniform(1.5, 4.0),
            rng.uniform(0.4, 0.6),
            any_color(rng),
            rng.uniform(0.1, 0.7),
        )

    def draw(self, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The image (H, W, 3) float in 0..1 with the hood in front, and the mask of the hood (H, W) bool."""
        height, width = rgb.shape[:2]
        across = np.abs(np.arange(width) / (width - 1) - self.middle) * 2
        edge = height * (1 - self.height + self.slope * across**self.power)
        below = np.arange(height)[:, None] - edge  # pixels below the hood's edge
        cover = np.clip(below + 0.5, 0, 1)[..., None]
        mirrored = cv2.GaussianBlur(rgb[::-1], (0, 0), 0.01 * width + 1)
        shade = 1 - 0.5 * np.clip(below / max(self.height * height, 1), 0, 1)[..., None]
        paint = (self.color * (1 - self.gloss) + mirrored * self.gloss) * shade
        return (rgb * (1 - cover) + paint * cover).astype(np.float32), below > 0

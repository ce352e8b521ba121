"""Parts of vehicles: colors, wheels, lamps and glass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dvps_ros.simulation.shapes import Mesh, box, merge, quads, tube
from dvps_ros.simulation.world import Palette

GLASS = (0.09, 0.11, 0.14)

GLASS_LIGHT = (0.30, 0.36, 0.42)

RUBBER = (0.045, 0.045, 0.05)

METAL = (0.55, 0.56, 0.58)

DARK = (0.10, 0.10, 0.11)

WHITE_LAMP = (0.95, 0.95, 0.88)

RED_LAMP = (0.72, 0.05, 0.04)

AMBER_LAMP = (0.95, 0.55, 0.08)

_CAR_COLORS = (
    (0.80, 0.80, 0.80), (0.88, 0.88, 0.86), (0.08, 0.08, 0.09), (0.24, 0.25, 0.27), (0.45, 0.47, 0.49),
    (0.55, 0.07, 0.07), (0.10, 0.18, 0.42), (0.18, 0.34, 0.58), (0.14, 0.28, 0.18), (0.62, 0.50, 0.20),
    (0.75, 0.40, 0.10), (0.40, 0.26, 0.16), (0.60, 0.66, 0.62), (0.32, 0.10, 0.14), (0.80, 0.72, 0.50),
)  # fmt: skip


@dataclass(frozen=True)
class Vehicle:
    """A vehicle's mesh and its length and width in metres."""

    mesh: Mesh
    length: float
    width: float


def vehicle_color(rng: np.random.Generator) -> np.ndarray:
    """A paint: (3,) RGB in 0..1."""
    return np.clip(np.asarray(_CAR_COLORS[rng.integers(len(_CAR_COLORS))]) + rng.normal(0, 0.03, 3), 0.03, 0.95)


def wheel(palette: Palette, x: float, y: float, radius: float, width: float) -> Mesh:
    """A wheel whose outer face is at lateral ``y``."""
    side = np.sign(y)
    tyre = tube((x, y - side * width, radius), (x, y, radius), radius, palette(RUBBER), sides=14)
    rim = tube((x, y, radius), (x, y + side * 0.012, radius), radius * 0.62, palette(METAL), sides=10)
    hub = tube((x, y, radius), (x, y + side * 0.02, radius), radius * 0.22, palette(DARK), sides=6)
    return merge([tyre, rim, hub])


def wheels(palette: Palette, axles: list[float], half_width: float, radius: float, width: float = 0.22) -> Mesh:
    """Wheels with their arches on both sides of each axle."""
    arches, discs = [], []
    for x in axles:
        for side in (-1, 1):
            y = side * half_width
            arches.append(tube((x, y - side * 0.3, radius), (x, y + side * 0.004, radius), radius * 1.17,
                               palette((0.03, 0.03, 0.03)), sides=14))  # fmt: skip
            discs.append(wheel(palette, x, y + side * 0.008, radius, width))
    return merge(arches + discs)


def lamps(palette: Palette, front: float, rear: float, half_width: float, z: float, size: float = 0.28) -> Mesh:
    """Head and tail lamps of both sides."""
    parts = []
    for side in (-1, 1):
        y = side * (half_width - size / 2 - 0.06)
        parts.append(box((front, y, z), (0.06, size, 0.13), palette(WHITE_LAMP)))
        parts.append(box((rear, y, z + 0.06), (0.06, size * 0.8, 0.18), palette(RED_LAMP)))
        parts.append(box((rear, y - side * size * 0.55, z + 0.03), (0.05, 0.1, 0.12), palette(AMBER_LAMP)))
    parts.append(box((rear - 0.01, 0, z - 0.05), (0.05, 0.46, 0.12), palette((0.9, 0.9, 0.8))))
    parts.append(box((front + 0.01, 0, z - 0.24), (0.05, 0.46, 0.11), palette((0.9, 0.9, 0.8))))
    return merge(parts)


def side_glass(palette: Palette, low: np.ndarray, high: np.ndarray, half: tuple[float, float], color) -> Mesh:
    """Glass on both sides: ``low``, ``high`` (x of the rear end, of the front end, z), and half widths there."""
    (z0, z1), (y0, y1) = (low[2], high[2]), half
    corners = np.array([[low[0], y0, z0], [high[0], y1, z1], [high[1], y1, z1], [low[1], y0, z0]])
    mirror = corners[::-1] * [1, -1, 1]
    return quads(np.stack([corners, mirror]), palette(color))

"""Houses: facades with windows from textures, and geometry for roofs, balconies and pipes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dvps_ros.simulation.shapes import Mesh, box, merge, prism, quads, tube
from dvps_ros.simulation.world import Palette

GROUND_FLOOR = 3.6
FLOOR = 3.1
BAY = 3.2


@dataclass(frozen=True)
class Materials:
    """Names of the materials of a street's houses, and the wall color of each facade."""

    facades: tuple[str, ...]
    colors: tuple[tuple[float, float, float], ...]
    ground_floors: tuple[str, ...]
    roofs: tuple[str, ...]


def house(
    rng: np.random.Generator, palette: Palette, materials: Materials, width: float, depth: float, floors: int
) -> Iterator[tuple[Mesh, str]]:
    """A house as (mesh, material) parts: the front on the line x = 0 facing +x, y from -width/2 to width/2."""
    choice = int(rng.integers(len(materials.facades)))
    wall, color = materials.facades[choice], np.asarray(materials.colors[choice])
    height = GROUND_FLOOR + FLOOR * floors
    y = width / 2
    phase = rng.integers(0, 4, 2)
    bays = max(1, round(width / BAY))
    upper, lower = [], []
    corners = [(0, -y), (0, y), (-depth, y), (-depth, -y), (0, -y)]
    for k, ((x0, y0), (x1, y1)) in enumerate(pairwise(corners)):
        count = bays if k % 2 == 0 else max(1, round(depth / BAY))
        u = np.array([0, count, count, 0]) / 4 + phase[0] / 4
        v = np.array([0, 0, floors, floors]) / 4 + phase[1] / 4
        span = [[x0, y0], [x1, y1], [x1, y1], [x0, y0]]
        z = [GROUND_FLOOR, GROUND_FLOOR, height, height]
        upper.append(quads(np.column_stack([span, z]), -np.stack([-u, v], -1)))
        start = rng.integers(0, 8) / 8
        u = np.array([0, count, count, 0]) / 8 + start
        z = [0, 0, GROUND_FLOOR, GROUND_FLOOR]
        lower.append(quads(np.column_stack([span, z]), np.stack([u, [1, 1, 0, 0]], -1)))
    yield merge(upper), wall
    yield merge(lower), materials.ground_floors[rng.integers(len(materials.ground_floors))]

    trim = palette(np.clip(color * rng.uniform(0.7, 1.15), 0, 1))
    pale = palette((0.80, 0.79, 0.76))
    details = [box((0.06 - depth / 2, 0, GROUND_FLOOR), (depth + 0.24, width + 0.1, 0.22), trim)]
    if rng.uniform() < 0.45:
        yield from _gable(rng, palette, materials, width, depth, height, palette(color))
    else:
        details.append(box((-depth / 2 + 0.05, 0, height + 0.2), (depth + 0.5, width + 0.02, 0.4), pale))
        details.append(box((-depth / 2, 0, height + 0.55), (depth, width - 0.2, 0.5), trim))
        for _ in range(rng.integers(0, 3)):
            at = (rng.uniform(-depth * 0.7, -depth * 0.3), rng.uniform(-y * 0.6, y * 0.6), height + 1.1)
            details.append(box(at, (1.6, 2.2, 1.4), palette((0.55, 0.55, 0.55))))
    if rng.uniform() < 0.4 and floors > 1:
        details += _balconies(rng, palette, width, bays, floors, phase)
    for side in (-1, 1):  # rain pipes
        details.append(tube((0.07, side * (y - 0.15), 0), (0.07, side * (y - 0.15), height), 0.055, trim, sides=5))
    yield merge(details), "matte"


def _gable(rng, palette, materials, width, depth, height, wall) -> Iterator[tuple[Mesh, str]]:
    """A ridge roof along the street, with gable walls, chimneys and sometimes dormers."""
    rise, eaves, y = depth * rng.uniform(0.28, 0.42), 0.45, width / 2
    ridge = height + rise
    drop = eaves * rise / (depth / 2)
    slope = np.hypot(depth / 2 + eaves, rise + drop)
    u, v = width / 4, slope / 4
    uv = np.array([[0, 0], [u, 0], [u, v], [0, v]])
    front = [[eaves, -y, height - drop], [eaves, y, height - drop], [-depth / 2, y, ridge], [-depth / 2, -y, ridge]]
    back = [[-depth - eaves, y, height - drop], [-depth - eaves, -y, height - drop],
            [-depth / 2, -y, ridge], [-depth / 2, y, ridge]]  # fmt: skip
    yield quads(np.array([front, back]), np.stack([uv, uv])), materials.roofs[rng.integers(len(materials.roofs))]
    parts = [prism(np.array([[0, height], [-depth / 2, ridge - 0.06], [-depth, height]]), y - 0.02, wall)]
    parts.append(box((eaves - 0.05, 0, height - drop - 0.04), (0.14, width, 0.14), palette((0.5, 0.5, 0.5))))
    for _ in range(rng.integers(0, 3)):
        at = rng.uniform(-y * 0.7, y * 0.7)
        parts.append(box((-depth * 0.5, at, ridge + 0.3), (0.6, 0.8, 1.6), palette((0.45, 0.25, 0.18))))
    if rng.uniform() < 0.5:
        for at in np.arange(-y + 2, y - 1.5, 3.4):
            parts.append(
                box((-depth * 0.17, at, height + rise * 0.38), (depth * 0.24, 1.5, 1.5), palette((0.8, 0.79, 0.76)))
            )
            parts.append(
                box((-depth * 0.05 + 0.01, at, height + rise * 0.38), (0.02, 1.0, 1.0), palette((0.13, 0.15, 0.19)))
            )
    yield merge(parts), "matte"


def _balconies(rng, palette, width, bays, floors, phase) -> list[Mesh]:
    slab, rail = palette((0.7, 0.69, 0.66)), palette([(0.2, 0.21, 0.22), (0.75, 0.75, 0.73)][rng.integers(2)])
    parts = []
    for bay in range(bays):
        if (bay + phase[0]) % 2:
            continue
        y = (bay + 0.5) / bays * width - width / 2
        for floor in range(1, min(floors, 5)):
            z = GROUND_FLOOR + FLOOR * floor + 0.1
            parts.append(box((0.5, y, z), (1.0, 2.3, 0.14), slab))
            parts.append(box((0.97, y, z + 0.5), (0.05, 2.3, 0.9), rail))
            parts.append(box((0.5, y - 1.13, z + 0.5), (0.95, 0.05, 0.9), rail))
            parts.append(box((0.5, y + 1.13, z + 0.5), (0.95, 0.05, 0.9), rail))
    return parts

"""Trees, bushes and hedges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dvps_ros.simulation.shapes import Mesh, blob, merge, tube


@dataclass(frozen=True)
class Tree:
    """Foliage (textured with leaves; None: bare) and wood (textured with bark), and the crown's radius in metres."""

    leaves: Mesh | None
    wood: Mesh
    radius: float


def tree(rng: np.random.Generator, bark: tuple[float, float]) -> Tree:
    """A broad-leaved tree, poplar or conifer; ``bark`` is the wood's palette point."""
    kind = rng.choice(["broad", "broad", "broad", "poplar", "conifer"])
    height = rng.uniform(5.5, 10.5)
    clumps = []
    if kind == "broad":
        trunk, radius = rng.uniform(2.1, 3.2), height * rng.uniform(0.24, 0.33)
        middle = (height + trunk) / 2
        clumps.append(blob((0, 0, middle), (radius * 0.85, radius * 0.85, (height - trunk) * 0.45), rng, 0.13, 0.5))
        for k in range(7):
            angle = k * 2.4 + rng.uniform(-0.4, 0.4)
            out, z = radius * rng.uniform(0.45, 0.75), rng.uniform(trunk + 0.4, height - 1.2)
            size = radius * rng.uniform(0.42, 0.62)
            clumps.append(
                blob((out * np.cos(angle), out * np.sin(angle), z), (size, size, size * 0.85), rng, 0.16, 0.5)
            )
    elif kind == "poplar":
        trunk, radius, height = 1.6, 1.3, height * 1.2
        for k, z in enumerate(np.linspace(trunk + 0.8, height - 1.0, 5)):
            size = radius * (1.0 - 0.12 * k)
            clumps.append(blob((rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2), z), (size, size, 1.7), rng, 0.16, 0.5))
    else:
        trunk, radius = 1.2, height * 0.2
        for k in range(6):
            size = radius * (1.1 - 0.16 * k)
            z = trunk + (height - trunk) * (k + 0.3) / 6
            clumps.append(blob((0, 0, z), (size, size, (height - trunk) / 7), rng, 0.2, 0.5))
    base = 0.11 + 0.012 * height
    wood = [tube((0, 0, -0.1), (0, 0, trunk + 1.2), base * 1.25, bark, end_radius=base * 0.7, sides=9)]
    if kind == "broad":
        for angle in (0.5, 2.4, 4.4):
            tip = (0.5 * radius * np.cos(angle), 0.5 * radius * np.sin(angle), trunk + 1.4)
            wood.append(tube((0, 0, trunk - 0.2), tip, base * 0.5, bark, end_radius=base * 0.3, sides=6))
    return Tree(merge(clumps), merge(wood), radius)


def bush(rng: np.random.Generator) -> Mesh:
    """A bush of one to three clumps, standing on the ground."""
    clumps = []
    for _ in range(rng.integers(1, 4)):
        r = rng.uniform(0.45, 0.95)
        clumps.append(blob((*rng.uniform(-0.5, 0.5, 2), r * 0.7), (r, r, r * 0.85), rng, 0.16, 0.6))
    return merge(clumps)

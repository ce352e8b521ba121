"""Motorcycles and bicycles."""

from __future__ import annotations

import numpy as np

from dvps_ros.simulation.shapes import box, ellipsoid, merge, ring, tube
from dvps_ros.simulation.vehicle_parts import (
    DARK,
    METAL,
    RED_LAMP,
    RUBBER,
    WHITE_LAMP,
    Vehicle,
    vehicle_color,
)
from dvps_ros.simulation.world import Palette


def motorcycle(rng: np.random.Generator, palette: Palette) -> Vehicle:
    """A motorcycle or scooter, 2.1 m long."""
    paint, trim, metal = palette(vehicle_color(rng)), palette(DARK), palette(METAL)
    r = 0.31
    parts = []
    for x in (-0.7, 0.72):
        parts.append(tube((x, -0.075, r), (x, 0.075, r), r, palette(RUBBER), sides=14))
        parts.append(tube((x, -0.085, r), (x, 0.085, r), r * 0.62, metal, sides=10))
    if rng.uniform() < 0.4:  # scooter: leg shield, flat floor, deep rear
        parts.append(box((0.45, 0, 0.75), (0.12, 0.42, 0.75), paint))
        parts.append(box((0.1, 0, 0.36), (0.75, 0.36, 0.1), trim))
        parts.append(box((-0.5, 0, 0.58), (0.85, 0.36, 0.5), paint, taper=0.85))
        parts.append(box((-0.45, 0, 0.87), (0.8, 0.32, 0.12), trim))
    else:
        parts.append(box((-0.02, 0, 0.45), (0.62, 0.32, 0.42), palette((0.28, 0.28, 0.3))))
        parts.append(ellipsoid((0.15, 0, 0.83), (0.36, 0.19, 0.18), paint))
        parts.append(box((-0.42, 0, 0.82), (0.75, 0.28, 0.13), trim, taper=0.85))
        parts.append(box((-0.75, 0, 0.78), (0.3, 0.2, 0.16), paint))
        parts.append(tube((-0.95, -0.2, 0.4), (0.1, -0.2, 0.32), 0.06, metal, sides=7))
    parts.append(box((0.74, 0, 0.66), (0.42, 0.18, 0.05), paint))
    for side in (-1, 1):
        parts.append(tube((0.72, side * 0.1, r), (0.46, side * 0.12, 1.0), 0.035, metal, sides=6))
    parts.append(tube((0.42, -0.36, 1.05), (0.42, 0.36, 1.05), 0.03, trim, sides=6))
    parts.append(ellipsoid((0.62, 0, 0.93), (0.1, 0.11, 0.11), palette(WHITE_LAMP)))
    parts.append(box((-0.93, 0, 0.72), (0.05, 0.18, 0.1), palette(RED_LAMP)))
    parts.append(box((-0.99, 0, 0.52), (0.03, 0.2, 0.22), palette((0.9, 0.9, 0.85))))
    return Vehicle(merge(parts), 2.1, 0.75)


def bicycle(rng: np.random.Generator, palette: Palette) -> Vehicle:
    """A bicycle, 1.75 m long."""
    frame, trim = palette(np.clip(rng.uniform(0.05, 0.8, 3), 0, 1)), palette(DARK)
    r, rear, front = 0.34, -0.52, 0.52
    crank, seat, head = (-0.08, 0, 0.30), (-0.24, 0, 0.86), (0.36, 0, 0.88)
    parts = []
    for x in (rear, front):
        parts.append(ring((x, 0, r), r - 0.03, 0.034, palette(RUBBER)))
        for angle in np.arange(4) * np.pi / 4:
            dx, dz = np.cos(angle) * (r - 0.04), np.sin(angle) * (r - 0.04)
            parts.append(tube((x - dx, 0, r - dz), (x + dx, 0, r + dz), 0.009, palette(METAL), sides=3))
        parts.append(box((x, 0, 2 * r + 0.03), (0.42, 0.07, 0.03), trim))
    for a, b in ((crank, seat), (crank, head), (seat, head), (crank, (rear, 0, r)), (seat, (rear, 0, r)),
                 (head, (front, 0, r))):  # fmt: skip
        parts.append(tube(a, b, 0.028, frame, sides=6))
    parts.append(tube(head, (0.33, 0, 1.02), 0.025, frame, sides=5))
    parts.append(tube((0.34, -0.27, 1.02), (0.34, 0.27, 1.02), 0.025, trim, sides=5))
    parts.append(tube(seat, (-0.26, 0, 0.94), 0.02, trim, sides=5))
    parts.append(ellipsoid((-0.27, 0, 0.96), (0.15, 0.08, 0.05), trim))
    parts.append(tube((-0.08, -0.05, 0.3), (-0.08, 0.05, 0.3), 0.1, trim, sides=10))
    if rng.uniform() < 0.35:
        parts.append(box((rear - 0.02, 0, 0.85), (0.4, 0.28, 0.22), palette(rng.uniform(0.15, 0.5, 3))))
    elif rng.uniform() < 0.3:
        parts.append(box((0.55, 0, 0.92), (0.28, 0.34, 0.24), palette((0.5, 0.4, 0.25))))
    parts.append(box((rear - 0.32, 0, 0.62), (0.04, 0.07, 0.08), palette(RED_LAMP)))
    return Vehicle(merge(parts), 1.75, 0.55)

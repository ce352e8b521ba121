"""Poles, lamp posts, traffic lights, traffic signs, and small objects that Cityscapes leaves unlabelled."""

from __future__ import annotations

import numpy as np

from dvps_ros.simulation.shapes import Mesh, box, ellipsoid, merge, quads, tube
from dvps_ros.simulation.world import Palette

STEEL = (0.42, 0.44, 0.45)
RED, YELLOW, GREEN = (0.95, 0.10, 0.06), (0.98, 0.72, 0.08), (0.10, 0.85, 0.38)
OFF = ((0.20, 0.05, 0.05), (0.20, 0.15, 0.05), (0.04, 0.17, 0.09))


def pole(palette: Palette, height: float, radius: float = 0.07, color=STEEL) -> Mesh:
    """A plain post with a foot."""
    foot = tube((0, 0, 0), (0, 0, min(0.5, height * 0.3)), radius * 1.5, palette(color), sides=9)
    return merge([foot, tube((0, 0, 0), (0, 0, height), radius, palette(color), end_radius=radius * 0.75, sides=9)])


def lamp_post(rng: np.random.Generator, palette: Palette) -> Mesh:
    """A street lamp reaching over the road, which lies at +x."""
    height, reach = rng.uniform(5.5, 8.5), rng.uniform(0.8, 2.2)
    color = [STEEL, (0.12, 0.17, 0.14), (0.15, 0.15, 0.16), (0.6, 0.61, 0.6)][rng.integers(4)]
    paint = palette(color)
    return merge([
        pole(palette, height, 0.085, color),
        tube((0, 0, height - 0.05), (reach, 0, height + 0.35), 0.045, paint, sides=7),
        box((reach + 0.2, 0, height + 0.36), (0.7, 0.26, 0.12), paint),
        box((reach + 0.2, 0, height + 0.29), (0.55, 0.2, 0.04), palette((0.93, 0.92, 0.85))),
    ])  # fmt: skip


def bollard(rng: np.random.Generator, palette: Palette) -> Mesh:
    """A knee-high post with a light band."""
    color = [(0.15, 0.15, 0.16), (0.55, 0.55, 0.55), (0.45, 0.12, 0.10)][rng.integers(3)]
    band = tube((0, 0, 0.68), (0, 0, 0.8), 0.083, palette((0.9, 0.9, 0.88)), sides=9)
    return merge([tube((0, 0, 0), (0, 0, 0.9), 0.08, palette(color), sides=9), band])


def signal_head(palette: Palette, lit: int) -> tuple[Mesh, Mesh]:
    """Housing and lamps of a traffic light facing +x, centred on the origin; ``lit`` 0 red, 1 yellow, 2 green."""
    black = palette((0.05, 0.055, 0.05))
    housing = [box((-0.05, 0, 0), (0.24, 0.34, 1.0), black), box((-0.18, 0, 0), (0.03, 0.52, 1.2), black)]
    lamps = []
    for k, (on, off) in enumerate(zip((RED, YELLOW, GREEN), OFF, strict=True)):
        z = 0.31 - 0.31 * k
        color = palette(on if k == lit else off)
        lamps.append(tube((0.06, 0, z), (0.085, 0, z), 0.125, color, sides=12))
        housing.append(box((0.13, 0, z + 0.14), (0.2, 0.28, 0.025), black))
    return merge(housing), merge(lamps)


def _plate(outline: np.ndarray, x: float, paint: tuple[float, float]) -> Mesh:
    """A flat polygon facing +x: outline (N,2) of (y, z), counter-clockwise."""
    middle = np.zeros((len(outline), 2))
    fan = np.stack([middle, outline, np.roll(outline, -1, 0), middle], 1)
    corners = np.concatenate([np.full((*fan.shape[:2], 1), x), fan], -1)
    mesh = quads(corners, paint)
    normals = np.tile([1.0, 0.0, 0.0], (len(mesh.vertices), 1))
    return Mesh(mesh.vertices, normals, mesh.uv, mesh.faces[::2])


def _polygon(sides: int, radius: float, turn: float = 0.0) -> np.ndarray:
    a = np.arange(sides) / sides * 2 * np.pi + turn
    return np.stack([np.cos(a), np.sin(a)], 1) * radius


def sign_face(rng: np.random.Generator, palette: Palette) -> tuple[Mesh, float]:
    """A traffic sign facing +x around the origin, and its radius in metres; one of eight kinds."""
    white, black, red = palette((0.93, 0.93, 0.92)), palette((0.06, 0.06, 0.07)), palette((0.75, 0.05, 0.06))
    blue, yellow = palette((0.06, 0.22, 0.62)), palette((0.95, 0.72, 0.10))
    kind = rng.choice(["limit", "warning", "yield", "priority", "stop", "order", "board", "parking"])
    circle, up, down = _polygon(20, 1.0), _polygon(3, 1.0, np.pi / 2), _polygon(3, 1.0, -np.pi / 2)
    r = rng.uniform(0.34, 0.48)
    if kind == "limit":
        layers = [(circle, red, 1.0), (circle, white, 0.78)]
        marks = [([-0.25, 0], (0.3, 0.75)), ([0.27, 0], (0.34, 0.75))]
    elif kind == "warning":
        layers, marks = [(up, red, 1.15), (up, white, 0.8)], [([0, -0.02], (0.15, 0.5)), ([0, -0.38], (0.15, 0.13))]
    elif kind == "yield":
        layers, marks = [(down, red, 1.15), (down, white, 0.72)], []
    elif kind == "priority":
        diamond = _polygon(4, 1.0)
        layers, marks = [(diamond, white, 1.15), (diamond, yellow, 0.85)], []
    elif kind == "stop":
        octagon = _polygon(8, 1.0, np.pi / 8)
        layers, marks = [(octagon, white, 1.1), (octagon, red, 1.0)], [([0, 0], (1.3, 0.36))]
    elif kind == "order":
        layers, marks = (
            [(circle, white, 1.0), (circle, blue, 0.92)],
            [([0, 0.0], (0.22, 1.0)), ([0.0, 0.4], (0.6, 0.2))],
        )
    else:
        square = _polygon(4, 1.25, np.pi / 4)
        if kind == "board":
            square = square * [1.6, 0.75]
        layers = [(square, white, 1.0), (square, blue if rng.uniform() < 0.6 else yellow, 0.92)]
        marks = [([-0.3, 0.3], (0.8, 0.16)), ([-0.1, 0.0], (1.1, 0.16)), ([-0.3, -0.3], (0.7, 0.16))]
        marks = marks if kind == "board" else [([-0.2, 0], (0.22, 1.1)), ([0.15, 0.3], (0.5, 0.5))]
    mark_paint = black if kind in ("limit", "warning") else white
    outline = layers[0][0] * layers[0][2] * r
    back = _plate(outline * [-1, 1], 0.0, palette((0.5, 0.51, 0.52))).turned(2, np.pi).moved(x=-0.012)
    parts = [back] + [_plate(shape * size * r, 0.004 * k, paint) for k, (shape, paint, size) in enumerate(layers)]
    for (y, z), (w, h) in marks:
        corners = np.array(
            [[y - w / 2, z - h / 2], [y + w / 2, z - h / 2], [y + w / 2, z + h / 2], [y - w / 2, z + h / 2]]
        )
        parts.append(quads(np.concatenate([np.full((4, 1), 0.012), corners * r], 1), mark_paint))
    return merge(parts), float(np.abs(outline).max())


def bin_and_bench(rng: np.random.Generator, palette: Palette) -> Mesh:
    """A litter bin, bench, letter box or advertising column, which Cityscapes leaves unlabelled."""
    kind = rng.integers(4)
    if kind == 0:
        color = palette([(0.2, 0.33, 0.2), (0.3, 0.3, 0.32), (0.75, 0.45, 0.1)][rng.integers(3)])
        return tube((0, 0, 0.05), (0, 0, 0.95), 0.25, color, end_radius=0.28, sides=10)
    if kind == 1:
        wood, iron = palette((0.42, 0.27, 0.15)), palette((0.12, 0.12, 0.12))
        parts = [box((0, 0, 0.46), (0.45, 1.7, 0.06), wood), box((-0.24, 0, 0.72), (0.06, 1.7, 0.34), wood)]
        return merge(parts + [box((0, y, 0.22), (0.42, 0.08, 0.44), iron) for y in (-0.7, 0.7)])
    if kind == 2:
        color = palette([(0.9, 0.72, 0.08), (0.72, 0.1, 0.1), (0.1, 0.2, 0.5)][rng.integers(3)])
        return merge([box((0, 0, 1.0), (0.4, 0.5, 0.7), color), box((0, 0, 0.33), (0.12, 0.12, 0.66), palette(STEEL))])
    parts = [tube((0, 0, 0), (0, 0, 2.6), 0.55, palette(rng.uniform(0.4, 0.9, 3)), sides=16)]
    for k in range(5):
        a, z = k * 1.3, rng.uniform(0.9, 2.0)
        parts.append(
            box((0.5 * np.cos(a), 0.5 * np.sin(a), z), (0.2, 0.2, 0.7), palette(rng.uniform(0.1, 0.9, 3))).moved()
        )
    return merge([*parts, ellipsoid((0, 0, 2.6), (0.62, 0.62, 0.25), palette((0.2, 0.3, 0.25)))])

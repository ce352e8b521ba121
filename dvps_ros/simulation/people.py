"""Pedestrians with swinging limbs, and riders; origin on the ground, x forward."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dvps_ros.simulation.shapes import Mesh, box, ellipsoid, merge, tube
from dvps_ros.simulation.world import Palette

_SKIN = ((0.86, 0.66, 0.54), (0.78, 0.56, 0.42), (0.60, 0.41, 0.29), (0.42, 0.28, 0.20), (0.90, 0.72, 0.62))
_HAIR = ((0.08, 0.06, 0.05), (0.22, 0.14, 0.08), (0.45, 0.33, 0.17), (0.62, 0.60, 0.58), (0.35, 0.16, 0.08))


@dataclass(frozen=True)
class Limb:
    """A mesh that swings about the y axis through ``pivot`` (x, y, z); ``phase`` +1 or -1 gives its direction."""

    mesh: Mesh
    pivot: tuple[float, float, float]
    phase: float
    swing: float


@dataclass(frozen=True)
class Person:
    """A pedestrian: the rigid part, the limbs (meshes around their own pivots) and the height in metres."""

    body: Mesh
    limbs: tuple[Limb, ...]
    height: float

    def raised(self, height: float) -> Person:
        """The same person standing ``height`` metres higher, as on a kerb."""
        limbs = tuple(replace(limb, pivot=(*limb.pivot[:2], limb.pivot[2] + height)) for limb in self.limbs)
        return replace(self, body=self.body.moved(z=height), limbs=limbs)

    def standing(self) -> Mesh:
        """The whole person as one mesh, limbs hanging straight."""
        return merge([self.body, *(limb.mesh.moved(*limb.pivot) for limb in self.limbs)])


@dataclass(frozen=True)
class _Clothes:
    skin: tuple
    hair: tuple
    top: tuple
    legs: tuple
    shoes: tuple


def _clothes(rng: np.random.Generator, palette: Palette) -> _Clothes:
    dull = rng.uniform(0.06, 0.5) + rng.uniform(-0.04, 0.04, 3)
    bright = np.clip(rng.uniform(0.05, 0.95, 3), 0, 0.9)
    legs = [(0.10, 0.12, 0.20), (0.08, 0.08, 0.09), (0.20, 0.26, 0.40), (0.42, 0.36, 0.27), (0.28, 0.28, 0.29)]
    return _Clothes(
        palette(_SKIN[rng.integers(len(_SKIN))]),
        palette(_HAIR[rng.integers(len(_HAIR))]),
        palette(bright if rng.uniform() < 0.6 else np.clip(dull, 0, 1)),
        palette(legs[rng.integers(len(legs))]),
        palette((0.08, 0.07, 0.07) if rng.uniform() < 0.6 else (0.7, 0.7, 0.68)),
    )


def _head(c: _Clothes, z: float, rng: np.random.Generator, helmet: tuple | None = None) -> Mesh:
    parts = [
        tube((0, 0, z - 0.24), (0.01, 0, z - 0.08), 0.055, c.skin, sides=6),
        ellipsoid((0.015, 0, z), (0.10, 0.08, 0.125), c.skin),
    ]
    if helmet is not None:
        parts.append(ellipsoid((-0.005, 0, z + 0.05), (0.13, 0.115, 0.115), helmet))
    else:
        parts.append(ellipsoid((-0.02, 0, z + 0.035), (0.105, 0.092, 0.112), c.hair))
        if rng.uniform() < 0.35:  # long hair
            parts.append(ellipsoid((-0.075, 0, z - 0.08), (0.055, 0.085, 0.16), c.hair))
    return merge(parts)


def _vector(x: float, y: float, z: float) -> np.ndarray:
    return np.array([x, y, z])


def pedestrian(rng: np.random.Generator, palette: Palette) -> Person:
    """A walker of random build and clothes."""
    scale = rng.normal(1.0, 0.055) if rng.uniform() > 0.12 else rng.uniform(0.62, 0.8)  # adults, and children
    c = _clothes(rng, palette)
    build = rng.uniform(0.9, 1.18)
    parts = [
        ellipsoid((0, 0, 1.28), (0.135 * build, 0.205 * build, 0.27), c.top),
        tube((0, 0, 0.86), (0, 0, 1.2), 0.155 * build, c.top, end_radius=0.17 * build, sides=9),
        ellipsoid((0, 0, 0.90), (0.135 * build, 0.165 * build, 0.13), c.legs),
        _head(c, 1.66, rng),
    ]
    if rng.uniform() < 0.18:  # skirt or coat
        parts.append(tube((0, 0, 0.5), (0, 0, 1.0), 0.27, c.top, end_radius=0.16, sides=10))
    bag = rng.uniform()
    if bag < 0.2:
        parts.append(box((-0.2, 0, 1.25), (0.16, 0.28, 0.42), palette(rng.uniform(0.05, 0.7, 3)), taper=0.85))
    elif bag < 0.35:
        parts.append(box((0.0, 0.27, 0.82), (0.3, 0.1, 0.24), palette(rng.uniform(0.1, 0.6, 3))))
    limbs = []
    for side in (-1, 1):
        leg = merge([
            tube((0, 0, 0.02), (0.01, 0, -0.44), 0.085 * build, c.legs, end_radius=0.062, sides=6),
            tube((0.01, 0, -0.42), (-0.02, 0, -0.84), 0.062, c.legs, end_radius=0.048, sides=6),
            ellipsoid((0.045, 0, -0.865), (0.135, 0.05, 0.05), c.shoes, 0),
        ])  # fmt: skip
        arm = merge([
            ellipsoid((0, 0, -0.02), (0.065, 0.065, 0.075), c.top, 0),
            tube((0, 0, 0), (0.0, side * 0.03, -0.3), 0.055 * build, c.top, end_radius=0.045, sides=6),
            tube((0.0, side * 0.03, -0.28), (0.07, side * 0.02, -0.54), 0.044, c.top, end_radius=0.034, sides=6),
            ellipsoid((0.085, side * 0.02, -0.59), (0.045, 0.035, 0.06), c.skin, 0),
        ])  # fmt: skip
        limbs.append(Limb(leg.moved(scale=scale), (0, side * 0.095 * scale, 0.915 * scale), side, 0.48))
        limbs.append(Limb(arm.moved(scale=scale), (0, side * 0.225 * build * scale, 1.42 * scale), -side, 0.42))
    return Person(merge(parts).moved(scale=scale), tuple(limbs), 1.78 * scale)


def rider(rng: np.random.Generator, palette: Palette, motorized: bool) -> Mesh:
    """A person seated on a bicycle or motorcycle (whose own mesh stands at the same origin)."""
    c = _clothes(rng, palette)
    hip = np.array([-0.27, 0, 0.98]) if not motorized else np.array([-0.32, 0, 0.93])
    lean = rng.uniform(0.18, 0.42) if not motorized else rng.uniform(0.05, 0.22)
    shoulder = hip + _vector(np.sin(lean) * 0.52, 0, np.cos(lean) * 0.52)
    head = shoulder + _vector(0.06 + np.sin(lean) * 0.1, 0, 0.24)
    helmeted = motorized or rng.uniform() < 0.5
    helmet = palette(rng.uniform(0.05, 0.95, 3)) if helmeted else None
    middle = (hip + shoulder) / 2
    parts = [
        tube(hip, shoulder, 0.15, c.top, end_radius=0.165, sides=9),
        ellipsoid(shoulder - _vector(0.01, 0, 0.02), (0.13, 0.21, 0.12), c.top),
        ellipsoid(hip, (0.155, 0.17, 0.13), c.legs),
        _head(c, 0.0, rng, helmet).moved(*head),
    ]
    if rng.uniform() < 0.3:
        parts.append(box(middle + _vector(-0.2, 0, 0.05), (0.15, 0.28, 0.4), palette(rng.uniform(0.05, 0.7, 3))))
    bars = np.array([0.36, 0, 1.06])
    phase = rng.uniform(0, np.pi)
    for side in (-1, 1):
        if motorized:
            foot, knee = np.array([-0.08, side * 0.2, 0.3]), np.array([0.14, side * 0.24, 0.74])
        else:
            turn = phase + (np.pi if side > 0 else 0)
            foot = np.array([-0.08 + 0.16 * np.cos(turn), side * 0.12, 0.30 + 0.16 * np.sin(turn)])
            # two links of 0.44 m from hip to foot, knee forward
            span = foot - (hip + _vector(0, side * 0.1, 0))
            reach = min(float(np.hypot(span[0], span[2])), 0.86)
            bend = np.sqrt(max(0.44**2 - (reach / 2) ** 2, 0.0))
            ahead = np.array([-span[2], 0, span[0]]) / (np.hypot(span[0], span[2]) + 1e-9)
            knee = hip + _vector(0, side * 0.1, 0) + span / 2 + ahead * bend
        start = hip + _vector(0, side * 0.1, 0)
        hand, elbow = bars + _vector(0, side * 0.27, 0), (shoulder + bars) / 2 + _vector(0, side * 0.28, -0.06)
        arm = shoulder + _vector(0, side * 0.2, 0)
        parts += [
            tube(start, knee, 0.085, c.legs, end_radius=0.065, sides=6),
            tube(knee, foot + _vector(0, 0, 0.06), 0.063, c.legs, end_radius=0.05, sides=6),
            ellipsoid(foot + _vector(0.05, 0, 0.03), (0.135, 0.05, 0.05), c.shoes, 0),
            tube(arm, elbow, 0.055, c.top, end_radius=0.045, sides=6),
            tube(elbow, hand, 0.045, c.top, end_radius=0.036, sides=6),
            ellipsoid(hand, (0.05, 0.05, 0.05), c.skin, 0),
        ]
    return merge(parts)

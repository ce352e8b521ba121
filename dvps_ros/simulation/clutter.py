"""Extra details of roads: arrows and colored lines, patches, seams and manholes, railings at the kerb."""

from __future__ import annotations

import numpy as np

from dvps_ros.simulation.frontage import Frontage
from dvps_ros.simulation.ground import band
from dvps_ros.simulation.shapes import quads
from dvps_ros.simulation.site import Site

#: Heights in metres: patches lie below all paint, manholes and arrows above it.
_PATCH, _LINE, _ARROW, _MANHOLE = 0.0025, 0.0075, 0.009, 0.011
#: Outline of an arrow along +s, 5 m long and 0.9 m wide, as quadrilaterals of (s, lateral).
_STRAIGHT = (((0, -0.08), (3.2, -0.08), (3.2, 0.08), (0, 0.08)), ((3.2, -0.45), (5, 0), (5, 0), (3.2, 0.45)))
_TURN = (((0, -0.08), (2.6, -0.08), (2.6, 0.08), (0, 0.08)), ((2.4, 0.0), (2.9, 0.5), (3.2, 0.5), (2.7, -0.08)),
         ((2.5, 0.75), (3.4, 0.3), (3.9, 0.95), (3.9, 0.95)))  # fmt: skip


def build_clutter(site: Site, frontage: Frontage, rng: np.random.Generator, share: float) -> None:
    """Add each kind of detail with probability ``share``, drawn from ``rng``."""
    for build in (_patches, _seams, _manholes, _kerb_lines, _arrows):
        if rng.uniform() < share:
            build(site, rng)
    if rng.uniform() < share:
        _railings(site, frontage, rng)


def _asphalt(site: Site, rng: np.random.Generator):
    return site.world.palette(np.full(3, rng.uniform(0.08, 0.5)) * [1.0, 0.99, 0.97])


def _patches(site: Site, rng: np.random.Generator) -> None:
    half, road = site.section.road, site.world.value("road")
    for s in np.arange(site.low, site.high, rng.uniform(5, 25)):
        length, low = rng.uniform(0.6, 7), rng.uniform(-half + 0.3, half - 0.8)
        high = min(low + rng.uniform(0.4, 3.0), half - 0.2)
        site.world.put(band(site.path, s, s + length, low, high, _asphalt(site, rng), _PATCH), "matte", road)


def _seams(site: Site, rng: np.random.Generator) -> None:
    """Sealed cracks: thin dark lines, along and across."""
    half, road = site.section.road, site.world.value("road")
    tar = site.world.palette(np.full(3, rng.uniform(0.03, 0.12)))
    for s in np.arange(site.low, site.high, rng.uniform(6, 20)):
        lateral, length, width = rng.uniform(-half + 0.5, half - 0.5), rng.uniform(2, 14), rng.uniform(0.02, 0.07)
        site.world.put(band(site.path, s, s + length, lateral, lateral + width, tar, _PATCH), "matte", road)
        if rng.uniform() < 0.5:
            right, left = sorted(rng.uniform(-half + 0.2, half - 0.2, 2))
            site.world.put(band(site.path, s, s + width, right, left, tar, _PATCH), "matte", road)


def _manholes(site: Site, rng: np.random.Generator) -> None:
    half, road = site.section.road, site.world.value("road")
    angle = np.linspace(0, 2 * np.pi, 13)
    for s in np.arange(site.low, site.high, rng.uniform(9, 30)):
        lateral, radius = rng.uniform(-half + 0.6, half - 0.6), rng.uniform(0.25, 0.42)
        iron = site.world.palette(np.full(3, rng.uniform(0.06, 0.3)) * [1.05, 1.0, 0.95])
        if rng.uniform() < 0.3:  # a gully at the kerb
            side = rng.choice([-1, 1]) * (half - 0.28)
            site.world.put(band(site.path, s, s + 0.45, side - 0.18, side + 0.18, iron, _MANHOLE), "matte", road)
            continue
        rim = site.path.place(s + radius * np.cos(angle), lateral + radius * np.sin(angle), _MANHOLE)
        middle = np.broadcast_to(site.path.place(s, lateral, _MANHOLE), (12, 3))
        site.world.put(quads(np.stack([middle, rim[:-1], rim[1:], middle], 1), iron), "matte", road)


def _kerb_lines(site: Site, rng: np.random.Generator) -> None:
    """Yellow or red lines along the kerb, one or two."""
    colors = ((0.85, 0.66, 0.12), (0.8, 0.6, 0.2), (0.7, 0.12, 0.1), (0.86, 0.86, 0.84))
    paint = site.world.palette(np.asarray(colors[rng.integers(4)]) * rng.uniform(0.6, 1.0))
    road, count = site.world.value("road"), int(rng.integers(1, 3))
    for side in (-1, 1):
        for first, last in site.free(side, 1.0):
            for k in range(count):
                low, high = sorted(side * (site.section.road - 0.25 - 0.2 * k + width) for width in (-0.05, 0.05))
                site.world.put(band(site.path, first, last, low, high, paint, _LINE), "matte", road)


def _arrows(site: Site, rng: np.random.Generator) -> None:
    white = site.world.palette(np.full(3, rng.uniform(0.6, 0.9)))
    road = site.world.value("road")
    for junction in site.junctions:
        for lane in range(site.section.lanes):
            shape = [_STRAIGHT, _TURN, tuple(tuple((s, -y) for s, y in part[::-1]) for part in _TURN)][rng.integers(3)]
            for side, before in ((-1, junction.s - junction.half - 13), (1, junction.s + junction.half + 13)):
                for start in (before, before + side * 18):
                    corners = np.array(shape)
                    s = start - side * corners[..., 0]
                    y = side * (site.section.lane_center(lane) - corners[..., 1])
                    site.world.put(quads(site.path.place(s, y, _ARROW), white), "matte", road)


def _railings(site: Site, frontage: Frontage, rng: np.random.Generator) -> None:
    for side in (-1, 1):
        for first, last in site.free(side, 1.5):
            if last - first > 12 and rng.uniform() < 0.6:
                start = rng.uniform(first, last - 10)
                stop = min(last, start + rng.uniform(8, 40))
                frontage.railing(start, stop, side * (site.section.road + 0.3))

"""Roads with their markings, kerbs, sidewalks, verges and medians, of the main street and of its side streets."""

from __future__ import annotations

import numpy as np

from dvps_ros.simulation.paths import Path
from dvps_ros.simulation.shapes import Mesh, quads
from dvps_ros.simulation.site import KERB, CrossSection, Junction, Site

_PAINT_HEIGHT = 0.006
SIDE_STREET_END = 78.0


def build_ground(site: Site) -> None:
    """Build all flat parts of the main street and its side streets."""
    section, world = site.section, site.world
    half = section.road
    road, sidewalk, terrain = (world.value(name) for name in ("road", "sidewalk", "terrain"))
    site.strip(site.low, site.high, [[-half, 0], [half, 0]], "asphalt", road, (0.1, 0.1))
    for side in (-1, 1):
        for first, last in site.free(side):
            _sidewalk(site, first, last, side, section)
    _median(site)
    _markings(site)
    far = 260.0
    x, y, _ = site.path.place((site.low + site.high) / 2)
    corners = np.array([[-far, -far], [far, -far], [far, far], [-far, far]]) + np.array([x, y])
    world.put(quads(np.column_stack([corners, np.full(4, -0.06)]), corners / 6), "grass", terrain)
    for junction in site.junctions:
        for side in junction.sides:
            path = side_path(site, junction, side)
            h = junction.half
            site.strip(half, SIDE_STREET_END, [[-h, 0], [h, 0]], "side_asphalt", road, (0.1, 0.1), path)
            for flank in (-1, 1):
                profile = _mirror([[h, 0], [h, KERB], [h + junction.sidewalk, KERB]], flank)
                site.strip(section.edge, SIDE_STREET_END, profile, "paving", sidewalk, (0.25, 0.25), path, caps=True)
            _side_markings(site, junction, path)


def side_path(site: Site, junction: Junction, side: int) -> Path:
    """The center line of a side street, s = 0 on the main street's center line."""
    x, y, _ = site.path.place(junction.s)
    heading = float(site.path.heading(junction.s)) + side * np.pi / 2
    return Path(0.0, np.zeros(120), origin=(x, y), heading=heading)


def _mirror(profile: list[list[float]], side: int) -> np.ndarray:
    """A profile that is given for the left side, for ``side``."""
    left = np.asarray(profile, float)
    return left if side > 0 else (left * [-1, 1])[::-1]


def _sidewalk(site: Site, first: float, last: float, side: int, section: CrossSection) -> None:
    world, half = site.world, section.road
    sidewalk = world.value("sidewalk")
    stone = [[half, 0], [half, KERB], [half + 0.16, KERB]]
    site.strip(first, last, _mirror(stone, side), "concrete", sidewalk, (0.25, 0.25))
    inner = half + 0.16
    if section.verge:
        strip = [[inner, KERB + 0.01], [half + section.verge, KERB + 0.01]]
        site.strip(first, last, _mirror(strip, side), "grass", world.value("terrain"), (1 / 6, 1 / 6))
        inner = half + section.verge
    paved = [[inner, KERB], [section.edge, KERB], [section.edge, 0]]
    site.strip(first, last, _mirror(paved, side), "paving", sidewalk, (0.25, 0.25))
    for s in (first, last):  # the kerb turns the corner
        across = _mirror([[half, 0], [half, KERB], [section.edge, KERB], [section.edge, 0]], side)
        site.strip(s - 0.004, s + 0.004, across, "concrete", sidewalk, (0.25, 0.25), caps=True)


def _median(site: Site) -> None:
    section, world = site.section, site.world
    w = section.median_width / 2
    gaps = sorted((j.s - j.half - 3, j.s + j.half + 3) for j in site.junctions)
    edges = [site.low, *(x for gap in gaps for x in gap), site.high]
    if section.median == "tram":
        bed = "cobbles" if site.rng.uniform() < 0.5 else "concrete"
        site.strip(site.low, site.high, [[-w + 0.3, 0.004], [w - 0.3, 0.004]], bed, world.value("road"), (0.25, 0.25))
        steel = world.palette((0.30, 0.29, 0.28))
        for track in (-1.65, 1.65):
            for rail in (-0.72, 0.72):
                y = track + rail
                mesh = band(site.path, site.low, site.high, y - 0.06, y + 0.06, steel, 0.012)
                world.put(mesh, "glossy", world.value("road"))
    elif section.median == "green":
        for first, last in zip(edges[::2], edges[1::2], strict=True):
            kerbs = [[-w, 0], [-w, KERB], [w, KERB], [w, 0]]
            site.strip(first, last, kerbs, "concrete", world.value("sidewalk"), (0.25, 0.25), caps=True)
            lawn = [[-w + 0.2, KERB + 0.03], [w - 0.2, KERB + 0.03]]
            site.strip(first, last, lawn, "grass", world.value("terrain"), (1 / 6, 1 / 6))


def band(path: Path, first: float, last: float, low: float, high: float, paint, height: float = _PAINT_HEIGHT) -> Mesh:
    """A painted band between two laterals."""
    s = path.stations(first, last)
    a, b = path.place(s, low, height), path.place(s, high, height)
    return quads(np.stack([a[:-1], a[1:], b[1:], b[:-1]], 1), paint)


def _markings(site: Site) -> None:
    section, world, rng = site.section, site.world, site.rng
    white = world.palette(np.array([0.88, 0.88, 0.85]) * rng.uniform(0.82, 1.0))
    road = world.value("road")
    gaps = [(j.s - j.half - 4.5, j.s + j.half + 4.5) for j in site.junctions]
    inner = section.median_width / 2

    def stretches() -> list[tuple[float, float]]:
        edges = [site.low, *(x for gap in gaps for x in gap), site.high]
        return list(zip(edges[::2], edges[1::2], strict=True))

    def paint(first: float, last: float, lateral: float, width: float = 0.13) -> None:
        world.put(band(site.path, first, last, lateral - width / 2, lateral + width / 2, white), "matte", road)

    dash, period = rng.choice([3.0, 4.0]), rng.choice([8.0, 12.0])
    solid = rng.uniform() < 0.3
    for first, last in stretches():
        dashed = [lateral * side for k in range(1, section.lanes) for side in (-1, 1)
                  for lateral in (inner + k * section.lane,)]  # fmt: skip
        if section.median == "none":
            if solid:
                paint(first, last, -0.12)
                paint(first, last, 0.12)
            else:
                dashed.append(0.0)
        for lateral in dashed:
            for s in np.arange(first + 1, last - dash, period):
                paint(s, s + dash, lateral)
        outer = inner + section.lanes * section.lane
        for side in (-1, 1):
            if section.cycle > 1:
                red = world.palette((0.48, 0.22, 0.19)) if solid else None
                low, high = sorted((side * (outer + 0.15), side * (outer + section.cycle - 0.05)))
                if red is not None:
                    world.put(band(site.path, first, last, low, high, red, 0.003), "matte", road)
                paint(first, last, side * outer)
            if section.parking and rng.uniform() < 0.7:
                paint(first, last, side * (outer + section.cycle), 0.1)
    for junction in site.junctions:
        before, after = junction.s - junction.half - 4.2, junction.s + junction.half + 1.2
        for s in (before, after):
            _zebra(site, s, 3.0, white)
        for lane in range(section.lanes):
            y = section.lane_center(lane)
            for s, side in ((before - 1.2, -1), (after + 4.2, 1)):
                low, high = side * y - section.lane * 0.45, side * y + section.lane * 0.45
                world.put(band(site.path, s - 0.2, s + 0.2, low, high, white), "matte", road)
    for s in crossings(site):
        _zebra(site, s - 1.75, 3.5, white)


def crossings(site: Site) -> list[float]:
    """Values of s of the pedestrian crossings between junctions."""
    rng = np.random.default_rng([int(site.section.edge * 1e6), 5])
    return [s for s in np.arange(site.low + 30, site.high - 20, 58.0) + rng.uniform(-8, 8)
            if site.clear_of_junctions(s, 22)]  # fmt: skip


def _zebra(site: Site, s: float, length: float, white) -> None:
    half = site.section.road
    bars = [band(site.path, s, s + length, y - 0.25, y + 0.25, white, 0.016) for y in np.arange(-half + 0.5, half, 1.0)]
    for bar in bars:
        site.world.put(bar, "matte", site.world.value("road"))


def _side_markings(site: Site, junction: Junction, path: Path) -> None:
    white, road = site.world.palette((0.84, 0.84, 0.82)), site.world.value("road")
    start = site.section.road
    for y in np.arange(-junction.half + 0.5, junction.half, 1.0):  # the sidewalk's zebra across the mouth
        site.world.put(band(path, start + 0.6, start + 3.2, y - 0.25, y + 0.25, white), "matte", road)
    for s in np.arange(start + 6, SIDE_STREET_END, 8.0):
        site.world.put(band(path, s, s + 3, -0.07, 0.07, white), "matte", road)

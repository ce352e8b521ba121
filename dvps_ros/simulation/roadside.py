"""Street trees, lamps, signs, traffic lights, parked vehicles and small objects."""

from __future__ import annotations

import numpy as np

from dvps_ros.simulation import furniture, vehicles
from dvps_ros.simulation.frontage import Frontage, bollards
from dvps_ros.simulation.ground import SIDE_STREET_END, crossings, side_path
from dvps_ros.simulation.people import pedestrian
from dvps_ros.simulation.shapes import Mesh, tube
from dvps_ros.simulation.site import KERB, Site, inward


def build_roadside(site: Site, frontage: Frontage) -> None:
    """Build everything between the road and the plots, and the parking lanes."""
    for side in (-1, 1):
        _trees(site, frontage, side)
        _lamps(site, side)
        _signs(site, side)
        _small_things(site, side)
        _parked(site, side)
        _cycle_stands(site, side)
    _traffic_lights(site)
    for junction in site.junctions:
        for side in junction.sides:
            _side_street(site, frontage, junction, side)
    if site.section.median == "green":
        for s in np.arange(site.low, site.high, site.rng.uniform(9, 16)):
            if site.clear_of_junctions(s, 7):
                frontage.stand_tree(s, 0.0, 0.75)


def _curb_side(site: Site) -> float:
    """Lateral distance of objects near the kerb."""
    return site.section.road + (site.section.verge * 0.5 if site.section.verge else 0.55)


def _trees(site: Site, frontage: Frontage, side: int) -> None:
    rng = site.rng
    if rng.uniform() < (0.2 if site.section.verge else 0.5):
        return
    spacing = rng.uniform(9, 17)
    for s in np.arange(site.low + rng.uniform(0, spacing), site.high, spacing):
        if site.clear_of_junctions(s, 6) and rng.uniform() < 0.85:
            frontage.stand_tree(s, side * (_curb_side(site) + 0.25), 0.78)


def _lamps(site: Site, side: int) -> None:
    rng = site.rng
    lamp = furniture.lamp_post(rng, site.world.palette)
    spacing = rng.uniform(18, 30)
    for s in np.arange(site.low + (spacing / 2 if side > 0 else 0) + rng.uniform(0, 6), site.high, spacing):
        if site.clear_of_junctions(s, 4):
            site.put(lamp.moved(z=KERB), "matte", site.world.value("pole"), s, side * _curb_side(site), inward(side))


def _sign(site: Site, s: float, lateral: float, facing: float, path=None) -> None:
    rng, palette = site.rng, site.world.palette
    height = rng.uniform(2.3, 3.0)
    face, radius = furniture.sign_face(rng, palette)
    heads = [(face, height - radius)]
    if rng.uniform() < 0.35:
        second, r = furniture.sign_face(rng, palette)
        heads.append((second, height - 2 * radius - r - 0.05))
    bottom = min(z - radius for _, z in heads)
    if bottom < 1.2:
        heads = heads[:1]
    site.put(
        furniture.pole(palette, height + 0.1, 0.045).moved(z=KERB),
        "matte",
        site.world.value("pole"),
        s,
        lateral,
        facing,
        path,
    )
    for mesh, z in heads:
        site.put(mesh.moved(x=0.075, z=z + KERB), "matte", site.world.value("traffic sign"), s, lateral, facing, path)


def _signs(site: Site, side: int) -> None:
    rng = site.rng
    s = site.low + rng.uniform(0, 15)
    while s < site.high:
        if site.clear_of_junctions(s, 3):
            towards = np.pi if side < 0 or rng.uniform() < 0.45 else 0.0
            _sign(site, s, side * (site.section.road + 0.45), towards + rng.uniform(-0.15, 0.15))
        s += rng.uniform(9, 26)


def _signal(site: Site, s: float, lateral: float, facing: float, lit: int, mast: float = 0.0) -> None:
    """Add a traffic light on a pole; with ``mast``, a second head hangs that far towards the center line."""
    palette, world = site.world.palette, site.world
    housing, lamps = furniture.signal_head(palette, lit)
    pole, light = world.value("pole"), world.value("traffic light")
    top = 5.6 if mast else 3.3
    site.put(furniture.pole(palette, top, 0.075).moved(z=KERB), "matte", pole, s, lateral, facing)
    spots = [(0.0, 2.75)]
    if mast:
        across = -np.sign(lateral) * mast * np.cos(facing)
        site.put(
            tube((0, 0, top), (0, across, top + 0.1), 0.06, palette(furniture.STEEL), sides=7),
            "matte",
            pole,
            s,
            lateral,
            facing,
        )
        spots.append((across, top - 0.35))
    for y, z in spots:
        site.put(housing.moved(x=0.2, y=y, z=z + KERB), "matte", light, s, lateral, facing)
        site.put(lamps.moved(x=0.2, y=y, z=z + KERB), "bright", light, s, lateral, facing)


def _traffic_lights(site: Site) -> None:
    rng, section = site.rng, site.section
    near = section.road + 0.45
    for junction in site.junctions:
        if not junction.lights:
            continue
        lit = int(rng.choice([0, 1, 2], p=[0.3, 0.1, 0.6]))
        mast = 3.0 + section.parking if rng.uniform() < 0.6 else 0.0
        before, after = junction.s - junction.half - 1.4, junction.s + junction.half + 1.4
        _signal(site, before, -near, np.pi, lit, mast)
        _signal(site, before, near, np.pi, lit)
        _signal(site, after, -near, np.pi, lit)
        _signal(site, after, near, 0.0, lit, mast)
    for s in crossings(site):
        if rng.uniform() < 0.75:
            lit = int(rng.choice([0, 2]))
            _signal(site, s - 2.3, -near, np.pi, lit, 3.0 if rng.uniform() < 0.4 else 0.0)
            _signal(site, s - 2.3, near, np.pi, lit)
            _signal(site, s + 2.3, near + 0.3, 0.0, lit)


def _small_things(site: Site, side: int) -> None:
    rng = site.rng
    for s in np.arange(site.low + rng.uniform(0, 20), site.high, rng.uniform(22, 40)):
        if site.clear_of_junctions(s, 3):
            thing = furniture.bin_and_bench(rng, site.world.palette)
            site.put(
                thing.moved(z=KERB),
                "matte",
                site.world.value("void"),
                s,
                side * (site.section.edge - 0.5),
                inward(side),
            )
    for s in np.arange(site.low + rng.uniform(0, 40), site.high, rng.uniform(35, 70)):
        bollards(site, side, s)


def _stand(
    site: Site, mesh: Mesh, name: str, s: float, lateral: float, facing: float, path=None, material="glossy"
) -> None:
    site.put(mesh, material, site.world.instance(name), s, lateral, facing, path)


def _parked(site: Site, side: int) -> None:
    rng, section = site.rng, site.section
    if not section.parking:
        return
    lateral = side * (section.road - section.parking / 2 - 0.02)
    share = rng.uniform(0.35, 0.85)
    share = 0.97 if site.more() else share
    blocked = crossings(site)
    s = site.low + rng.uniform(0, 6)
    while s < site.high - 12:
        kind = rng.choice(["car", "truck", "motorcycle", "bus"], p=[0.82, 0.06, 0.08, 0.04])
        built = vehicles.BY_NAME[kind](rng, site.world.palette)
        middle = s + built.length / 2
        clear = site.clear_of_junctions(middle, 5 + built.length / 2)
        clear = clear and all(abs(middle - c) > 4.5 + built.length / 2 for c in blocked)
        if clear and rng.uniform() < share:
            facing = (0.0 if side < 0 else np.pi) + rng.normal(0, 0.015)
            if kind == "motorcycle":
                facing += side * rng.uniform(0.5, 1.2)
            _stand(site, built.mesh, kind, middle, lateral + rng.normal(0, 0.06), facing)
            s += built.length + rng.uniform(0.7, 2.2)
        else:
            s += rng.uniform(4, 9)


def _cycle_stands(site: Site, side: int) -> None:
    """Add bicycles and motorcycles at the kerb or at a wall."""
    rng, section = site.rng, site.section
    s = site.low + rng.uniform(0, 16)
    while s < site.high:
        count = int(rng.integers(1, 4))
        motor = rng.uniform() < 0.3
        if site.clear_of_junctions(s, 6) and section.sidewalk > 2.7:
            near_wall = rng.uniform() < 0.5 and not motor
            lateral = side * (section.edge - 0.45 if near_wall else section.road + max(section.verge, 0.3) + 0.7)
            for k in range(count):
                name = "motorcycle" if motor else "bicycle"
                built = vehicles.BY_NAME[name](rng, site.world.palette)
                facing = (0.0 if near_wall else side * rng.uniform(0.7, 1.2)) + rng.normal(0, 0.06)
                step = (2.1 if near_wall else 0.85 if not motor else 1.2) * k
                mesh = built.mesh.turned(0, rng.choice([-1, 1]) * 0.08).moved(z=KERB)
                _stand(site, mesh, name, s + step, lateral, facing)
        s += rng.uniform(14, 34)


def _side_street(site: Site, frontage: Frontage, junction, side: int) -> None:
    """Add parked and waiting vehicles, people, trees and signs of a side street."""
    rng, palette = site.rng, site.world.palette
    path = side_path(site, junction, side)
    start = site.section.edge
    wait = site.section.road + 4.8
    if rng.uniform() < 0.6:  # first in the queue at the mouth, in its right-hand lane towards the main street
        kind = rng.choice(["car", "truck", "bus"], p=[0.6, 0.22, 0.18])
        built = vehicles.BY_NAME[kind](rng, palette)
        _stand(site, built.mesh, kind, wait + built.length / 2, junction.half * 0.42, np.pi, path)
        wait += built.length + 2
        if rng.uniform() < 0.5:
            second = vehicles.car(rng, palette)
            _stand(site, second.mesh, "car", wait + second.length / 2, junction.half * 0.42, np.pi, path)
            wait += second.length + 2
    for flank in (-1, 1):
        for s in np.arange(max(start + 6, wait + 4 if flank > 0 else 0), SIDE_STREET_END - 6, 6.2):
            if junction.half > 4.4 and rng.uniform() < 0.5:
                built = vehicles.car(rng, palette)
                facing = 0.0 if flank < 0 else np.pi
                _stand(site, built.mesh, "car", s, flank * (junction.half - 1.05), facing, path)
        for s in np.arange(start + 4, SIDE_STREET_END - 5, 12.0):
            if rng.uniform() < 0.4:
                frontage.stand_tree(s, flank * (junction.half + 0.7), 0.6, path)
        _sign(site, start + 1.2, flank * (junction.half + 0.5), rng.choice([0.0, np.pi]), path)
        for _ in range(rng.integers(0, 3)):
            person = pedestrian(rng, palette)
            at = rng.uniform(start, start + 25)
            lateral = flank * (junction.half + rng.uniform(1.2, junction.sidewalk - 0.4))
            mesh = person.standing().moved(z=KERB)
            _stand(site, mesh, "person", at, lateral, rng.uniform(0, 6.3), path, "matte")

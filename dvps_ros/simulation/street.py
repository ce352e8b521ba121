"""The procedural street: a world built from a seed, and its state at any time."""

from __future__ import annotations

import mujoco
import numpy as np

from dvps_ros.config import StreetConfig
from dvps_ros.simulation import vehicles
from dvps_ros.simulation.atmosphere import random_atmosphere, sky_faces
from dvps_ros.simulation.clutter import build_clutter
from dvps_ros.simulation.frontage import Frontage
from dvps_ros.simulation.ground import build_ground
from dvps_ros.simulation.hood import Hood
from dvps_ros.simulation.paths import Path
from dvps_ros.simulation.people import pedestrian, rider
from dvps_ros.simulation.rig import Rig, corridor, random_rig
from dvps_ros.simulation.roadside import build_roadside
from dvps_ros.simulation.site import KERB, Junction, Site, add_materials, random_section
from dvps_ros.simulation.traffic import Course, Traffic
from dvps_ros.simulation.wear import Wear
from dvps_ros.simulation.weather import any_atmosphere
from dvps_ros.simulation.world import World

_BEFORE, _BEYOND = 30.0, 95.0
#: Metres between a camera on the cycle lane and the cyclists before and behind it.
_GAP = 4.0


class Street:
    """A street built from ``seed``; the same seed and configuration give the same street.

    Attributes
    ----------
    seed, config : the arguments.
    model, data : the MuJoCo model and its state.
    values : (ngeom,) int32 panoptic value of each geom.
    path : the center line; the drive begins near s = 0.
    rig : the camera's mounting and speed.
    atmosphere : light and haze.
    wear, hood : dirt on surfaces, the car's own hood; None for none.
    duration : seconds until the end of the drive.
    """

    def __init__(self, seed: int, config: StreetConfig | None = None) -> None:
        self.seed, self.config = seed, config or StreetConfig()
        rng = np.random.default_rng(seed)
        world = World()
        looks = np.random.default_rng([seed, 3])
        self.atmosphere = random_atmosphere(rng)
        if looks.uniform() < self.config.any_light:
            self.atmosphere = any_atmosphere(looks, self.atmosphere)
        world.sky(sky_faces(rng, self.atmosphere))
        section, junctions = random_section(rng), _junctions(rng, self.config.length)
        self.path = _center_line(rng, self.config.length, junctions)
        houses, leaves = add_materials(world, rng)
        low, high = -_BEFORE, self.config.length + _BEYOND
        self.rig = random_rig(rng, np.random.default_rng([seed, 2]), section, junctions, self.config)
        track = corridor(self.rig, self.path)
        extra = np.random.default_rng([seed, 4])
        site = Site(
            world, rng, self.path, section, junctions, houses, leaves, low, high, track, extra, self.config.scenery
        )
        build_ground(site)
        frontage = Frontage(site)
        frontage.build()
        build_roadside(site, frontage)
        build_clutter(site, frontage, extra, self.config.scenery)
        self._traffic = Traffic(world, self.path, self.rig)
        _fill_lanes(site, self._traffic, self.rig)
        _fill_sidewalks(site, self._traffic)
        _light(world.spec, self.atmosphere)
        if self.config.any_surface:
            world.restyle(looks, self.config.any_surface)
        self.wear = Wear.of(looks, self.config.wear, self.atmosphere.sun) if self.config.wear else None
        seen = self.rig.in_traffic and looks.uniform() < self.config.hood
        self.hood = Hood.of(looks) if seen else None
        compiled = world.compile()
        self.model, self.data, self.values = compiled.model, compiled.data, compiled.values
        self.duration = self.config.length / self.rig.speed

    def move(self, time: float) -> None:
        """Move all bodies to their positions ``time`` seconds after the start of the drive."""
        self.data.mocap_pos[:], self.data.mocap_quat[:] = self._traffic.poses(time)
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)


def _junctions(rng: np.random.Generator, length: float) -> tuple[Junction, ...]:
    found, s = [], rng.uniform(25, 75)
    while s < length + 60:
        sides = [(-1, 1), (-1,), (1,)][rng.choice(3, p=[0.6, 0.2, 0.2])]
        half = rng.uniform(3.2, 5.6)
        found.append(Junction(s, half, rng.uniform(2.0, 3.2), sides, bool(rng.uniform() < 0.7)))
        s += rng.uniform(75, 140)
    return tuple(found)


def _center_line(rng: np.random.Generator, length: float, junctions: tuple[Junction, ...]) -> Path:
    """A center line that is straight, or winds gently but is straight across junctions."""
    s = np.arange(-_BEFORE - 30, length + _BEYOND + 31)
    curvature = np.zeros_like(s)
    if rng.uniform() < 0.65:
        knots = np.arange(s[0], s[-1] + 60, 55.0)
        curvature = np.interp(s, knots, rng.uniform(-1, 1, len(knots)) / rng.uniform(110, 220))
        for junction in junctions:
            curvature *= np.clip((np.abs(s - junction.s) - 14) / 12, 0, 1)
    return Path(s[0], curvature)


_LANE_MIX = (("car", 0.56), ("truck", 0.15), ("bus", 0.13), ("motorcycle", 0.16))


def _fill_lanes(site: Site, traffic: Traffic, rig: Rig) -> None:
    """Add vehicles in every lane, cyclists at its edge and trams on their tracks."""
    rng, section = site.rng, site.section
    low, high = site.low, site.high
    for side in (-1, 1):
        for lane in range(section.lanes):
            lateral = side * section.lane_center(lane)
            own = rig.in_traffic and side < 0 and abs(lateral - rig.lateral) < 0.5
            flow = rig.traffic_speed
            speed = flow if own else flow * rng.uniform(0.75, 1.15) if side < 0 else rng.uniform(4, 9)
            _fill_lane(site, traffic, lateral, -side * speed, rig.place(0) if own else None)
        if section.cycle > 1 or rng.uniform() < 0.5:
            lateral = side * section.cycle_center
            own = lateral == rig.lateral
            speed, s = -side * rng.uniform(3.5, 5.5), low + rng.uniform(0, 15)
            speed = rig.speed if own else speed
            while s < high - 10:
                if not own or abs(s - rig.place(0)) > _GAP:
                    _cyclist(site, traffic, "bicycle", Course(s, speed, lateral, low, high))
                s += rng.uniform(12, 40)
        if section.median == "tram":
            _trams(site, traffic, side, -side * rng.uniform(4, 8))


def _fill_lane(site: Site, traffic: Traffic, lateral: float, speed: float, own: float | None) -> None:
    """Add the vehicles of one lane, except at ``own``, the position of the camera's car."""
    rng, low, high = site.rng, site.low, site.high
    s = low
    spread = rng.uniform(6, 22)
    ahead = rng.uniform(8, 30)
    while s < high - 16:
        name = str(rng.choice([n for n, _ in _LANE_MIX], p=[p for _, p in _LANE_MIX]))
        built = vehicles.BY_NAME[name](rng, site.world.palette)
        if own is not None and s < own + ahead and s + built.length > own - 8:
            s = own + ahead
        course = Course(s + built.length / 2, speed, lateral + rng.normal(0, 0.12), low, high)
        if name == "motorcycle":
            _cyclist(site, traffic, name, course)
        else:
            traffic.add(built.mesh, "glossy", site.world.instance(name), course)
        s += built.length + 4 + rng.exponential(spread)


def _cyclist(site: Site, traffic: Traffic, name: str, course: Course) -> None:
    """Add a bicycle or motorcycle and its rider, which is an instance of its own."""
    rng, palette = site.rng, site.world.palette
    traffic.add(vehicles.BY_NAME[name](rng, palette).mesh, "matte", site.world.instance(name), course)
    traffic.add(rider(rng, palette, name == "motorcycle"), "matte", site.world.instance("rider"), course)


def _trams(site: Site, traffic: Traffic, side: int, speed: float) -> None:
    rng = site.rng
    s = site.low + rng.uniform(0, 30)
    while s < site.high - 34:
        sections = int(rng.integers(2, 4))
        liveries = [(0.75, 0.12, 0.10), (0.90, 0.75, 0.15), (0.15, 0.35, 0.60), (0.12, 0.45, 0.35), (0.85, 0.85, 0.80)]
        color = np.asarray(liveries[rng.integers(5)]) * rng.uniform(0.85, 1.1)
        value = site.world.instance("train")
        for k in range(sections):
            leading, trailing = (k == sections - 1, k == 0) if speed > 0 else (k == 0, k == sections - 1)
            built = vehicles.tram_car(rng, site.world.palette, color, leading, trailing)
            traffic.add(built.mesh, "glossy", value, Course(s + 4.6 + 9.6 * k, speed, side * 1.65, site.low, site.high))
        s += 9.6 * sections + rng.uniform(14, 55)


def _fill_sidewalks(site: Site, traffic: Traffic) -> None:
    rng, section = site.rng, site.section
    inner, outer = section.road + max(section.verge, 0.9) + 0.3, section.edge - 0.9
    for side in (-1, 1):
        spacing = rng.uniform(6, 18)
        s = site.low
        while s < site.high:
            for _ in range(rng.choice([1, 2, 3], p=[0.7, 0.22, 0.08])):
                person = pedestrian(rng, site.world.palette)
                lateral = side * (rng.uniform(inner, outer) if outer > inner else (inner + outer) / 2)
                speed = rng.choice([-1, 1]) * rng.uniform(0.8, 1.6)
                course = Course(s + rng.uniform(-0.6, 0.6), speed, lateral, site.low, site.high)
                value = site.world.instance("person")
                raised = person.raised(KERB)
                if rng.uniform() < 0.7:
                    traffic.add_person(raised, value, course, rng.uniform(0, 6.3))
                else:
                    site.put(raised.standing(), "matte", value, course.s, lateral, rng.uniform(0, 6.3))
            s += rng.exponential(spacing) + 1.0


def _light(spec: mujoco.MjSpec, air) -> None:
    """Add the sun with shadows, and light from the opposite half of the sky."""
    spec.stat.extent, spec.stat.center = 1.0, (0, 0, 0)
    visual = spec.visual
    visual.quality.offsamples, visual.quality.shadowsize = 4, 2048
    visual.map.shadowclip, visual.map.znear, visual.map.zfar = 55.0, 0.25, 500.0
    visual.headlight.ambient, visual.headlight.diffuse = air.ambient, np.full(3, air.headlamps)
    visual.headlight.specular = (0, 0, 0)
    directional = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    spec.worldbody.add_light(
        type=directional, dir=-air.sun, pos=90 * air.sun, diffuse=air.sun_color, ambient=(0, 0, 0),
        specular=air.sun_color * 0.6, castshadow=True,
    )  # fmt: skip
    spec.worldbody.add_light(
        type=directional, dir=air.sun * [1, 1, -1], diffuse=air.fill_color, ambient=(0, 0, 0), specular=(0, 0, 0),
        castshadow=False,
    )  # fmt: skip

"""Common state of the builders of one street: its plan, its materials, and the placement of objects along it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from dvps_ros.simulation import textures
from dvps_ros.simulation.buildings import Materials
from dvps_ros.simulation.paths import Corridor, Path
from dvps_ros.simulation.shapes import Mesh, loft
from dvps_ros.simulation.world import World

KERB = 0.13


@dataclass(frozen=True)
class CrossSection:
    """Widths in metres from the center line outwards, the same on both sides."""

    median: str
    median_width: float
    lanes: int
    lane: float
    cycle: float
    parking: float
    verge: float
    sidewalk: float

    @property
    def road(self) -> float:
        """Half the road's width."""
        return self.median_width / 2 + self.lanes * self.lane + self.cycle + self.parking

    @property
    def edge(self) -> float:
        """Distance from the center line to the outer edge of the sidewalk."""
        return self.road + self.verge + self.sidewalk

    def lane_center(self, index: int) -> float:
        """Distance from the center line to the middle of a lane; 0 is the innermost."""
        return self.median_width / 2 + (index + 0.5) * self.lane

    @property
    def cycle_center(self) -> float:
        """Distance from the center line to the path of bicycles."""
        return self.road - self.parking - self.cycle / 2 - 0.1

    @property
    def walkway(self) -> tuple[float, float]:
        """Range of distances from the center line for walkers, between objects at the kerb and the walls."""
        return self.road + max(self.verge + 0.25, 1.5), self.edge - 0.8


def random_section(rng: np.random.Generator) -> CrossSection:
    """A random street profile, with or without tram, green median, cycle lanes, parking and verges."""
    median = rng.choice(["none", "tram", "green"], p=[0.48, 0.36, 0.16])
    lanes = int(rng.choice([1, 2], p=[0.65, 0.35])) if median != "tram" else 1
    return CrossSection(
        median,
        {"none": 0.0, "tram": 6.8, "green": rng.uniform(1.8, 3.0)}[median],
        lanes,
        rng.uniform(3.1, 3.6),
        float(rng.choice([0.4, 1.7])),
        float(rng.choice([0.0, 2.3], p=[0.25, 0.75])),
        float(rng.choice([0.0, 1.7], p=[0.6, 0.4])),
        rng.uniform(2.4, 4.6),
    )


@dataclass(frozen=True)
class Junction:
    """A side street at ``s``: half its road's width, its sidewalks' width, its sides (+1 left, -1 right), lights."""

    s: float
    half: float
    sidewalk: float
    sides: tuple[int, ...]
    lights: bool

    def mouth(self, side: int, margin: float = 0.0) -> tuple[float, float] | None:
        """The stretch of the main street that the side street occupies on this side, or None."""
        return (self.s - self.half - margin, self.s + self.half + margin) if side in self.sides else None


@dataclass(frozen=True)
class Site:
    """One street under construction; everything lies between ``low`` and ``high`` along ``path``.

    Objects that ``put`` would place inside the ``corridor``, if there is one, are left out. ``extra`` draws the objects
    beyond the default scenery, each with probability ``scenery``, so that ``rng`` draws the same values with and
    without them.
    """

    world: World
    rng: np.random.Generator
    path: Path
    section: CrossSection
    junctions: tuple[Junction, ...]
    houses: Materials
    leaves: tuple[str, ...]
    low: float
    high: float
    corridor: Corridor | None = None
    extra: np.random.Generator = field(default_factory=np.random.default_rng)
    scenery: float = 0.0

    def more(self) -> bool:
        """Draw whether to add the next extra object."""
        return bool(self.extra.uniform() < self.scenery)

    def put(self, mesh: Mesh, material: str, value: int, s: float, lateral: float, facing: float = 0.0, path=None):
        """Place a mesh at (s, lateral), with its x axis turned by ``facing`` from the path's direction."""
        self.put_together([(mesh, material)], value, s, lateral, facing, path)

    def put_together(self, parts, value: int, s: float, lateral: float, facing: float = 0.0, path=None) -> None:
        """Place an object of several (mesh, material) parts at (s, lateral): all of them, or none."""
        path = path or self.path
        x, y, _ = path.place(s, lateral)
        parts = [(mesh.moved(x, y, yaw=float(path.heading(s)) + facing), material) for mesh, material in parts]
        if self.corridor and any(self.corridor.blocked_by(mesh.vertices) for mesh, _ in parts):
            return
        for mesh, material in parts:
            self.world.put(mesh, material, value)

    def strip(self, first: float, last: float, profile, material: str, value: int, repeats, path=None, caps=False):
        """Extrude a cross-section along the path; see ``shapes.loft``."""
        path = path or self.path
        pieces = max(1, round((last - first) / 32)) if not caps else 1
        for a, b in pairwise(np.linspace(first, last, pieces + 1)):
            mesh = loft(path.place, path.stations(a, b), np.asarray(profile), repeats, caps=caps)
            self.world.put(mesh, material, value)

    def free(self, side: int, margin: float = 0.0) -> list[tuple[float, float]]:
        """The stretches of one side without side streets, ``margin`` metres away from them."""
        start, stretches = self.low, []
        for junction in self.junctions:
            mouth = junction.mouth(side, margin)
            if mouth is not None:
                stretches.append((start, mouth[0]))
                start = mouth[1]
        return [*stretches, (start, self.high)]

    def clear_of_junctions(self, s: float, margin: float) -> bool:
        """Whether ``s`` is at least ``margin`` metres from the mouth of any side street."""
        return all(abs(s - j.s) > j.half + margin for j in self.junctions)


def inward(side: int) -> float:
    """The ``facing`` of an object on ``side`` (+1 left, -1 right) that faces the road."""
    return -side * np.pi / 2


def add_materials(world: World, rng: np.random.Generator) -> tuple[Materials, tuple[str, ...]]:
    """Draw the textures of one street and add them as materials."""
    grey = rng.uniform(0.20, 0.42)
    world.material("asphalt", textures.asphalt(rng, np.array([1.0, 0.99, 0.97]) * grey), 0.05)
    world.material("side_asphalt", textures.asphalt(rng, np.array([1.0, 0.99, 0.97]) * rng.uniform(0.22, 0.4)), 0.05)
    paving = rng.uniform(0.48, 0.70) * np.array([1.0, rng.uniform(0.93, 1.0), rng.uniform(0.84, 0.98)])
    world.material("paving", textures.cobbles(rng, paving, int(rng.choice([8, 16, 32])), bool(rng.integers(2))))
    world.material("cobbles", textures.cobbles(rng, np.array([0.42, 0.40, 0.38]) * rng.uniform(0.8, 1.2), 64))
    green = np.array([rng.uniform(0.22, 0.38), rng.uniform(0.40, 0.52), rng.uniform(0.12, 0.20)])
    world.material("grass", textures.grass(rng, green))
    world.material("soil", textures.soil(rng, np.array([0.50, 0.43, 0.34]) * rng.uniform(0.75, 1.15)))
    world.material("bricks", textures.bricks(rng, _brick_color(rng)))
    world.material("concrete", textures.plaster(rng, np.array([0.62, 0.61, 0.58]) * rng.uniform(0.8, 1.2)))
    wood = [(0.46, 0.33, 0.21), (0.62, 0.52, 0.40), (0.35, 0.25, 0.18), (0.75, 0.75, 0.72)]
    world.material("planks", textures.planks(rng, wood[rng.integers(4)]))
    leaves = []
    for k in range(3):
        color = (rng.uniform(0.20, 0.42), rng.uniform(0.36, 0.52), rng.uniform(0.10, 0.22))
        if rng.uniform() < 0.12:  # an autumn tree
            color = (rng.uniform(0.55, 0.72), rng.uniform(0.35, 0.48), 0.12)
        leaves.append(world.material(f"leaves{k}", textures.leaves(rng, color)))
    facades, colors = [], []
    for k in range(5):
        brick = rng.uniform() < 0.35
        wall = _brick_color(rng) if brick else _plaster_color(rng)
        style = rng.choice(["window", "tall", "ribbon", "glass"], p=[0.45, 0.35, 0.12, 0.08])
        facades.append(world.material(f"facade{k}", textures.facade(rng, wall, brick, style), 0.1, 0.4))
        colors.append((wall[0], wall[1], wall[2]))
    ground = [world.material(f"ground{k}", textures.ground_floor(rng, colors[k])) for k in range(3)]
    roof = [(0.50, 0.24, 0.16), (0.27, 0.27, 0.29), (0.40, 0.27, 0.20), (0.36, 0.20, 0.16)]
    roofs = [world.material(f"roof{k}", textures.roof_tiles(rng, roof[rng.integers(4)])) for k in range(2)]
    return Materials(tuple(facades), tuple(colors), tuple(ground), tuple(roofs)), tuple(leaves)


def _brick_color(rng: np.random.Generator) -> np.ndarray:
    base = [(0.52, 0.26, 0.19), (0.60, 0.38, 0.27), (0.44, 0.30, 0.24), (0.66, 0.56, 0.42)][rng.integers(4)]
    return np.asarray(base) * rng.uniform(0.85, 1.15)


def _plaster_color(rng: np.random.Generator) -> np.ndarray:
    base = [(0.84, 0.80, 0.70), (0.80, 0.70, 0.50), (0.72, 0.72, 0.70), (0.62, 0.68, 0.72), (0.78, 0.58, 0.46),
            (0.88, 0.86, 0.82), (0.60, 0.66, 0.56), (0.56, 0.52, 0.48)][rng.integers(8)]  # fmt: skip
    return np.asarray(base) * rng.uniform(0.88, 1.08)

"""A yard in the place of a street: a plane and three boxes, whose depth and labels are worked out by hand."""

from dataclasses import dataclass, field

import mujoco
import numpy as np

from dvps_ros.config import StreetConfig
from dvps_ros.labels import CITYSCAPES, VOID
from dvps_ros.simulation.atmosphere import random_atmosphere
from dvps_ros.simulation.paths import Path
from dvps_ros.simulation.rig import Rig
from dvps_ros.simulation.shapes import box, quads
from dvps_ros.simulation.world import World

#: center and size of a car-sized and of a small box, and of a box of MuJoCo's own (which has no label).
CAR = ((22.0, 1.5, 0.8), (4.0, 1.8, 1.6))
PERSON = ((17.0, -2.0, 0.9), (0.4, 0.6, 1.8))
PLAIN = ((32.0, -1.0, 1.5), (2.0, 3.0, 3.0))
SIDE = 300.0
ROAD = CITYSCAPES.index("road")


@dataclass
class Yard:
    """A plane and three boxes in the place of a street."""

    seed: int = 1
    wear: None = None
    hood: None = None
    config: StreetConfig = field(default_factory=lambda: StreetConfig(width=256, height=128))
    path: Path = field(default_factory=lambda: Path(0, np.zeros(100)))
    rig: Rig = field(default_factory=lambda: Rig(1.6, 0.3, np.radians(4.0), np.radians(3.0), 0.7, 2.0))

    def __post_init__(self):
        world = World()
        self.atmosphere = random_atmosphere(np.random.default_rng(self.seed))
        world.sky(np.full((6, 4, 4, 3), 200, np.uint8))
        paint = world.palette((0.5, 0.5, 0.5))
        corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * SIDE
        world.put(quads(corners, paint), "matte", world.value("road"))
        self.car, self.person = world.instance("car"), world.instance("person")
        world.put(box(*CAR, paint), "matte", self.car)
        world.put(box(*PERSON, paint), "matte", self.person)
        world.spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX, pos=PLAIN[0], size=np.array(PLAIN[1]) / 2, rgba=(1, 0, 0, 1)
        )
        size = self.config.width, self.config.height
        world.spec.visual.global_.offwidth, world.spec.visual.global_.offheight = size
        compiled = world.compile()
        self.model, self.data, self.values = compiled.model, compiled.data, compiled.values

    def move(self, time):
        mujoco.mj_forward(self.model, self.data)


def box_distance(origin, rays, center, size):
    """Ray parameter where rays first meet an upright box, inf where they miss (slab method)."""
    with np.errstate(divide="ignore"):
        a = (np.asarray(center) - np.asarray(size) / 2 - origin) / rays
        b = (np.asarray(center) + np.asarray(size) / 2 - origin) / rays
    enter, leave = np.minimum(a, b).max(-1), np.maximum(a, b).min(-1)
    return np.where((enter < leave) & (enter > 0), enter, np.inf)


def truth(yard, time, directions):
    """What geometry says of each ray of the camera ``time`` seconds into the drive.

    ``directions`` (H, W, 2): x and y at z = 1 in the optical frame. Gives the camera's position, its axes as rows
    (right, down, forward), depth along the axis (inf: none) and label, each (H, W).
    """
    rig = yard.rig
    position = np.array([rig.place(time), rig.lateral, rig.height])
    cp, sp, cy, sy, cr, sr = (f(a) for a in (rig.pitch, rig.yaw, rig.roll) for f in (np.cos, np.sin))
    forward = np.array([cp * cy, cp * sy, -sp])
    level = np.array([sy, -cy, 0.0])
    below = np.cross(forward, level)
    axes = np.stack([cr * level + sr * below, cr * below - sr * level, forward])  # optical: x right, y down, z forward
    rays = np.concatenate([directions, np.ones_like(directions[..., :1])], -1) @ axes
    with np.errstate(divide="ignore", invalid="ignore"):
        ground = np.where(rays[..., 2] < 0, -position[2] / rays[..., 2], np.inf)
    where = position + np.where(np.isfinite(ground), ground, 0)[..., None] * rays
    ground[np.abs(where[..., :2]).max(-1) > SIDE] = np.inf
    distances = np.stack([ground, *(box_distance(position, rays, *solid) for solid in (CAR, PERSON, PLAIN))])
    values = np.array([ROAD, yard.car, yard.person, VOID, CITYSCAPES.index("sky") * 1000])
    nearest = np.where(np.isfinite(distances.min(0)), distances.argmin(0), 4)
    return position, axes, distances.min(0), values[nearest]

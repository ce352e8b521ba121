"""Depth, labels and cloud of the camera against geometry worked out by hand."""

from dataclasses import dataclass, field

import mujoco
import numpy as np
import pytest
import torch

from dvps_ros.config import StreetConfig
from dvps_ros.labels import CITYSCAPES, VOID
from dvps_ros.scene.unproject import project, unproject
from dvps_ros.simulation.atmosphere import random_atmosphere
from dvps_ros.simulation.camera import StreetCamera
from dvps_ros.simulation.paths import Path
from dvps_ros.simulation.shapes import box, quads
from dvps_ros.simulation.street import Rig
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


@pytest.fixture(scope="module")
def view():
    """The yard, its camera's frame after two seconds, and what geometry says of each pixel."""
    yard = Yard()
    with StreetCamera(yard) as camera:
        frame, k = camera.render(2.0), camera.intrinsics
    pitch, yaw = yard.rig.pitch, yard.rig.yaw
    position = np.array([yard.rig.place(2.0), yard.rig.lateral, yard.rig.height])
    forward = np.array([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), -np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    axes = np.stack([right, np.cross(forward, right), forward])  # optical frame: x right, y down, z forward
    u, v = np.meshgrid(np.arange(k.width), np.arange(k.height))
    rays = np.stack([(u - k.cx) / k.fx, (v - k.cy) / k.fy, np.ones(u.shape)], -1) @ axes
    with np.errstate(divide="ignore"):
        ground = np.where(rays[..., 2] < 0, -position[2] / rays[..., 2], np.inf)
    where = position + np.where(np.isfinite(ground), ground, 0)[..., None] * rays
    ground[np.abs(where[..., :2]).max(-1) > SIDE] = np.inf
    things = [box_distance(position, rays, *solid) for solid in (CAR, PERSON, PLAIN)]
    distances = np.stack([ground, *things])
    values = np.array([ROAD, yard.car, yard.person, VOID, CITYSCAPES.index("sky") * 1000])
    nearest = np.where(np.isfinite(distances.min(0)), distances.argmin(0), 4)
    return yard, frame, k, position, axes, distances.min(0), values[nearest]


def test_labels_are_those_of_the_nearest_solid(view):
    _, frame, *_, labels = view
    assert set(np.unique(frame.panoptic)) == set(np.unique(labels))
    assert (frame.panoptic == labels).mean() > 0.998  # pixel centers right on an edge may fall either way


def test_depth_agrees_with_planes_and_boxes(view):
    yard, frame, _, _, _, depth, labels = view
    same = (frame.panoptic == labels) & (depth < yard.config.max_depth)
    assert same.mean() > 0.5
    assert np.abs(frame.depth[same] / depth[same] - 1).max() < 0.002


def test_no_depth_in_the_sky_and_beyond_the_limit(view):
    yard, frame, *_, depth, labels = view
    assert (frame.depth[labels == CITYSCAPES.index("sky") * 1000] == 0).all()
    far = np.isfinite(depth) & (depth > yard.config.max_depth * 1.01)
    assert far.any()
    assert (frame.depth[far] == 0).all()


def test_cloud_lies_on_the_planes_and_boxes(view):
    yard, frame, k, position, axes, _, labels = view
    cloud = unproject(torch.from_numpy(frame.depth), k).numpy() @ axes + position  # in the world
    inside = (frame.panoptic == labels) & (frame.depth > 0)
    road = inside & (labels == ROAD) & (frame.depth < 30)
    assert np.abs(cloud[road][:, 2]).max() < 0.01 * 1.6
    for value, (center, size) in ((yard.car, CAR), (yard.person, PERSON)):
        points = cloud[inside & (labels == value)]
        outside = np.maximum(np.abs(points - center) - np.array(size) / 2, 0).max(1)
        assert len(points) > 50
        assert (outside < 0.01 * np.linalg.norm(points - position, axis=1)).all()


def test_unproject_then_project_returns_the_pixel(view):
    _, frame, k, *_ = view
    depth = torch.from_numpy(frame.depth)
    pixels = project(unproject(depth, k), k)
    v, u = torch.meshgrid(torch.arange(k.height), torch.arange(k.width), indexing="ij")
    known = depth > 0
    assert (pixels[known] - torch.stack([u, v], -1)[known]).abs().max() < 0.01


def test_principal_point_is_the_center_of_the_pixel_grid(view):
    yard, _, k, *_ = view
    assert (k.cx, k.cy) == ((k.width - 1) / 2, (k.height - 1) / 2)
    assert k.fx == k.fy == pytest.approx(yard.rig.focal * k.width)


def test_specks_become_void():
    from dvps_ros.simulation.camera import _without_specks

    panoptic = np.zeros((20, 20), np.int32)
    panoptic[:3, :3] = 13001  # nine pixels
    panoptic[10:12, :5] = 11002  # ten
    panoptic[19, 0] = 5000  # stuff may be small
    cleaned = _without_specks(panoptic)
    assert (cleaned[:3, :3] == VOID).all()
    assert (cleaned[3:] == panoptic[3:]).all()


def test_a_closed_camera_says_so_and_leaves_others_working():
    yard = Yard(config=StreetConfig(width=64, height=32))
    first, second = StreetCamera(yard), StreetCamera(yard)
    before = second.render(0.0)
    first.close()
    first.close()
    assert (second.render(0.0).rgb == before.rgb).all()
    second.close()
    with pytest.raises(RuntimeError, match="closed"):
        second.render(0.0)

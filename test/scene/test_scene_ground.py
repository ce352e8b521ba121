"""The ground's plane: exact on calculated planes, robust against what is not ground, and honest where there is none."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from ground_scenes import CAMERA, ROAD, SIDEWALK, WALL, flat, scene, up_of

from dvps_ros.config import GroundConfig
from dvps_ros.labels import CITYSCAPES, DIVISOR, LabelSet
from dvps_ros.scene.ground import ground_plane, ground_points
from dvps_ros.scene.rays import rays
from dvps_ros.structures import Intrinsics

CONFIG = GroundConfig()
CAR = CITYSCAPES.index("car") * DIVISOR + 1


def plane_of(seen, camera=CAMERA, up=None, config=CONFIG):
    return ground_plane(seen, camera, CITYSCAPES, config, up)


def disturbed(seen, change, part=1.0, seed=0):
    """The scene with ``change(depth, random)`` in a random part of its road."""
    random = np.random.default_rng(seed)
    depth, road = seen.depth.numpy().copy(), (seen.panoptic == ROAD).numpy()
    chosen = road & (random.random(road.shape) < part)
    depth[chosen] = change(depth[chosen], random)
    return replace(seen, depth=torch.from_numpy(depth))


def test_a_height_calculated_by_hand():
    camera = Intrinsics(100.0, 100.0, 31.5, 10.0, 64, 40)
    depth, panoptic = torch.full((40, 64), 30.0), torch.full((40, 64), WALL)
    for row in range(20, 40):  # 1.2 m below the camera: v - cy = fy * 1.2 / z
        depth[row], panoptic[row] = 100 * 1.2 / (row - 10), ROAD
    plane = ground_plane(scene(depth, panoptic), camera, CITYSCAPES, CONFIG)
    assert plane.height == pytest.approx(1.2, rel=1e-6)
    assert (plane.share, plane.inliers, plane.problem) == (0.5, 1.0, "")
    assert plane.tilt == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("known", [False, True], ids=["up fitted", "up known"])
@pytest.mark.parametrize(("height", "pitch", "roll"), [(1.65, 0, 0), (0.4, 15, 0), (1.2, -5, 4), (1.8, 10, -4)])
def test_the_height_of_a_camera_however_it_is_mounted(height, pitch, roll, known):
    up = tuple(3.0 * part for part in up_of(pitch, roll)) if known else None
    plane = plane_of(flat(height, pitch, roll), up=up)
    # a slight tilt is taken for an error of the network where nothing else is known
    assert plane.height == pytest.approx(height, rel=1e-5 if known else 0.01)
    tilt = 0 if known else math.degrees(math.acos(math.cos(math.radians(pitch)) * math.cos(math.radians(roll))))
    assert plane.tilt == pytest.approx(tilt, abs=0.01 if known else 0.25)


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.5])
def test_the_height_has_the_scale_of_depth(scale):
    assert plane_of(flat(1.5, scale=scale)).height == pytest.approx(1.5 * scale, rel=1e-5)


@pytest.mark.parametrize("known", [False, True], ids=["up fitted", "up known"])
@pytest.mark.parametrize(
    ("model", "distortion", "fx"),
    [("plumb_bob", (-0.3, 0.1, 0.001, -0.002, 0.0), 150.0), ("equidistant", (0.05, -0.01, 0.0, 0.0), 80.0)],
)
def test_lenses_are_seen_through(model, distortion, fx, known):
    camera = replace(CAMERA, fx=fx, fy=fx, distortion_model=model, distortion=distortion)
    seen = flat(0.9, pitch=12, camera=camera)
    assert plane_of(seen, camera, up_of(12) if known else None).height == pytest.approx(0.9, rel=0.01)
    pinhole = replace(camera, distortion_model="", distortion=())
    assert abs(plane_of(seen, pinhole, up_of(12)).height / 0.9 - 1) > 0.01  # so the lens does count


@pytest.mark.parametrize("up", [None, up_of()], ids=["up fitted", "up known"])
def test_noise_and_what_is_wrongly_labelled_do_not_move_the_plane(up):
    noisy = disturbed(flat(), lambda depth, random: depth * random.normal(1, 0.05, depth.shape))
    assert plane_of(noisy, up=up).height == pytest.approx(1.65, rel=0.01)
    wall = disturbed(noisy, lambda depth, random: np.full_like(depth, 7.0), part=0.4)
    assert plane_of(wall, up=up).height == pytest.approx(1.65, rel=0.03)
    anything = disturbed(noisy, lambda depth, random: random.uniform(1, 60, depth.shape), part=0.4)
    assert plane_of(anything, up=up).height == pytest.approx(1.65, rel=0.03)


@pytest.mark.parametrize("up", [None, up_of()], ids=["up fitted", "up known"])
def test_a_kerb_beside_the_road_counts_as_little_as_it_covers(up):
    seen, pavement = flat(1.65), flat(1.53, label=SIDEWALK)
    side = torch.arange(CAMERA.width) < 60  # 12 cm higher, on the left
    both = replace(
        seen,
        depth=pavement.depth.where(side, seen.depth),
        panoptic=pavement.panoptic.where(side, seen.panoptic),
    )
    assert plane_of(both, up=up).height == pytest.approx(1.65, rel=0.03)


def test_an_error_of_tilt_costs_less_where_up_is_known_or_the_camera_level():
    """Networks see roads tilted: here by 3 degrees around a line across the road, 6 m ahead."""
    true, turn = flat(1.65), math.tan(math.radians(3))
    along = rays(CAMERA)[..., 1].double()  # how far a ray comes down in a metre
    # the plane y = 1.65 + (z - 6) * turn, seen along each ray
    depth = ((1.65 - 6 * turn) / (along - turn)).where(true.panoptic == ROAD, true.depth.double())
    seen = replace(true, depth=depth.where((depth > 0) & (depth < 60), 0).float())
    free = plane_of(seen, config=GroundConfig(level_pull=0)).height
    assert free == pytest.approx((1.65 - 6 * turn) * math.cos(math.radians(3)), rel=0.01)  # what the plane itself says
    assert free < plane_of(seen).height < 1.65
    assert free < plane_of(seen, up=up_of()).height == pytest.approx(1.65, rel=0.12)


@pytest.mark.parametrize(
    ("seen", "up", "words"),
    [
        (flat(label=WALL), None, "too little ground"),
        (flat(label=CAR), None, "too little ground"),
        (disturbed(flat(), lambda depth, random: random.uniform(1, 60, depth.shape)), None, "no plane"),
        (disturbed(flat(), lambda depth, random: random.uniform(1, 60, depth.shape)), up_of(), "no plane"),
        (disturbed(flat(), lambda depth, random: np.full_like(depth, 7.0)), None, "tilted"),
        (disturbed(flat(), lambda depth, random: np.full_like(depth, 7.0)), up_of(), "tilted"),
        (flat(), up_of(pitch=20), "tilted"),
        (flat(pitch=40), None, "tilted"),
        (flat(), (0.0, 1.0, 0.0), "tilted"),
    ],
    ids=["wall", "cars", "nothing", "nothing, up", "a wall", "a wall, up", "other up", "steep", "upside down"],
)
def test_what_is_no_ground_is_said_to_be_none(seen, up, words):
    plane = plane_of(seen, up=up)
    assert words in plane.problem
    assert math.isnan(plane.height)


def test_a_crossing_full_of_cars_has_too_little_ground():
    seen = flat()
    free = torch.zeros(seen.panoptic.shape, dtype=torch.bool)
    free[-12:, :40] = True  # 1.5 % of the picture
    plane = plane_of(replace(seen, panoptic=seen.panoptic.where(free | (seen.panoptic != ROAD), CAR)))
    assert plane.problem == "too little ground in view"
    assert plane.share == pytest.approx(12 * 40 / (128 * 256), abs=0.003)


def test_a_class_table_without_ground_is_named():
    labels = LabelSet("indoor", ("floor", "wall"), (False, False), ((0, 0, 0), (1, 1, 1)))
    assert ground_plane(flat(), CAMERA, labels, CONFIG).problem == "the class table indoor has no ground class"


def test_pixels_without_depth_or_ray_are_left_out():
    camera = replace(CAMERA, fx=60.0, fy=60.0, distortion_model="equidistant", distortion=(0.0, 0.0, 0.0, 0.0))
    assert rays(camera).isnan().any()  # beyond 90 degrees this lens shows nothing
    seen = flat(camera=camera)
    for nothing in (0.0, math.nan, math.inf):
        depth = seen.depth.clone()
        depth[:, ::2] = nothing
        points, share = ground_points(replace(seen, depth=depth), camera, CITYSCAPES, 512)
        assert np.isfinite(points).all()
        assert 0 < len(points) <= 512
        assert 0 < share < 1
        assert plane_of(replace(seen, depth=depth), camera).height == pytest.approx(1.65, rel=1e-3)


@pytest.mark.parametrize("size", [(32, 64), (128, 256), (720, 1280)])
def test_points_are_limited_and_spread_over_the_ground(size):
    camera = CAMERA.resized(size[1], size[0])
    points, share = ground_points(flat(camera=camera), camera, CITYSCAPES, 512)
    assert 100 < len(points) <= 512
    assert share == pytest.approx((flat(camera=camera).panoptic == ROAD).float().mean(), abs=0.02)
    assert points[:, 1] == pytest.approx(1.65, rel=1e-5)
    assert points[:, 2].min() < 4.5
    assert points[:, 2].max() > (30 if size[0] > 32 else 20)  # a row of 32 spans more metres


def test_the_same_scene_gives_the_same_plane_and_another_camera_is_refused():
    noisy = disturbed(flat(), lambda depth, random: depth * random.normal(1, 0.2, depth.shape))
    assert plane_of(noisy) == plane_of(noisy)
    with pytest.raises(ValueError, match="depth is 256x128, but the camera 512x256"):
        plane_of(flat(), CAMERA.resized(512, 256))


@pytest.mark.parametrize("up", [None, up_of()], ids=["up fitted", "up known"])
def test_degenerate_points_give_no_plane(up):
    seen = flat()
    line = torch.zeros(seen.panoptic.shape, dtype=torch.bool)
    line[90] = True  # one row is a line in space
    one_row = replace(seen, panoptic=torch.where(line, seen.panoptic, WALL).int())
    plane = plane_of(one_row, up=up, config=GroundConfig(min_share=0, points=100000))
    assert plane.problem or math.isfinite(plane.height)
    above = replace(seen, panoptic=torch.full_like(seen.panoptic, ROAD), depth=torch.full_like(seen.depth, 5.0))
    ceiling = replace(above, panoptic=above.panoptic.where(torch.arange(128)[:, None] < 40, WALL).int())
    assert plane_of(ceiling, up=up).problem

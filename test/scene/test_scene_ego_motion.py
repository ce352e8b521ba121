"""The camera's own motion, in a textured world of ground and a wall whose pictures are computed ray by ray."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from dvps_ros.config import TrackConfig
from dvps_ros.labels import CITYSCAPES
from dvps_ros.scene.ego_motion import EgoMotion, exponential, logarithm
from dvps_ros.scene.rays import rays
from dvps_ros.scene.things import grid_camera, grid_stride
from dvps_ros.scene.view import View, normalized, view_of
from dvps_ros.structures import Intrinsics, Scene

CAMERA = Intrinsics(150.0, 150.0, 127.5, 63.5, 256, 128)
FISHEYE = Intrinsics(110.0, 110.0, 127.5, 63.5, 256, 128, "equidistant", (0.02, 0.0, 0.0, 0.0))
ROAD, WALL, CAR, SKY = (CITYSCAPES.index(name) for name in ("road", "building", "car", "sky"))


@pytest.fixture(scope="module")
def texture():
    noise = np.random.default_rng(0).integers(0, 256, (512, 512)).astype(np.float32)
    soft = gaussian_filter(noise, 2, mode="wrap")
    return np.clip((soft - soft.mean()) * 4 + 128, 0, 255).astype(np.float32)


def seen(texture, pose, camera=CAMERA, ground=1.5, wall=25.0):
    """What a camera at ``pose`` (4, 4, to the world) sees of the ground below and the wall ahead."""
    direction = rays(camera).numpy().astype(np.float64)
    turned = direction @ pose[:3, :3].T
    with np.errstate(all="ignore"):
        down = np.where(turned[..., 1] > 1e-9, (ground - pose[1, 3]) / turned[..., 1], np.inf)
        ahead = (wall - pose[2, 3]) / turned[..., 2]
    depth = np.minimum(down, ahead)
    at = turned * depth[..., None] + pose[:3, 3]
    on_wall = ahead < down
    u, v = at[..., 0] * 12, np.where(on_wall, at[..., 1], at[..., 2]) * 12
    grey = cv2.remap(texture, (u % 512).astype(np.float32), (v % 512).astype(np.float32), cv2.INTER_LINEAR)
    panoptic = np.where(on_wall, WALL, ROAD) * 1000
    return View(grey.astype(np.uint8), panoptic.astype(np.int32), depth.astype(np.float32), camera)


def pose_of(*step):
    return exponential(np.array(step, float))


STEPS = {
    "ahead": (0, 0, 0, 0, 0, 0.8),
    "sideways": (0, 0, 0, 0.4, 0, 0),
    "turn": (0, 0.05, 0, 0, 0, 0.3),
    "pitch and roll": (0.02, 0, 0.03, 0, 0, 0),
    "back": (0, 0, 0, 0, 0, -0.5),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("camera", [CAMERA, FISHEYE], ids=["pinhole", "fisheye"])
def test_known_motions_are_found(texture, name, camera):
    before, after = pose_of(0, 0, 0, 0, 0, 1.0), pose_of(0, 0, 0, 0, 0, 1.0) @ pose_of(*STEPS[name])
    ego = EgoMotion(CITYSCAPES)
    assert ego.update(seen(texture, before, camera), 0.0).problem == "no frame before"
    motion = ego.update(seen(texture, after, camera), 0.1)
    assert (motion.problem, motion.source) == ("", "picture")
    assert motion.inliers > 0.4
    true = np.linalg.inv(after) @ before
    assert motion.matrix[:3, 3] == pytest.approx(true[:3, 3], abs=0.06)
    assert np.degrees(np.linalg.norm(logarithm(motion.matrix @ np.linalg.inv(true))[:3])) < 0.2


def test_a_long_way_between_two_frames_is_found_without_a_hint(texture):
    camera = pose_of(np.radians(-4), 0, 0, 0, 0, 0)  # looks down a little
    before, after = (pose_of(0, 0, 0, 0, 0, z) @ camera for z in (0.0, 2.4))
    ego = EgoMotion(CITYSCAPES)
    ego.update(seen(texture, before), 0.0)
    motion = ego.update(seen(texture, after), 0.25)
    assert motion.matrix[:3, 3] == pytest.approx((np.linalg.inv(after) @ before)[:3, 3], abs=0.15)


@pytest.mark.parametrize("spread", [10, 120])
def test_the_number_of_corners_adapts_to_the_texture(spread):
    """Thousands of corners cost milliseconds and say nothing more; with a few, one wrong corner counts."""
    noise = np.random.default_rng(0).normal(128, spread, (128, 256)).clip(0, 255)
    grey = gaussian_filter(noise, 0.5).astype(np.uint8)
    view = View(grey, np.full(grey.shape, WALL * 1000, np.int32), np.full(grey.shape, 20, np.float32), CAMERA)
    ego, counts = EgoMotion(CITYSCAPES), []
    detector = ego._fast

    class Counting:
        setThreshold = detector.setThreshold  # noqa: N815

        def detect(self, *args):
            counts.append(len(detector.detect(*args)))
            return detector.detect(*args)

    ego._fast = Counting()
    for _ in range(20):
        ego.update(view, 0.1)
    assert not 250 <= counts[0] <= 600
    assert all(250 <= count <= 600 for count in counts[-5:]), counts


def test_a_frozen_picture_is_no_motion(texture):
    ego, view = EgoMotion(CITYSCAPES), seen(texture, np.eye(4))
    ego.update(view, 0.0)
    for seconds in (0.1, 0.0):
        assert ego.update(view, seconds).matrix == pytest.approx(np.eye(4), abs=1e-3)


def test_things_and_sky_are_not_followed(texture):
    """Half the picture is a car that drives along; alone it says nothing."""
    before, after = (seen(texture, pose_of(0, 0, 0, 0, 0, z)) for z in (0.0, 0.5))
    for view in (before, after):
        view.panoptic[:, 128:] = CAR * 1000 + 1
        view.grey[:, 128:] = seen(texture, pose_of(0, 0, 0, 0.8, 0, 0)).grey[:, 128:]  # stands still in the picture
    ego = EgoMotion(CITYSCAPES)
    ego.update(before, 0.0)
    assert ego.update(after, 0.1).matrix[2, 3] == pytest.approx(-0.5, abs=0.06)
    for view in (before, after):
        view.panoptic[:, :128] = SKY * 1000
    ego = EgoMotion(CITYSCAPES)
    ego.update(before, 0.0)
    assert "too few corners" in ego.update(after, 0.1).problem


@pytest.mark.parametrize(
    ("limits", "step", "said"),
    [
        ({"max_speed": 2.0}, (0, 0, 0, 0, 0, 0.8), "moved 0.8 m"),
        ({"max_turn": 10.0}, STEPS["turn"], "turned 3 degrees"),
    ],
)
def test_implausible_motion_is_rejected(texture, limits, step, said):
    ego = EgoMotion(CITYSCAPES, TrackConfig(**limits))
    ego.update(seen(texture, np.eye(4)), 0.0)
    motion = ego.update(seen(texture, pose_of(*step)), 0.1)
    assert motion.matrix is None
    assert said in motion.problem


def test_another_scale_makes_the_same_step_longer(texture):
    here, there = seen(texture, np.eye(4)), seen(texture, pose_of(0, 0, 0, 0, 0, 0.8))
    steps = []
    for factor in (1.0, 1.25):
        ego = EgoMotion(CITYSCAPES)
        ego.update(here, 0.0)
        ego.rescale(factor)
        motion = ego.update(replace(there, depth=there.depth * factor), 0.1)
        steps.append(np.linalg.norm(motion.matrix[:3, 3]))
    assert steps[1] == pytest.approx(1.25 * steps[0], rel=0.02)


def test_a_picture_that_shows_nothing_is_no_cut(texture):
    here = seen(texture, np.eye(4))
    dark = View(np.zeros_like(here.grey), here.panoptic, here.depth, CAMERA)
    ego = EgoMotion(CITYSCAPES)
    ego.update(here, 0.0)
    motion = ego.update(dark, 0.1)
    assert motion.problem
    assert not motion.cut


def test_views_are_of_the_network_s_size():
    panoptic = torch.arange(16, dtype=torch.int32).repeat_interleave(2).repeat(8, 1)  # (8, 32)
    scene = Scene(panoptic, panoptic.float(), torch.ones(8, 32))
    view = view_of(scene, torch.zeros(4, 16), CAMERA.resized(16, 4), (4.0, 16.0))
    assert view.panoptic.tolist() == [list(range(16))] * 4
    assert np.array_equal(view.depth, view.panoptic)


@pytest.mark.parametrize("camera", [CAMERA, FISHEYE], ids=["pinhole", "fisheye"])
def test_normalized_rays_are_those_of_the_ray_map(camera):
    pixels = np.array([[10.0, 20.0], [200.0, 100.0], [127.0, 64.0]])
    expected = np.stack([rays(camera).numpy()[int(v), int(u), :2] for u, v in pixels])
    assert normalized(pixels, camera) == pytest.approx(expected, abs=1e-4)


def test_logarithm_and_exponential_are_inverse():
    step = np.array([0.1, -0.2, 0.3, 1.0, 2.0, -3.0])
    assert logarithm(exponential(step)) == pytest.approx(step)


def test_a_view_reads_the_pixels_that_lie_at_its_own_centres():
    panoptic = torch.arange(64, dtype=torch.int32).reshape(8, 8)
    view = view_of(Scene(panoptic, panoptic.float(), panoptic.float()), torch.zeros(4, 4), CAMERA, (4.0, 4.0))
    odd = np.array([1, 3, 5, 7])
    assert np.array_equal(view.panoptic, 8 * odd[:, None] + odd)
    assert np.array_equal(view.depth, view.panoptic)
    half = view_of(Scene(panoptic, panoptic.float(), panoptic.float()), torch.zeros(4, 4), CAMERA, (2.0, 4.0))
    assert np.array_equal(half.panoptic[:, 0], 8 * np.array([2, 6, 7, 7]) + 1)  # below the picture: its last row


def test_a_large_picture_is_reduced_by_a_whole_factor():
    """Each pixel of the view is the mean of 3 x 3, on the ray through their middle; what is left over is cut off."""
    size = (770, 1541)
    camera = Intrinsics(900.0, 910.0, 760.0, 390.0, size[1], size[0])
    rows = torch.arange(size[0], dtype=torch.int32)[:, None].expand(size)
    view = view_of(Scene(rows, rows.float(), torch.ones(size)), (rows % 200).float(), camera, size)
    assert view.grey.shape == view.panoptic.shape == (view.camera.height, view.camera.width) == (256, 513)
    assert view.panoptic[:, 0].tolist() == list(range(1, 768, 3))
    assert view.grey[:60, 5].tolist() == list(range(1, 180, 3))
    middle = np.array([[100.0, 50.0], [512.0, 255.0]])
    assert normalized(middle, view.camera) == pytest.approx(normalized(3 * middle + 1, camera))


def test_the_sampling_grid_sees_what_the_picture_sees():
    size = (720, 1280)
    camera = Intrinsics(700.0, 710.0, 650.0, 340.0, 1280, 720)
    grid, stride = grid_camera(size, camera), grid_stride(size)
    assert stride > 1
    rows, columns = np.arange(stride // 2, 720, stride), np.arange(stride // 2, 1280, stride)
    assert (grid.height, grid.width) == (len(rows), len(columns))
    for sample in (0, 7, len(columns) - 1):
        assert (sample - grid.cx) / grid.fx == pytest.approx((columns[sample] - camera.cx) / camera.fx)
    for sample in (0, 7, len(rows) - 1):
        assert (sample - grid.cy) / grid.fy == pytest.approx((rows[sample] - camera.cy) / camera.fy)

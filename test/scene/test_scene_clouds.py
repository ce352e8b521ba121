"""Geometry by round trips, and against OpenCV's own lens models."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dvps_ros.labels import CITYSCAPES, VOID
from dvps_ros.scene import blocks
from dvps_ros.scene.boxes import instances
from dvps_ros.scene.clouds import (
    ground_cloud,
    obstacle_cloud,
    obstacles,
    organized_cloud,
    scene_cloud,
    valid_pixels,
    voxel_thinned,
)
from dvps_ros.scene.edges import depth_edges
from dvps_ros.scene.rays import project, rays, unproject
from dvps_ros.structures import Intrinsics, Scene, Segment, SegmentCloud

PINHOLE = Intrinsics(300.0, 310.0, 159.2, 122.7, 320, 240)
CAMERAS = {
    "pinhole": PINHOLE,
    "plumb_bob": replace(PINHOLE, distortion_model="plumb_bob", distortion=(-0.28, 0.09, 0.0008, -0.0011, -0.012)),
    "strong plumb_bob": replace(
        PINHOLE, fx=260.0, fy=255.0, distortion_model="plumb_bob", distortion=(-0.35, 0.15, 0.001, 0.002, -0.03)
    ),
    "rational_polynomial": replace(
        PINHOLE,
        distortion_model="rational_polynomial",
        distortion=(0.45, -2.6, 0.0004, -0.0003, 1.5, 0.33, -2.4, 1.43),
    ),
    "equidistant": replace(
        PINHOLE, fx=150.0, fy=150.0, distortion_model="equidistant", distortion=(-0.02, 0.01, -0.008, 0.002)
    ),
}


def pixel_grid(camera):
    v, u = np.mgrid[: camera.height, : camera.width].astype(np.float64)
    return np.stack([u, v], -1)


@pytest.mark.parametrize("name", CAMERAS)
def test_unproject_project_returns_the_pixel(name):
    camera = CAMERAS[name]
    depth = torch.rand(camera.height, camera.width, generator=torch.Generator().manual_seed(0)) * 60 + 0.5
    points = unproject(depth, camera)
    assert points.dtype == torch.float32
    assert torch.allclose(points[..., 2], depth)
    error = (project(points, camera) - torch.from_numpy(pixel_grid(camera))).norm(dim=-1)
    assert error.max() < 0.01


@pytest.mark.parametrize("name", CAMERAS)
def test_project_agrees_with_opencv(name):
    camera = CAMERAS[name]
    points = np.random.default_rng(0).uniform((-0.6, -0.4, 0.8), (0.6, 0.4, 3), (500, 3))
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    zero, coefficients = np.zeros(3), np.array(camera.distortion)
    if camera.distortion_model == "equidistant":
        expected, _ = cv2.fisheye.projectPoints(points[:, None], zero, zero, matrix, coefficients)
    else:
        expected, _ = cv2.projectPoints(points, zero, zero, matrix, coefficients)
    assert np.abs(project(torch.from_numpy(points), camera).numpy() - expected[:, 0]).max() < 1e-6


def test_rays_of_a_pinhole_by_hand():
    got = rays(PINHOLE)
    assert got.shape == (240, 320, 3)
    assert torch.allclose(got[10, 20], torch.tensor([(20 - 159.2) / 300, (10 - 122.7) / 310, 1.0]))


def test_a_resized_camera_sees_the_same_rays():
    half = PINHOLE.resized(160, 120)
    fine = rays(PINHOLE).view(120, 2, 160, 2, 3).mean((1, 3))  # a coarse pixel's centre is the mean of its four
    assert torch.allclose(rays(half), fine, atol=1e-6)


def test_no_ray_past_the_fold_or_beyond_ninety_degrees():
    folding = replace(PINHOLE, fx=120.0, fy=120.0, distortion_model="plumb_bob", distortion=(-0.3, 0.0, 0.0, 0.0, 0.0))
    got = rays(folding)
    assert got[0, 0].isnan().any()  # r (1 - 0.3 r^2) never exceeds 0.703; the corner would need 1.6
    assert got[122, 159].isfinite().all()
    fisheye = replace(PINHOLE, fx=90.0, fy=90.0, distortion_model="equidistant", distortion=(0.0,) * 4)
    got = rays(fisheye)
    angle = np.hypot(*np.moveaxis((pixel_grid(fisheye) - (159.2, 122.7)) / 90, -1, 0))
    assert np.array_equal(got[..., 0].isnan().numpy(), angle >= math.pi / 2 - 1e-3)


def test_wrong_cameras_are_refused():
    with pytest.raises(ValueError, match="not calibrated"):
        rays(replace(PINHOLE, fx=0.0))
    with pytest.raises(ValueError, match="distortion model 'omni' is unknown"):
        rays(replace(PINHOLE, distortion_model="omni"))
    with pytest.raises(ValueError, match="at most 5"):
        rays(replace(PINHOLE, distortion_model="plumb_bob", distortion=(0.1,) * 8))
    with pytest.raises(ValueError, match="depth is 10x10, but the camera 320x240"):
        unproject(torch.ones(10, 10), PINHOLE)


def test_project_gives_nan_behind_the_camera():
    assert project(torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0]]), PINHOLE).isnan().all()


# --- clouds ----------------------------------------------------------------------------------------------------------

ROAD, SIDEWALK, SKY, BUILDING, CAR = (CITYSCAPES.index(name) for name in ("road", "sidewalk", "sky", "building", "car"))
SMALL = Intrinsics(20.0, 20.0, 9.5, 5.5, 20, 12)


def small_scene():
    """Sky above, road below, two cars, a strip without a label."""
    panoptic = torch.full((12, 20), ROAD * 1000, dtype=torch.int32)
    panoptic[:4] = SKY * 1000
    panoptic[4:6] = VOID
    panoptic[6:9, 2:6] = CAR * 1000 + 7
    panoptic[6:9, 10:16] = CAR * 1000 + 3
    depth = torch.full((12, 20), 10.0)
    depth[6:9, 2:6], depth[6:9, 10:16] = 5.0, 8.0
    ids, areas = panoptic[panoptic != VOID].unique(return_counts=True)
    segments = tuple(
        Segment(i, i // 1000, i % 1000, 0.9 if i // 1000 == CAR else 0.8, a, 1.0)
        for i, a in zip(ids.tolist(), areas.tolist(), strict=True)
    )
    image = torch.arange(12 * 20 * 3).remainder(256).to(torch.uint8).view(12, 20, 3)
    return Scene(panoptic, depth, torch.ones(12, 20), segments), image


def test_organized_cloud_has_the_image_shape_with_holes():
    scene, image = small_scene()
    cloud = organized_cloud(scene, image, SMALL, CITYSCAPES, max_depth=9.0)
    assert len(cloud) == 240
    holes = cloud.xyz.view(12, 20, 3).isnan().any(-1)
    assert torch.equal(holes, ~torch.isin(scene.panoptic, torch.tensor([CAR * 1000 + 3, CAR * 1000 + 7])))
    assert torch.equal(cloud.rgb.view(12, 20, 3), image)
    assert torch.equal(cloud.label.view(12, 20), scene.panoptic // 1000)
    assert cloud.instance.view(12, 20)[7, 3] == 7
    assert cloud.instance.view(12, 20)[5, 3] == 0
    assert cloud.score.view(12, 20)[7, 3] == pytest.approx(0.9)
    assert cloud.score.view(12, 20)[5, 3] == 0


def test_scene_cloud_is_the_organized_one_without_holes():
    scene, image = small_scene()
    whole = organized_cloud(scene, image, SMALL, CITYSCAPES)
    dense = scene_cloud(scene, image, SMALL, CITYSCAPES)
    assert len(dense) == 240 - 4 * 20
    assert torch.equal(dense.xyz, whole.xyz[whole.xyz[:, 2].isfinite()])
    assert SKY not in dense.label
    thin = scene_cloud(scene, image, SMALL, CITYSCAPES, stride=2)
    assert len(thin) == 4 * 10
    at = project(thin.xyz, SMALL).round()
    assert (at % 2 == 0).all()


def test_things_alone_and_holes_of_the_lens():
    scene, image = small_scene()
    dense = scene_cloud(scene, image, SMALL, CITYSCAPES)
    things = scene_cloud(scene, image, SMALL, CITYSCAPES, things_only=True)
    assert 0 < len(things) < len(dense)
    assert torch.equal(things.xyz, dense.xyz[dense.instance > 0])
    assert instances(things)[1] == instances(dense)[1]
    folding = replace(SMALL, distortion_model="plumb_bob", distortion=(-0.9, 0.0, 0.0, 0.0, 0.0))
    dark = rays(folding).isnan().any(-1)
    assert 0 < dark.sum() < dark.numel()
    seen = scene_cloud(scene, image, folding, CITYSCAPES)
    assert seen.xyz.isfinite().all()
    assert len(seen) == len(dense) - (dark & (scene.panoptic != SKY * 1000)).sum()
    assert organized_cloud(scene, image, folding, CITYSCAPES).xyz[dark.flatten()].isnan().all()


def test_clouds_need_metres_and_fitting_sizes():
    scene, image = small_scene()
    with pytest.raises(ValueError, match="intrinsics are unknown"):
        scene_cloud(replace(scene, metric=False), image, SMALL, CITYSCAPES)
    with pytest.raises(ValueError, match="image has shape"):
        scene_cloud(scene, image[:5], SMALL, CITYSCAPES)
    with pytest.raises(ValueError, match="the camera 300x12"):
        scene_cloud(scene, image, replace(SMALL, width=300), CITYSCAPES)


def test_obstacles_leave_out_the_road_and_thin_by_voxels():
    scene, image = small_scene()
    cloud = scene_cloud(scene, image, SMALL, CITYSCAPES)
    every = obstacles(cloud, CITYSCAPES)
    assert set(every.label.tolist()) == {CAR, 255}
    thin = obstacles(cloud, CITYSCAPES, voxel=0.5)
    occupied = {tuple(c) for c in (every.xyz / 0.5).floor().long().tolist()}
    assert len(thin) == len(occupied) < len(every)
    assert {tuple(c) for c in (thin.xyz / 0.5).floor().long().tolist()} == occupied


def street_scene(seed, shape=(90, 160)):
    """Patches of road, sky, building, car and no label at smooth and stepped depths; some without depth or far away."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 5, (1, 1, 6, 9), generator=generator).float()
    kind = torch.nn.functional.interpolate(coarse, shape, mode="nearest")[0, 0].long()
    panoptic = torch.tensor([ROAD * 1000, SKY * 1000, BUILDING * 1000, CAR * 1000 + 4, VOID], dtype=torch.int32)[kind]
    depth = 3 + 60 * torch.rand(1, 1, 12, 16, generator=generator)
    depth = torch.nn.functional.interpolate(depth, shape, mode="bilinear")[0, 0] + kind
    depth[:2], depth[2:4, :5] = 0.0, 90.0
    std = torch.rand(shape, generator=generator)
    ids = [i for i in panoptic.unique().tolist() if i != VOID]
    segments = tuple(Segment(i, i // 1000, i % 1000, 0.5 + i / 1e5, 1, 1.0) for i in ids)
    image = torch.randint(0, 256, (*shape, 3), generator=generator, dtype=torch.uint8)
    camera = Intrinsics(0.7 * shape[1], 0.7 * shape[1], shape[1] / 2, shape[0] / 2, shape[1], shape[0])
    return Scene(panoptic, depth, torch.ones(shape), segments, depth_std=std), image, camera


@pytest.mark.parametrize("block", [131072, 2000], ids=["one block", "many blocks"])
@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("voxel", [0.0, 0.1, 2.0])
def test_an_obstacle_cloud_is_the_obstacles_of_the_cloud(voxel, stride, block, monkeypatch):
    monkeypatch.setattr(blocks, "_PIXELS", block)
    limits = {"max_depth": 50.0, "stride": stride, "edge_threshold": 0.1, "max_std": 0.8}
    for seed in range(3):
        scene, image, camera = street_scene(seed)
        dense = scene_cloud(scene, image, camera, CITYSCAPES, **limits)
        expected = obstacles(dense, CITYSCAPES, voxel)
        found = obstacle_cloud(scene, image, camera, CITYSCAPES, voxel, **limits)
        assert 0 < len(expected) < len(dense)
        for name in ("rgb", "label", "instance", "score"):
            assert torch.equal(getattr(found, name), getattr(expected, name)), name
        torch.testing.assert_close(found.xyz, expected.xyz, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("voxel", [0.0, 0.5])
def test_a_ground_cloud_is_the_drivable_ground_and_pavement_of_the_cloud(voxel, stride, monkeypatch):
    monkeypatch.setattr(blocks, "_PIXELS", 2000)
    limits = {"max_depth": 50.0, "stride": stride, "edge_threshold": 0.1, "max_std": 0.8}
    scene, image, camera = street_scene(4)
    paved = torch.where(scene.panoptic == BUILDING * 1000, SIDEWALK * 1000, scene.panoptic)
    scene = replace(scene, panoptic=paved)
    dense = scene_cloud(scene, image, camera, CITYSCAPES, **limits)
    kept = dense[torch.isin(dense.label, torch.tensor([ROAD, SIDEWALK])).nonzero()[:, 0]]
    expected = voxel_thinned(kept, voxel) if voxel else kept
    found = ground_cloud(scene, image, camera, CITYSCAPES, voxel, **limits)
    assert set(found.label.tolist()) == {ROAD, SIDEWALK}
    assert torch.equal(found.label, expected.label)
    torch.testing.assert_close(found.xyz, expected.xyz, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("lens", [{}, {"distortion_model": "plumb_bob", "distortion": (-0.9, 0.0, 0.0, 0.0, 0.0)}])
def test_valid_pixels_are_those_of_a_literal_reading(lens, monkeypatch):
    monkeypatch.setattr(blocks, "_PIXELS", 2000)
    scene, _, camera = street_scene(1)
    camera = replace(camera, **lens)
    valid = valid_pixels(scene, camera, CITYSCAPES, max_depth=50.0, edge_threshold=0.1)
    shown = rays(camera)[..., 2] == 1
    near = (scene.depth > 0) & (scene.depth <= 50.0) & (scene.panoptic // 1000 != SKY)
    assert torch.equal(valid, shown & near & ~depth_edges(scene.depth, 0.1))
    assert 0.05 < valid.float().mean() < 0.9


def test_no_obstacles_at_all():
    scene, image, camera = street_scene(0)
    scene = replace(scene, panoptic=torch.full_like(scene.panoptic, ROAD * 1000))
    for voxel in (0.0, 0.1):
        assert len(obstacle_cloud(scene, image, camera, CITYSCAPES, voxel)) == 0


class Copies(TorchDispatchMode):
    """Counts what would make a device wait for the host: single values read, and tensors moved."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        name = function.overloadpacket.__name__
        if name in ("_local_scalar_dense", "equal") or (name == "_to_copy" and "device" in (keywords or {})):
            self.found.append(name)
        return function(*arguments, **(keywords or {}))


def test_points_whose_depth_is_too_uncertain_can_be_left_out():
    camera = Intrinsics(50.0, 50.0, 3.5, 1.5, 8, 4)
    std = torch.arange(32.0).view(4, 8) / 10
    std[0, 0] = math.nan
    scene = Scene(torch.full((4, 8), 13001, dtype=torch.int32), torch.full((4, 8), 7.0), torch.ones(4, 8))
    image = np.zeros((4, 8, 3), np.uint8)
    sure = scene_cloud(replace(scene, depth_std=std), image, camera, CITYSCAPES, max_std=1.0)
    assert len(sure) == 10  # 0.1 to 1.0
    assert len(scene_cloud(replace(scene, depth_std=std), image, camera, CITYSCAPES)) == 32
    assert len(scene_cloud(scene, image, camera, CITYSCAPES, max_std=1.0)) == 32  # nothing is told


def test_obstacles_are_thinned_where_the_cloud_is():
    scene, image = small_scene()
    cloud = scene_cloud(scene, image, SMALL, CITYSCAPES)
    with Copies() as copies:
        voxel_thinned(cloud, 0.5)
    assert copies.found == []
    with Copies() as copies:
        cloud.xyz.max().item()
    assert copies.found == ["_local_scalar_dense"]
    assert obstacles(cloud, CITYSCAPES, 0.5).xyz.device == cloud.xyz.device


def test_voxels_are_the_same_wherever_the_cloud_lies():
    """A grid of the world, not of the cloud: far from the origin, on both sides of it, and whatever else is there."""
    generator = torch.Generator().manual_seed(1)
    xyz = torch.rand(500, 3, generator=generator) * 4 - 2
    xyz[:3] = torch.tensor([[-900.0, 40.0, 79.0], [900.0, -40.0, 1.0], [0.049, 0.05, 0.051]])
    plain = torch.zeros(500, dtype=torch.int32)
    cloud = SegmentCloud(xyz, torch.zeros(500, 3, dtype=torch.uint8), plain, plain, torch.ones(500))
    thin = voxel_thinned(cloud, 0.1)
    cells = {}
    for point in xyz:
        cells.setdefault(tuple((point / 0.1).floor().long().tolist()), []).append(point)
    assert len(thin) == len(cells)
    means = sorted(torch.stack(points).mean(0).tolist() for points in cells.values())
    assert torch.allclose(torch.tensor(sorted(thin.xyz.tolist())), torch.tensor(means), atol=1e-4)


def test_voxels_hold_the_mean_of_their_points():
    scene, image = small_scene()
    cloud = scene_cloud(scene, image, SMALL, CITYSCAPES)
    one = voxel_thinned(cloud[(cloud.instance == 3).nonzero()[:, 0]], 1000.0)
    assert 1 <= len(one) <= 8  # the cubes' corners meet at the origin
    many = voxel_thinned(cloud, 1e-4)
    assert len(many) == len(cloud)
    assert torch.allclose(many.xyz.mean(0), cloud.xyz.mean(0), atol=1e-4)
    assert len(voxel_thinned(cloud[:0], 0.1)) == 0


def test_instances_are_grouped_with_ranges_and_boxes():
    scene, image = small_scene()
    things, boxes = instances(scene_cloud(scene, image, SMALL, CITYSCAPES))
    assert [(b.id, b.class_id, b.instance) for b in boxes] == [(CAR * 1000 + n, CAR, n) for n in (3, 7)]
    assert [(b.start, b.stop) for b in boxes] == [(0, 18), (18, 30)]
    for b in boxes:
        points = things.xyz[b.start : b.stop]
        assert (things.instance[b.start : b.stop] == b.instance).all()
        low, high = np.array(b.center) - np.array(b.size) / 2, np.array(b.center) + np.array(b.size) / 2
        assert np.allclose(points.amin(0), low, atol=1e-5)
        assert np.allclose(points.amax(0), high, atol=1e-5)
    assert boxes[1].size[0] == pytest.approx(3 / 20 * 5)
    assert boxes[0].score == pytest.approx(0.9)


def test_a_percentile_box_ignores_strays():
    scene, image = small_scene()
    depth = scene.depth.clone()
    depth[6, 10] = 70.0
    cloud = scene_cloud(replace(scene, depth=depth), image, SMALL, CITYSCAPES)
    assert instances(cloud)[1][0].size[2] == pytest.approx(62)
    assert instances(cloud, percentile=10)[1][0].size[2] == pytest.approx(0)


def test_no_things_no_boxes():
    scene, image = small_scene()
    cloud = scene_cloud(scene, image, SMALL, CITYSCAPES)
    things, boxes = instances(cloud[(cloud.instance == 0).nonzero()[:, 0]])
    assert len(things) == 0
    assert boxes == ()


def test_a_fisheye_without_coefficients_has_no_points_behind_the_camera():
    fisheye = replace(PINHOLE, fx=90.0, fy=90.0, distortion_model="equidistant", distortion=(0.0,) * 4)
    size = fisheye.height, fisheye.width
    scene = Scene(torch.zeros(size, dtype=torch.int32), torch.full(size, 5.0), torch.ones(size), ())
    valid = valid_pixels(scene, fisheye, CITYSCAPES)
    assert torch.equal(valid, rays(fisheye)[..., 0].isfinite())
    assert 0 < valid.sum() < valid.numel()

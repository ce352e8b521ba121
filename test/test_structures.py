"""dvps_ros.structures: intrinsics by round trips, predictions by hand."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dvps_ros.structures import Intrinsics, Prediction, Scene, Segment, SegmentCloud, Target

CAMERA = Intrinsics(fx=300.0, fy=310.0, cx=255.5, cy=127.5, width=512, height=256)


def project(camera: Intrinsics, point: tuple[float, float, float]) -> tuple[float, float]:
    """Pixel of a point (x, y, z) in metres, by the pinhole formula."""
    x, y, z = point
    return camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy


points = st.tuples(st.floats(-20, 20), st.floats(-5, 5), st.floats(1, 80))
sizes = st.tuples(st.integers(16, 2000), st.integers(16, 2000))


@given(point=points, size=sizes)
def test_resizing_moves_pixels_as_an_image_resize_does(point, size):
    width, height = size
    u, v = project(CAMERA, point)
    ru, rv = project(CAMERA.resized(width, height), point)
    # align_corners=False: pixel edges, at -0.5, stay edges
    assert ru + 0.5 == pytest.approx((u + 0.5) * width / 512, abs=1e-6, rel=1e-9)
    assert rv + 0.5 == pytest.approx((v + 0.5) * height / 256, abs=1e-6, rel=1e-9)


@given(size=sizes)
def test_resizing_there_and_back_is_the_same_camera(size):
    back = CAMERA.resized(*size).resized(512, 256)
    for name in ("fx", "fy", "cx", "cy"):
        assert getattr(back, name) == pytest.approx(getattr(CAMERA, name), abs=1e-9)
    assert (back.width, back.height) == (512, 256)


@given(point=points)
def test_cropping_shifts_pixels(point):
    crop = CAMERA.cropped(left=100, top=30, width=200, height=100)
    u, v = project(CAMERA, point)
    assert project(crop, point) == pytest.approx((u - 100, v - 30))
    assert (crop.width, crop.height) == (200, 100)
    grown = crop.cropped(-100, -30, 512, 256)
    assert grown == CAMERA


@given(point=points)
def test_flipping_mirrors_pixels_and_twice_is_nothing(point):
    x, y, z = point
    camera = replace(CAMERA, cx=240.25)
    u, v = project(camera, (x, y, z))
    assert project(camera.flipped(), (-x, y, z)) == pytest.approx((511 - u, v), abs=1e-9)
    assert camera.flipped().flipped() == camera


def test_a_mirrored_lens_mirrors_its_rays():
    from dvps_ros.scene.rays import rays

    lens = replace(CAMERA, distortion_model="plumb_bob", distortion=(-0.2, 0.05, 0.01, -0.02, 0.01))
    mirrored = rays(lens.flipped()).flip(1) * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.allclose(mirrored, rays(lens), atol=1e-6, equal_nan=True)


def test_the_image_centre_survives_every_change():
    for camera in (
        CAMERA.resized(1024, 512),
        CAMERA.resized(100, 50),
        CAMERA.flipped(),
        CAMERA.cropped(56, 28, 400, 200),
    ):
        assert camera.cx == pytest.approx((camera.width - 1) / 2)
        assert camera.cy == pytest.approx((camera.height - 1) / 2)


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"fx": 0.0}, False),
        ({"fy": -1.0}, False),
        ({"cx": math.nan}, False),
        ({"fx": math.inf}, False),
        ({"distortion": (0.1, math.nan)}, False),
        ({"distortion_model": "plumb_bob", "distortion": (0.1, -0.2, 0.0, 0.0, 0.0)}, True),
    ],
)
def test_an_uncalibrated_camera_says_so(change, valid):
    assert replace(CAMERA, **change).valid is valid


def prediction() -> Prediction:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return Prediction(random(2, 5, 4), random(2, 5, 8), random(2, 8, 6, 7), random(2, 5, 8), random(2, 1, 8),
                      random(2, 8, 6, 7), max_depth=80.0)  # fmt: skip


def test_masks_and_depths_are_dot_products():
    p = prediction()
    assert p.mask_logits.shape == p.depth.shape == (2, 5, 6, 7)
    assert p.backup_depth.shape == (2, 1, 6, 7)
    by_hand = sum(p.mask_embedding[1, 3, c] * p.mask_features[1, c, 2, 4] for c in range(8))
    torch.testing.assert_close(p.mask_logits[1, 3, 2, 4], by_hand)
    logit = sum(p.depth_embedding[0, 2, c] * p.depth_features[0, c, 5, 6] for c in range(8))
    torch.testing.assert_close(p.depth[0, 2, 5, 6], 80.0 / (1 + torch.exp(-logit)))
    assert float(p.depth.min()) >= 0
    assert float(p.depth.max()) <= 80


def test_deviations_are_those_of_the_chosen_queries():
    plain = prediction()
    told = replace(plain, spread_embedding=plain.mask_embedding, backup_spread_embedding=plain.backup_embedding)
    chosen = told.select(1, torch.tensor([3, 0]))
    torch.testing.assert_close(chosen.deviation, told.deviation[1:, [3, 0]])
    torch.testing.assert_close(chosen.backup_deviation, told.backup_deviation[1:])
    assert plain.select(1, torch.tensor([3])).deviation is None
    logit = sum(plain.mask_embedding[0, 2, c] * plain.depth_features[0, c, 5, 6] for c in range(8))
    scale = 0.002 * 500 ** float(logit.sigmoid())  # from 0.002 to 1
    inside = torch.distributions.Laplace(0.0, scale).cdf(told.deviation[0, 2, 5, 6])
    assert float(2 * inside - 1) == pytest.approx(
        0.682689, abs=1e-4
    )  # as within one deviation of a normal distribution


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_takes_no_steps_in_depth(dtype):
    """From the same half precision factors the depth beyond 32 m is that of float64 to 0.1 mm, under autocast too."""
    ramp = torch.linspace(-0.4, 5.0, 4096).view(1, 1, 64, 64)  # 32 to 79 m
    features = torch.cat((ramp, 0.01 * ramp.flip(-1)), 1).to(dtype)
    embedding = torch.tensor([[[0.99, 0.3]]], dtype=dtype)
    given = replace(prediction(), depth_embedding=embedding, backup_embedding=embedding, depth_features=features)
    exact = 80.0 * torch.einsum("bqc,bchw->bqhw", embedding.double(), features.double()).sigmoid()
    assert float(exact.min()) > 31
    with torch.autocast("cpu", dtype):
        found = given.depth, given.backup_depth
    for depth in (*found, given.depth):
        assert depth.dtype == torch.float32
        assert float((depth - exact).abs().max()) < 1e-4
    low = 80.0 * torch.einsum("bqc,bchw->bqhw", embedding, features).sigmoid()
    assert float((low - exact).abs().max()) > 0.02  # what a product in half precision would give


def test_selecting_queries_gives_their_maps():
    p, queries = prediction(), torch.tensor([4, 1])
    chosen = p.select(1, queries)
    torch.testing.assert_close(chosen.class_logits, p.class_logits[1:, queries])
    torch.testing.assert_close(chosen.mask_logits, p.mask_logits[1:, queries])
    torch.testing.assert_close(chosen.depth, p.depth[1:, queries])
    torch.testing.assert_close(chosen.backup_depth, p.backup_depth[1:])
    assert p.select(0, torch.tensor([], dtype=torch.int64)).mask_logits.shape == (1, 0, 6, 7)


def test_a_dense_depth_head_is_one_map_for_all_queries():
    p = prediction()
    dense = replace(p, depth_embedding=torch.ones(2, 5, 1), depth_features=p.depth_features[:, :1])
    assert bool((dense.depth == dense.depth[:, :1]).all())


def test_choosing_points_keeps_their_columns_together():
    cloud = SegmentCloud(
        torch.arange(12.0).reshape(4, 3),
        torch.arange(12, dtype=torch.uint8).reshape(4, 3),
        torch.tensor([0, 11, 13, 13], dtype=torch.int32),
        torch.tensor([0, 1, 1, 2], dtype=torch.int32),
        torch.tensor([0.9, 0.8, 0.7, 0.6]),
    )
    cars = cloud[cloud.label == 13]
    assert (len(cloud), len(cars)) == (4, 2)
    assert cars.instance.tolist() == [1, 2]
    assert cars.xyz.tolist() == [[6.0, 7.0, 8.0], [9.0, 10.0, 11.0]]


def test_moving_to_a_device_moves_every_map():
    scene = Scene(torch.zeros(2, 3, dtype=torch.int32), torch.ones(2, 3), torch.ones(2, 3), metric=False)
    assert {scene.cpu().panoptic.device.type, scene.cpu().depth.device.type} == {"cpu"}
    assert scene.cpu().metric is False
    assert scene.cpu().depth_std is None
    assert (
        replace(scene, depth_std=scene.depth).mapped(lambda values: values.to("meta")).depth_std.device.type == "meta"
    )
    target = Target(torch.tensor([13]), torch.ones(1, 2, 3, dtype=torch.bool), scene.panoptic, scene.depth, name="a")
    moved = target.to("meta")
    assert {moved.classes.device.type, moved.masks.device.type, moved.panoptic.device.type} == {"meta"}
    assert (moved.labelled, moved.name) == (None, "a")


def test_a_scaled_scene_has_all_its_distances_scaled():
    segments = (Segment(0, 0, 0, 0.9, 4, 8.0), Segment(13001, 13, 1, 0.7, 2, math.nan))
    scene = Scene(
        torch.tensor([[0, 13001]], dtype=torch.int32),
        torch.tensor([[8.0, math.nan]]),
        torch.tensor([[0.5, 0.25]]),
        segments,
        depth_std=torch.tensor([[0.5, math.nan]]),
    )
    twice = scene.scaled(2.0)
    torch.testing.assert_close(twice.depth, torch.tensor([[16.0, math.nan]]), equal_nan=True)
    torch.testing.assert_close(twice.depth_std, torch.tensor([[1.0, math.nan]]), equal_nan=True)
    assert twice.segments[0] == replace(segments[0], median_depth=16.0)
    assert math.isnan(twice.segments[1].median_depth)
    assert torch.equal(twice.panoptic, scene.panoptic)
    assert torch.equal(twice.confidence, scene.confidence)
    assert replace(scene, depth_std=None).scaled(2.0).depth_std is None

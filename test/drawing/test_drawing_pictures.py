"""Pictures: shapes, colours where they must be, and nothing that breaks on degenerate scenes."""

import math

import numpy as np
import pytest
import torch

from dvps_ros.drawing.birds_eye import birds_eye
from dvps_ros.drawing.colors import instance_color
from dvps_ros.drawing.overlay import colorize_depth, overlay
from dvps_ros.labels import CITYSCAPES, VOID
from dvps_ros.structures import Scene, Segment, SegmentCloud

ROAD, CAR = CITYSCAPES.index("road"), CITYSCAPES.index("car")


def scene_of(panoptic):
    ids, areas = panoptic[panoptic != VOID].unique(return_counts=True)
    segments = tuple(
        Segment(i, i // 1000, i % 1000, 0.9, a, math.nan) for i, a in zip(ids.tolist(), areas.tolist(), strict=True)
    )
    return Scene(panoptic, torch.ones(panoptic.shape), torch.ones(panoptic.shape), segments)


def two_cars(size=(120, 200)):
    panoptic = torch.full(size, ROAD * 1000, dtype=torch.int32)
    panoptic[40:80, 20:80], panoptic[40:80, 80:140] = CAR * 1000 + 1, CAR * 1000 + 2
    panoptic[:20] = VOID
    return panoptic


def test_overlay_blends_and_outlines():
    image = np.full((120, 200, 3), 128, np.uint8)
    picture = overlay(image, scene_of(two_cars()), CITYSCAPES, names=False)
    assert picture.shape == image.shape
    assert (image == 128).all()  # the camera's own picture is left as it was
    low, high = np.minimum(128, CITYSCAPES.colors[ROAD]), np.maximum(128, CITYSCAPES.colors[ROAD])
    assert ((picture[110, 100] >= low) & (picture[110, 100] <= high)).all()
    assert np.abs(picture[60, 20].astype(int) - instance_color(1)).max() < 40
    named = overlay(image, scene_of(two_cars()), CITYSCAPES)
    assert (named != picture).any()
    assert overlay(torch.from_numpy(image), scene_of(two_cars()), CITYSCAPES, scale=3).shape == (360, 600, 3)


def test_overlay_of_nothing_and_of_a_wrong_size():
    image = np.zeros((8, 9, 3), np.uint8)
    assert overlay(image, scene_of(torch.full((8, 9), VOID, dtype=torch.int32)), CITYSCAPES).shape == (8, 9, 3)
    one = torch.full((8, 9), VOID, dtype=torch.int32)
    one[3, 3] = CAR * 1000 + 999
    assert overlay(image, scene_of(one), CITYSCAPES).shape == (8, 9, 3)
    with pytest.raises(ValueError, match="the scene"):
        overlay(image[:5], scene_of(one), CITYSCAPES)


def test_depth_is_warm_near_and_grey_where_unknown():
    depth = torch.tensor([[2.0, 20.0, 80.0, 500.0], [0.0, math.nan, math.inf, 0.1]])
    picture = colorize_depth(depth).astype(int)
    near, middle, far = picture[0, 0], picture[0, 1], picture[0, 2]
    assert near[0] > 200 > near[2]
    assert far[2] > far[0]
    assert near.sum() > middle.sum() > far.sum()
    assert (picture[0, 3] == far).all()
    assert (picture[1, 3] == near).all()
    assert (picture[1, 0] == picture[1, 1]).all()
    assert (picture[1, 0] == picture[1, 2]).all()
    assert np.ptp(picture[1, 0]) < 10


def cloud_of(xyz, label, instance):
    count = len(xyz)
    return SegmentCloud(
        torch.tensor(xyz, dtype=torch.float32).view(count, 3),
        torch.full((count, 3), 200, dtype=torch.uint8),
        torch.full((count,), label, dtype=torch.int32),
        torch.full((count,), instance, dtype=torch.int32),
        torch.ones(count),
    )


def test_birds_eye_puts_points_where_they_are():
    point = cloud_of([[5.0, 0.0, 20.0]], ROAD, 0)
    empty = birds_eye(cloud_of([], ROAD, 0), CITYSCAPES, size=(400, 400), reach=40)
    changed = np.argwhere((birds_eye(point, CITYSCAPES, size=(400, 400), reach=40) != empty).any(-1))
    per_meter = 400 * 0.93 / 40
    row, column = changed.mean(0)
    assert abs(column - (200 + 5 * per_meter)) < 2
    assert abs(row - (400 * 0.955 - 20 * per_meter)) < 2


def test_birds_eye_boxes_things_and_ignores_what_is_out_of_reach():
    grid = [[x / 4, 0.0, 10 + z / 4] for x in range(8) for z in range(16)]
    empty = birds_eye(cloud_of([], ROAD, 0), CITYSCAPES)
    assert (birds_eye(cloud_of(grid, CAR, 3), CITYSCAPES) == 255).all(-1).sum() > (empty == 255).all(-1).sum()
    away = cloud_of([[0.0, 0.0, 500.0], [0.0, 0.0, -5.0], [math.nan] * 3, [90.0, 0.0, 3.0]], CAR, 1)
    assert np.array_equal(birds_eye(away, CITYSCAPES), empty)


def test_instance_colors_differ():
    colors = np.array([instance_color(i) for i in range(1, 13)], int)
    distance = np.abs(colors[:, None] - colors[None]).sum(-1) + 999 * np.eye(12, dtype=int)
    assert distance.min() > 40


def test_overlay_takes_a_picture_of_any_memory_layout():
    """A channels-first picture seen as (H, W, 3), as a loader gives it, is drawn like its copy."""
    scene = scene_of(two_cars())
    image = np.random.default_rng(0).integers(0, 255, (3, 120, 200), dtype=np.uint8).transpose(1, 2, 0)
    assert not image.flags.c_contiguous
    np.testing.assert_array_equal(overlay(image, scene, CITYSCAPES), overlay(image.copy(order="C"), scene, CITYSCAPES))

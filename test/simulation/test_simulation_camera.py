"""Depth, labels and cloud of the camera against geometry worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from yard import CAR, PERSON, ROAD, Yard, truth

from dvps_ros.config import StreetConfig
from dvps_ros.labels import CITYSCAPES, VOID
from dvps_ros.scene.rays import project, unproject
from dvps_ros.simulation.camera import StreetCamera


@pytest.fixture(scope="module", params=[0.0, 5.0], ids=["level", "rolled"])
def view(request):
    """The yard, its camera's frame after two seconds, and what geometry says of each pixel."""
    yard = Yard(rig=replace(Yard().rig, roll=np.radians(request.param)))
    with StreetCamera(yard) as camera:
        frame, k = camera.render(2.0), camera.intrinsics
    u, v = np.meshgrid(np.arange(k.width), np.arange(k.height))
    return yard, frame, k, *truth(yard, 2.0, np.stack([(u - k.cx) / k.fx, (v - k.cy) / k.fy], -1))


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
    assert (frame.depth[(frame.panoptic == labels) & (labels == CITYSCAPES.index("sky") * 1000)] == 0).all()
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


def test_height_and_up_are_the_true_ones(view):
    """The ground's points lie the frame's height below the camera, against the frame's up."""
    yard, frame, k, *_, labels = view
    assert frame.height == yard.rig.height
    assert np.linalg.norm(frame.up) == pytest.approx(1)
    road = (frame.panoptic == labels) & (labels == ROAD) & (frame.depth > 0) & (frame.depth < 30)
    below = -(unproject(torch.from_numpy(frame.depth), k).numpy()[road] @ frame.up)
    assert road.sum() > 5000
    assert np.abs(below / frame.height - 1).max() < 0.01
    lean = np.degrees(np.arctan2(-frame.up[0], -frame.up[1]))  # a camera that leans right sees up leaning left
    assert lean == pytest.approx(np.degrees(yard.rig.roll), abs=0.1)


def test_the_pose_leads_to_the_street_s_frame(view):
    """The road, seen by the camera, is the plane z = 0 there, and up is z."""
    _, frame, k, *_, labels = view
    road = (frame.panoptic == labels) & (labels == ROAD) & (frame.depth > 0) & (frame.depth < 30)
    points = unproject(torch.from_numpy(frame.depth), k).numpy()[road]
    assert np.abs(points @ frame.pose[2, :3] + frame.pose[2, 3]).max() < 0.01 * frame.height
    assert frame.pose[2, 3] == pytest.approx(frame.height)
    assert frame.pose[2, :3] == pytest.approx(frame.up)
    assert np.linalg.det(frame.pose[:3, :3]) == pytest.approx(1)


def test_ranges_follow_rep_117(view):
    _, frame, *_, labels = view
    ranges = frame.ranges
    assert np.isposinf(ranges[(frame.panoptic == labels) & (labels == CITYSCAPES.index("sky") * 1000)]).all()
    assert (ranges[frame.depth > 0] == frame.depth[frame.depth > 0]).all()
    assert not np.isnan(ranges).any()  # a pinhole is nowhere blind


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

"""Clouds and markers in another frame: one that looks like base_link, x ahead and z up."""

import numpy as np
import pytest
import torch
from builtin_interfaces.msg import Time
from node_helpers import CAMERA, HEIGHT, WIDTH, QuickPerceiver
from std_msgs.msg import Header

from dvps_ros.config import PerceptionConfig
from dvps_ros.labels import CITYSCAPES
from dvps_ros.nodes.frame import Frame
from dvps_ros.nodes.outputs import pack, topics
from dvps_ros.nodes.packing import POINT, Buffer
from dvps_ros.nodes.placement import Placement
from dvps_ros.structures import SegmentCloud

#: From an optical frame (x right, y down, z ahead) 1 m ahead of and 2 m above base_link (x ahead, y left, z up).
MATRIX = np.array([[0.0, 0.0, 1.0, 1.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 2.0], [0.0, 0.0, 0.0, 1.0]])
PLACEMENT = Placement("base_link", MATRIX)
HEADER = Header(stamp=Time(sec=3), frame_id="camera")
#: Topics that are placed; the others belong to the image's pixels.
PLACED = ("points", "obstacles", "ground", "instances")


def frame(placement=PLACEMENT, **settings):
    scene = QuickPerceiver().step(np.zeros((HEIGHT, WIDTH, 3), np.uint8), CAMERA)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    return Frame(HEADER, image, scene, CAMERA, None, CITYSCAPES, PerceptionConfig(**settings), placement)


def packed(given):
    return pack(given, topics(), {name: Buffer() for name in topics()})


def xyz(message):
    points = np.frombuffer(message.data, POINT)
    return np.stack([points[axis] for axis in "xyz"], 1)


@pytest.mark.parametrize("settings", [{}, {"organized": True}, {"output_scale": 0.5}])
def test_clouds_are_moved_and_images_are_not(settings):
    here, there = packed(frame(None, **settings)), packed(frame(**settings))
    for name in PLACED:
        assert there[name].header == Header(stamp=HEADER.stamp, frame_id="base_link"), name
        expected = xyz(here[name]) @ MATRIX[:3, :3].T + MATRIX[:3, 3]
        assert len(expected) > 0, name
        np.testing.assert_allclose(xyz(there[name]), expected, atol=1e-5, equal_nan=True)
    for name in ("panoptic", "depth", "depth/camera_info", "overlay"):
        assert there[name].header == HEADER, name


def test_an_empty_cloud_stays_empty():
    none = torch.zeros(0)
    cloud = SegmentCloud(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.uint8), none.int(), none.int(), none)
    assert PLACEMENT.cloud(cloud).xyz.shape == (0, 3)


def test_markers_turn_with_the_camera():
    here, there = packed(frame(None))["markers"].markers, packed(frame())["markers"].markers
    assert len(here) == len(there) >= 3
    for before, after in zip(here[1:], there[1:], strict=True):
        at, to = before.pose.position, after.pose.position
        assert (to.x, to.y, to.z) == pytest.approx((at.z + 1, -at.x, 2 - at.y))
        assert after.header.frame_id == "base_link"
        q = after.pose.orientation  # an optical frame in base_link
        assert (q.x, q.y, q.z, q.w) == pytest.approx((-0.5, 0.5, -0.5, 0.5)) or (q.x, q.y, q.z, q.w) == pytest.approx(
            (0.5, -0.5, 0.5, -0.5)
        )

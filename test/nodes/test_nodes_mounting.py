"""How the camera is mounted: by parameter, by transform, and what is said where neither tells."""

import math
import sys
import types
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rclpy.time import Time

from dvps_ros.config import PerceptionConfig
from dvps_ros.labels import CITYSCAPES
from dvps_ros.nodes import mounting as mounting_module
from dvps_ros.nodes import transforms
from dvps_ros.nodes.diagnostics import anchor_facts, tracking_facts
from dvps_ros.nodes.mounting import Mount, Mounting
from dvps_ros.structures import Anchor, CameraMotion, Scene, Segment, TrackedThing

#: An optical frame (x right, y down, z ahead) in a base frame (x ahead, y left, z up), as a quaternion.
OPTICAL = (-0.5, 0.5, -0.5, 0.5)
#: In nanoseconds.
SECOND = 1_000_000_000


class MissingError(Exception):
    pass


@pytest.fixture
def tree(monkeypatch):
    """tf2_ros' buffer and listener, by a dictionary of (target, source).

    A value is the newest translation and rotation; with a third entry (a list of stamps in nanoseconds, the newest
    last) there are transforms at these stamps alone, and with a fourth one that comes while somebody waits.
    """
    known = {"waited": []}

    class Buffer:
        def clear(self):
            for key in [key for key, value in known.items() if isinstance(value, tuple) and len(value) > 2]:
                del known[key]

        def lookup_transform(self, target, source, time, timeout):
            if (target, source) not in known:
                raise MissingError(f'"{target}" passed to lookupTransform\ndoes not exist')
            (x, y, z), rotation, *stamped = known[target, source]
            stamps = stamped[0] if stamped else [0]
            if timeout.nanoseconds:
                known["waited"].append(timeout.nanoseconds / 1e9)
                stamps.extend(stamped[1:])
            if time.nanoseconds and stamped and time.nanoseconds not in stamps:
                raise MissingError("Lookup would require extrapolation into the future")
            fields = dict(zip("xyzw", rotation, strict=True))
            return SimpleNamespace(
                header=SimpleNamespace(stamp=Time(nanoseconds=stamps[-1]).to_msg()),
                transform=SimpleNamespace(
                    translation=SimpleNamespace(x=x, y=y, z=z), rotation=SimpleNamespace(**fields)
                ),
            )

    class Listener:
        alive = 0

        def __init__(self, buffer, node):
            Listener.alive += 1

        def unregister(self):
            Listener.alive -= 1

    for name, value in (("Buffer", Buffer), ("TransformListener", Listener), ("TransformException", MissingError)):
        monkeypatch.setattr(transforms, name, value, raising=False)
    known["listeners"] = Listener
    return known


def mounting(**options):
    return Mounting(None, lambda: PerceptionConfig(**options))


def test_without_parameters_nothing_is_known():
    assert mounting().of("camera") == Mount()


def test_a_height_alone():
    assert mounting(camera_height=1.2).of("camera") == Mount(1.2)


def test_height_and_up_come_from_a_transform(tree):
    tree["base_footprint", "camera"] = ((0.3, 0.0, 0.9), OPTICAL)
    found = mounting(base_frame="base_footprint").of("camera")
    assert (found.height, found.problem) == (0.9, "")
    assert found.up == pytest.approx((0, -1, 0), abs=1e-9)


def test_a_camera_that_looks_down(tree):
    """Pitched by 20 degrees around the base's y axis (left), then turned into the optical frame."""
    half = math.radians(20) / 2
    pitch, q = np.array((0, math.sin(half), 0, math.cos(half))), np.array(OPTICAL)
    x, y, z, w = (
        pitch[3] * q[0] + pitch[0] * q[3] + pitch[1] * q[2] - pitch[2] * q[1],
        pitch[3] * q[1] - pitch[0] * q[2] + pitch[1] * q[3] + pitch[2] * q[0],
        pitch[3] * q[2] + pitch[0] * q[1] - pitch[1] * q[0] + pitch[2] * q[3],
        pitch[3] * q[3] - pitch[0] * q[0] - pitch[1] * q[1] - pitch[2] * q[2],
    )
    tree["base", "camera"] = ((0.0, 0.0, 1.5), (x, y, z, w))
    down = math.radians(20)
    assert mounting(base_frame="base").of("camera").up == pytest.approx((0, -math.cos(down), -math.sin(down)), abs=1e-9)


def test_the_parameter_counts_before_the_transforms_height(tree):
    tree["base_link", "camera"] = ((0.0, 0.0, 0.4), OPTICAL)  # base_link is above the ground
    found = mounting(base_frame="base_link", camera_height=0.7).of("camera")
    assert (found.height, found.problem) == (0.7, "")
    assert found.up is not None


def test_a_transform_is_missing_and_comes(tree):
    mounted = mounting(base_frame="base")
    found = mounted.of("camera")
    assert (found.height, found.up) == (0.0, None)
    assert found.problem.startswith("no transform from 'camera' to 'base': ")
    assert "\n" not in found.problem
    tree["base", "camera"] = ((0.0, 0.0, 1.0), OPTICAL)
    assert mounted.of("camera").height == 1.0


def test_the_last_transform_counts_for_a_while(tree, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(mounting_module.time, "monotonic", lambda: now[0])
    tree["base", "camera"] = ((0.0, 0.0, 1.0), OPTICAL)
    mounted = mounting(base_frame="base")
    known = mounted.of("camera")
    del tree["base", "camera"]
    now[0] += 9.0
    held = mounted.of("camera")
    assert (held.height, held.up) == (known.height, known.up)
    assert held.problem.startswith("no transform from 'camera' to 'base': ")
    assert mounted.of("other").height == 0
    now[0] += 2.0
    assert mounted.of("camera").height == 0


def test_a_camera_below_the_ground_plane_has_no_height(tree):
    tree["map", "camera"] = ((0.0, 0.0, -2.5), OPTICAL)
    found = mounting(base_frame="map").of("camera")
    assert found.height == 0
    assert found.problem == "camera lies 2.50 m below the ground plane of map"


def test_a_pose_in_the_fixed_frame_at_the_stamp(tree):
    """It is that of the image's stamp, and the mount stays unknown."""
    tree["odom", "camera"] = ((5.0, 1.0, 0.9), OPTICAL, [SECOND])
    placed = mounting(fixed_frame="odom")
    pose = placed.pose("camera", SECOND)
    assert pose[:3, 3] == pytest.approx([5.0, 1.0, 0.9])
    assert pose[:3, 2] == pytest.approx([1, 0, 0], abs=1e-9)  # the optical axis points ahead
    assert placed.pose_problem == ""
    assert placed.of("camera") == Mount()
    assert tree["waited"] == []


def test_a_late_transform_is_waited_for(tree):
    tree["odom", "camera"] = ((5.0, 1.0, 0.9), OPTICAL, [SECOND], SECOND + 1)
    placed = mounting(fixed_frame="odom", transform_timeout=0.3)
    assert placed.pose("camera", SECOND + 1) is not None
    assert placed.pose_problem == ""
    assert tree["waited"] == [pytest.approx(0.3)]


def test_a_transform_that_does_not_come_is_a_problem(tree):
    tree["odom", "camera"] = ((5.0, 1.0, 0.9), OPTICAL, [SECOND])
    placed = mounting(fixed_frame="odom")
    assert placed.pose("camera", SECOND + 1) is None
    assert "extrapolation into the future" in placed.pose_problem


def test_nobody_waits_for_transforms_that_have_stopped_or_never_came(tree):
    placed = mounting(fixed_frame="odom")
    assert placed.pose("camera", SECOND) is None
    assert "does not exist" in placed.pose_problem
    tree["odom", "camera"] = ((5.0, 1.0, 0.9), OPTICAL, [SECOND], 3 * SECOND)
    assert placed.pose("camera", 3 * SECOND) is None
    assert placed.pose_problem == "the newest transform from 'camera' to 'odom' is over a second old"
    assert tree["waited"] == []


def test_an_image_without_a_stamp_has_no_pose(tree):
    tree["odom", "camera"] = ((5.0, 1.0, 0.9), OPTICAL)
    placed = mounting(fixed_frame="odom")
    assert placed.pose("camera", 0) is None
    assert placed.pose_problem == "the image has no stamp"
    assert mounting(base_frame="odom").pose("camera", SECOND) is None  # not asked for


def test_a_placement_in_the_target_frame(tree):
    tree["base_link", "camera"] = ((0.3, 0.0, 0.9), OPTICAL)
    placed = mounting(target_frame="base_link")
    found = placed.placement("camera", SECOND)
    assert found.frame_id == "base_link"
    assert found.matrix[:3, 3] == pytest.approx([0.3, 0.0, 0.9])
    assert (placed.placement_problem, placed.pose("camera", SECOND)) == ("", None)
    assert placed.placement("other", SECOND) is None
    assert placed.placement_problem.startswith("no transform from 'other' to 'base_link': ")
    assert mounting(base_frame="base_link").placement("camera", SECOND) is None  # not asked for


def test_its_listener_ends_with_it(tree):
    mounted = mounting(base_frame="base")
    assert tree["listeners"].alive == 1
    mounted.destroy()
    assert tree["listeners"].alive == 0
    mounting().destroy()


def test_without_tf2_ros_it_says_so(monkeypatch):
    monkeypatch.setattr(transforms, "Buffer", None)
    found = mounting(base_frame="base").of("camera")
    assert found == Mount(problem="no transform from 'camera' to 'base': tf2_ros is not installed")


def test_facts_of_an_anchor():
    assert anchor_facts(Anchor(), "") == {}
    assert anchor_facts(Anchor(), "no transform") == {"scale": "not anchored: no transform"}
    facts = anchor_facts(Anchor(1.3612, "held", "too little ground in view", 0.013, 0.5, 2.26), "")
    assert facts == {
        "scale": "held: too little ground in view",
        "scale factor": "1.361",
        "ground (% of the image)": "1",
        "ground on one plane (%)": "50",
        "ground's tilt (degrees)": "2.3",
    }


def test_facts_of_objects_and_of_the_camera_s_motion():
    panoptic, maps = torch.zeros((2, 2), dtype=torch.int32), (torch.ones((2, 2)), torch.ones((2, 2)))
    segments = tuple(Segment(i, i // 1000, i % 1000, 0.9, 1, 9.0) for i in (0, 11001, 13002))
    scene = Scene(panoptic, *maps, segments)
    assert tracking_facts(scene, CITYSCAPES) == {"objects": "2"}
    things = tuple(TrackedThing(i, *[np.zeros(3)] * 2, np.eye(6), 0.1, 2, i == 11001, False) for i in (11001, 13002))
    moved = replace(scene, things=things, motion=CameraMotion(np.eye(4), 0.1, 0.823, "picture"))
    assert tracking_facts(moved, CITYSCAPES) == {
        "objects": "2",
        "objects confirmed": "1",
        "camera's motion": "from the picture, 82 % of corners agree",
    }
    lost = replace(scene, motion=CameraMotion(problem="too few corners found again"))
    assert tracking_facts(lost, CITYSCAPES)["camera's motion"] == "unknown: too few corners found again"
    given = replace(scene, motion=CameraMotion(np.eye(4), 0.1, 1.0, "given"))
    assert tracking_facts(given, CITYSCAPES)["camera's motion"] == "from TF"
    assert tracking_facts(scene, CITYSCAPES, "no transform") == {"objects": "2", "fixed frame": "no transform"}


def test_the_real_tf2_ros_has_what_is_used():
    tf2 = pytest.importorskip("tf2_ros")
    assert isinstance(tf2, types.ModuleType)
    assert transforms.Buffer is sys.modules["tf2_ros"].Buffer


def test_where_stamps_jump_back_old_transforms_are_forgotten_and_static_ones_stay(tree):
    """tf2 refuses transforms ten seconds older than the newest: all of them, after a recording has begun anew."""
    tree["odom", "camera"] = ((160.0, 0.0, 0.0), OPTICAL, [160 * SECOND])
    tree["base", "camera"] = ((0.0, 0.0, 1.2), OPTICAL)
    mount = mounting(fixed_frame="odom", base_frame="base", transform_timeout=0.5)
    for stamp in (0, 159, 160, 0, 159.5):  # images may come out of order, or without a stamp
        mount.begin(round(stamp * SECOND))
    assert mount.pose("camera", 160 * SECOND) is not None
    assert mount.pose("camera", 100 * SECOND) is None
    assert "past" in mount.pose_problem or "extrapolation" in mount.pose_problem
    assert tree["waited"] == []  # nothing that comes now can be older
    mount.begin(100 * SECOND)
    assert mount.pose("camera", 160 * SECOND) is None
    assert mount.of("camera").height == 1.2
    tree["odom", "camera"] = ((100.0, 0.0, 0.0), OPTICAL, [100 * SECOND])
    assert mount.pose("camera", 100 * SECOND)[0, 3] == 100

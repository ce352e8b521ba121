"""No value of a live parameter inside its range makes a frame fail: random settings and scenes through ``pack``."""

import math
import typing
from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from std_msgs.msg import Header

from dvps_ros.config import MergeConfig, PerceptionConfig, describe
from dvps_ros.labels import CITYSCAPES, DIVISOR, VOID
from dvps_ros.nodes.frame import Frame
from dvps_ros.nodes.messages import info_of
from dvps_ros.nodes.outputs import pack, topics
from dvps_ros.nodes.packing import POINT, Buffer
from dvps_ros.scene.merge import merge
from dvps_ros.structures import Intrinsics, Prediction, Scene, Segment

LIVE = {row["path"]: row for row in describe(PerceptionConfig) if row["runtime"]}
#: What a scene's pixels may be: stuff, sky, several things, unlabelled.
IDS = (0, 8000, 10000, 11001, 13001, 13002, 13999, 18007, VOID)
#: Depths that no network should give, and those that it gives.
ODD_DEPTHS = (math.nan, math.inf, -math.inf, -3.0, 0.0, 1e-30, 1e-3, 7.0, 7.0001, 79.9, 80.0, 3.4e38)


def values_of(row):
    """A strategy for one parameter: its default, the ends of its range, what lies near the lower one, and the rest."""
    if typing.get_origin(row["type"]) is typing.Literal:
        return st.sampled_from(typing.get_args(row["type"]))
    low, high = row["low"], row["high"]
    if row["type"] is int:
        rest = st.integers(low, 2**63 - 1 if high is None else high)
    else:
        rest = st.floats(low, high, allow_nan=False, allow_infinity=False)
    near = [low + (1 if row["type"] is int else 0.5), *([] if high is None else [high])]
    return st.one_of(st.just(row["default"]), st.just(low), st.sampled_from(near), rest)


#: A value for each live parameter.
live_settings = st.fixed_dictionaries({name: values_of(row) for name, row in LIVE.items()})


@st.composite
def scenes(draw):
    """A scene of a few things with an odd depth here and there, its picture and its camera (None: uncalibrated)."""
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ids = random.choice(random.choice(IDS, random.integers(1, 5)), (height, width))
    depth = random.choice([1.0, 10.0, 30.0], (height, width)) * random.lognormal(0, random.choice([0, 0.01, 1]))
    depth = depth * random.lognormal(0, random.choice([0, 0.05, 2]), (height, width))
    odd = random.random((height, width)) < random.choice([0, 0.1, 1], p=[0.5, 0.4, 0.1])
    depth[odd] = random.choice(ODD_DEPTHS, odd.sum())
    kept = sorted(set(ids.ravel().tolist()) - {VOID})
    segments = [Segment(i, i // DIVISOR, i % DIVISOR, float(random.random()), int((ids == i).sum()), 5.0) for i in kept]
    focal = draw(st.sampled_from([0.0, 1.0, 20.0, 1e6]))
    camera = Intrinsics(focal, focal, width / 2, height / 2, width, height) if focal else None
    maps = torch.tensor(ids, dtype=torch.int32), torch.tensor(depth, dtype=torch.float32)
    scene = Scene(*maps, torch.rand(height, width), tuple(segments), metric=camera is not None)
    return scene, random.integers(0, 256, (height, width, 3), dtype=np.uint8), camera


def frame_of(scene, image, camera, config):
    info = None if camera is None else info_of(camera)
    return Frame(Header(frame_id="camera"), image, scene, camera, info, CITYSCAPES, config)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(live_settings, scenes(), st.sampled_from(["32FC1", "16UC1"]), st.booleans())
def test_every_topic_of_every_scene_is_made_with_any_live_settings(values, drawn, encoding, organized):
    scene, image, camera = drawn
    frame = frame_of(scene, image, camera, PerceptionConfig(**values, depth_encoding=encoding, organized=organized))
    wanted = topics(True) | topics(False)
    with np.errstate(all="ignore"):
        made = pack(frame, wanted, {name: Buffer() for name in wanted})
    assert set(made) == set(topics(calibrated=camera is not None))
    for message in made.values():
        assert serialize_message(message)
    if camera is not None:
        check_instances(made["instances"], made["markers"], scene)


def check_instances(cloud, markers, scene):
    """Each thing of the cloud has its own score, one box, and points that are its own."""
    scores = {segment.id: segment.score for segment in scene.segments}
    points = np.frombuffer(cloud.data, POINT)
    ids = points["label"].astype(int) * DIVISOR + points["instance"]
    assert (np.diff(ids) >= 0).all(), "grouped by id"
    assert points["score"] == pytest.approx([scores[i] for i in ids], abs=1e-6)
    boxes = [marker.id for marker in markers.markers if marker.ns == "box"]
    assert boxes == sorted(set(ids.tolist()))


def test_every_scene_is_merged_with_any_thresholds():
    names = ("score_threshold", "mask_threshold", "overlap_threshold")
    assert set(names) <= set(LIVE)

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(*(st.sampled_from([0.0, 1e-30, 0.3, 0.5, 0.999999, 1.0]) for _ in names), st.integers(0, 1000))
    def merged(score, mask, overlap, seed):
        torch.manual_seed(seed)
        queries, width = 6, 8
        parts = [(1, queries, len(CITYSCAPES) + 1), (1, queries, width), (1, width, 8, 16), (1, queries, width)]
        tensors = [3 * torch.randn(shape) for shape in (*parts, (1, 1, width), (1, width, 8, 16))]
        config = MergeConfig(score_threshold=score, mask_threshold=mask, overlap_threshold=overlap)
        scene = merge(Prediction(*tensors, 80.0), 0, (32, 64), (30, 61), CITYSCAPES, config)
        found = set(scene.panoptic.unique().tolist()) - {VOID}
        assert found == {segment.id for segment in scene.segments}
        assert all(segment.area == int((scene.panoptic == segment.id).sum()) > 0 for segment in scene.segments)

    merged()


def test_packing_leaves_what_it_is_given_as_it_was():
    """The input may hold the camera_info and the image's bytes, and the next frame may need them."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (32, 64, 3), dtype=np.uint8)
    panoptic = torch.tensor(rng.choice(IDS, (32, 64)), dtype=torch.int32)
    scene = Scene(panoptic, torch.rand(32, 64) * 90, torch.rand(32, 64))
    camera = Intrinsics(50.0, 50.0, 31.5, 15.5, 64, 32)
    frame = frame_of(scene, image, camera, PerceptionConfig())
    frame.info.header.frame_id = "what the camera said"
    before = deepcopy((image, scene, frame.info, frame.header))
    pixels = image.copy()
    made = pack(frame, topics(), {name: Buffer() for name in topics()})
    made["depth/camera_info"].header = Header(frame_id="published")
    assert (image == pixels).all()
    assert (frame.info, frame.header) == before[2:]
    for name in ("panoptic", "depth", "confidence"):
        assert torch.equal(getattr(scene, name), getattr(before[1], name)), name

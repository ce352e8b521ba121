"""Scenes and clouds to messages: values, types and layouts that readers rely on."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from node_helpers import CAMERA, HEIGHT, WIDTH, QuickPerceiver
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from dvps_ros.config import PerceptionConfig
from dvps_ros.labels import CITYSCAPES, SEMKITTI
from dvps_ros.nodes import packing
from dvps_ros.nodes.frame import Frame
from dvps_ros.nodes.outputs import pack, topics
from dvps_ros.structures import Intrinsics, Scene, SegmentCloud, TrackedThing

HEADER = Header(frame_id="camera")


def scene_of(panoptic, depth):
    panoptic = torch.tensor(panoptic, dtype=torch.int32)
    return Scene(panoptic, torch.tensor(depth, dtype=torch.float32), torch.full(panoptic.shape, 0.5))


def values_of(message, dtype):
    """The array of an Image as a reader sees it, after the wire."""
    message = deserialize_message(serialize_message(message), Image)
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width)


def test_label_images():
    scene = scene_of([[0, 13007, 255000], [10000, 18999, 255000]], [[1.0] * 3] * 2)
    for values, encoding, dtype, expected in (
        (packing.panoptic(scene), "32SC1", "<i4", [[0, 13007, 255000], [10000, 18999, 255000]]),
        (packing.semantic(scene), "mono8", "u1", [[0, 13, 255], [10, 18, 255]]),
        (packing.instance(scene), "16UC1", "<u2", [[0, 7, 65535], [0, 999, 65535]]),
        (packing.confidence(scene), "mono8", "u1", [[128] * 3] * 2),
    ):
        message = packing.image_message(HEADER, values, encoding, packing.Buffer())
        assert (message.encoding, message.step, message.is_bigendian) == (encoding, 3 * np.dtype(dtype).itemsize, 0)
        assert values_of(message, dtype).tolist() == expected


def test_depth_has_infinity_for_sky_and_beyond_range_and_nan_for_unknown():
    scene = scene_of([[0, 10000, 0, 0, 255000]], [[5.0, 5.0, 90.0, 0.0, 7.5]])
    message = packing.image_message(HEADER, packing.depth(scene, CITYSCAPES, 80.0), "32FC1", packing.Buffer())
    assert np.array_equal(values_of(message, "<f4"), [[5.0, math.inf, math.inf, math.nan, 7.5]], equal_nan=True)


def test_depth_is_unknown_where_the_lens_shows_nothing():
    """A fisheye's pixels at 90 degrees and more have no distance along z, and no points."""
    fisheye = Intrinsics(10.0, 10.0, 19.5, 0.0, 40, 1, "equidistant", (0.0, 0.0, 0.0, 0.0))
    scene = replace(scene_of([[0] * 39 + [10000]], [[7.0] * 40]), depth_std=torch.ones(1, 40))
    known = abs(np.arange(40) - 19.5) < 10 * math.pi / 2
    values = packing.depth(scene, CITYSCAPES, 80.0, fisheye).numpy()[0]
    assert np.array_equal(values, np.where(known, 7.0, math.nan), equal_nan=True)  # of the sky there, too
    values = packing.uncertainty(scene, CITYSCAPES, 80.0, fisheye).numpy()[0]
    assert np.array_equal(values, np.where(known, 1.0, math.nan), equal_nan=True)
    frame = Frame(HEADER, np.zeros((1, 40, 3), np.uint8), scene, fisheye, None, CITYSCAPES, PerceptionConfig())
    messages = pack(
        frame, ("depth", "depth/uncertainty"), {n: packing.Buffer() for n in ("depth", "depth/uncertainty")}
    )
    for message in messages.values():
        assert np.array_equal(np.isfinite(values_of(message, "<f4")[0]), known)


def test_uncertainty_is_a_number_only_where_depth_is():
    scene = scene_of([[0, 10000, 0, 0, 255000]], [[5.0, 5.0, 90.0, 0.0, 7.5]])
    scene = replace(scene, depth_std=torch.tensor([[0.25, 1.0, 2.0, 3.0, 0.5]]))
    message = packing.image_message(HEADER, packing.uncertainty(scene, CITYSCAPES, 80.0), "32FC1", packing.Buffer())
    assert np.array_equal(values_of(message, "<f4"), [[0.25, math.nan, math.nan, math.nan, 0.5]], equal_nan=True)


def test_uncertainty_and_its_limit_are_for_models_that_tell_it():
    camera = Intrinsics(50.0, 50.0, 3.5, 1.5, 8, 4)
    scene = Scene(torch.full((4, 8), 13001, dtype=torch.int32), torch.full((4, 8), 7.0), torch.ones(4, 8))
    told = replace(scene, depth_std=torch.full((4, 8), 0.5).index_fill(1, torch.tensor([0]), 3.0))
    names = ("depth/uncertainty", "obstacles")
    rows = {}
    for limit in (0.0, 1.0):
        for name, one in (("untold", scene), ("told", told)):
            config = PerceptionConfig(max_uncertainty=limit, voxel_size=0.01)
            frame = Frame(HEADER, np.zeros((4, 8, 3), np.uint8), one, camera, None, CITYSCAPES, config)
            made = pack(frame, names, {topic: packing.Buffer() for topic in names})
            rows[name, limit] = made["obstacles"].width
            assert ("depth/uncertainty" in made) is (name == "told")
    assert rows == {("untold", 0.0): 32, ("told", 0.0): 32, ("untold", 1.0): 32, ("told", 1.0): 28}
    assert set(topics(uncertainty=True)) - set(topics()) == {"depth/uncertainty"}
    assert "depth/uncertainty" not in topics(calibrated=False, uncertainty=True)


def test_no_reader_takes_an_unknown_depth_for_a_distance():
    """REP 117 and REP 118: +Inf says "further than can be seen", NaN "unknown"; neither 0 nor -Inf appears."""
    odd = [math.nan, math.inf, -math.inf, 0.0, -0.0, -3.0, 1e-40, 80.0, 80.001, 3.4e38]
    road, sky, unlabelled = 0, 10000, 255000
    scene = scene_of([[road] * len(odd), [sky] * len(odd), [unlabelled] * len(odd)], [odd] * 3)
    on_road, in_sky, without = packing.depth(scene, CITYSCAPES, 80.0).numpy()
    nan, inf = math.nan, math.inf
    expected = np.array([nan, inf, nan, nan, nan, nan, 1e-40, 80.0, inf, inf], np.float32)
    assert np.array_equal(on_road, expected, equal_nan=True)
    assert np.array_equal(without, expected, equal_nan=True)
    assert np.isposinf(in_sky).all()
    millimetres = packing.millimetres(packing.depth(scene, CITYSCAPES, 80.0)).numpy().view(np.uint16)
    assert set(millimetres[0].tolist()) == {0}  # REP 118 knows no other way in 16UC1; 80 m do not fit


def test_depth_in_millimetres_uses_the_whole_range():
    metres = torch.tensor([[1.2344, 40.0, 65.535, 65.6, math.inf, math.nan]])
    message = packing.image_message(HEADER, packing.millimetres(metres), "16UC1", packing.Buffer())
    assert values_of(message, "<u2").tolist() == [[1234, 40000, 65535, 0, 0, 0]]


def cloud_of(rows):
    generator = torch.Generator().manual_seed(0)
    return SegmentCloud(
        torch.randn(rows, 3, generator=generator),
        torch.randint(0, 256, (rows, 3), generator=generator, dtype=torch.uint8),
        torch.randint(0, 256, (rows,), generator=generator, dtype=torch.int32),
        torch.randint(0, 65536, (rows,), generator=generator, dtype=torch.int32),
        torch.rand(rows, generator=generator),
    )


@pytest.mark.parametrize(("rows", "shape"), [(0, None), (7, None), (12, (3, 4))])
def test_cloud_fields_survive_the_wire(rows, shape):
    cloud = cloud_of(rows)
    message = packing.cloud_message(HEADER, cloud, packing.Buffer(), shape)
    message = deserialize_message(serialize_message(message), PointCloud2)
    assert (message.height, message.width) == (shape or (1, rows))
    assert message.row_step == message.point_step * message.width
    assert message.is_dense == (shape is None)
    formats = {7: "<f4", 4: "<u2"}
    read = np.frombuffer(
        message.data,
        {
            "names": [f.name for f in message.fields],
            "formats": [formats[f.datatype] for f in message.fields],
            "offsets": [f.offset for f in message.fields],
            "itemsize": message.point_step,
        },
    )
    assert np.array_equal(np.stack([read[axis] for axis in "xyz"], -1), cloud.xyz.numpy())
    assert np.array_equal(read["label"], cloud.label.numpy())
    assert np.array_equal(read["instance"], cloud.instance.numpy())
    assert np.array_equal(read["score"], cloud.score.numpy())
    color = read["rgb"].copy().view(np.uint32)
    assert np.array_equal(np.stack([color >> 16 & 255, color >> 8 & 255, color & 255], -1), cloud.rgb.numpy())


def test_buffer_is_reused_and_follows_the_size():
    buffer = packing.Buffer()
    first = buffer.fill(np.arange(6, dtype=np.uint8))
    second = buffer.fill(np.arange(6, 12, dtype=np.uint8))
    assert first is second
    assert second.tolist() == [6, 7, 8, 9, 10, 11]
    assert len(buffer.fill(np.zeros((5, 7), np.float32))) == 140


def test_a_buffer_grows_and_shrinks_in_place_and_spares_what_is_still_looked_at():
    buffer, sizes = packing.Buffer(), (100, 90, 7, 0, 110, 100)
    filled = [buffer.fill(np.full(size, size, np.uint8)) for size in sizes]
    assert all(data is filled[0] for data in filled)
    assert filled[0].tolist() == [100] * 100
    looked_at = np.frombuffer(filled[0], np.uint8)
    assert buffer.fill(np.full(50, 50, np.uint8)).tolist() == [50] * 50
    assert looked_at.tolist() == [100] * 100


def frame_of(**settings):
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    scene = QuickPerceiver().step(image, CAMERA)
    return Frame(HEADER, image, scene, CAMERA, None, CITYSCAPES, PerceptionConfig(**settings))


def test_markers_do_not_stay_for_ever():
    """A lifetime of 0 is one without end (visualization_msgs/Marker), also after the camera was unplugged."""
    markers = packing.marker_array(HEADER, frame_of().instances[1], CITYSCAPES).markers
    assert len(markers) > 1
    assert all(marker.lifetime.sec == 5 for marker in markers[1:])


def test_markers_are_where_the_car_is():
    markers = packing.marker_array(
        HEADER, frame_of(box_percentile=0.0, edge_threshold=0.0).instances[1], CITYSCAPES
    ).markers
    assert [marker.action for marker in markers] == [Marker.DELETEALL, Marker.ADD, Marker.ADD]
    box, name = markers[1:]
    color = [box.color.r, box.color.g, box.color.b]
    assert color == pytest.approx([channel / 255 for channel in CITYSCAPES.colors[CITYSCAPES.index("car")]])
    assert 0 < box.color.a < 1  # the points in the box stay visible
    assert name.text == "car 1"
    assert box.pose.position.z == pytest.approx(10.0)
    columns = range(WIDTH // 3, 2 * WIDTH // 3)  # the car's, 10 m away, fx 50
    assert box.scale.x == pytest.approx((len(columns) - 1) * 10 / 50, rel=1e-4)
    assert box.pose.position.x == pytest.approx(((columns[0] + columns[-1]) / 2 - CAMERA.cx) * 10 / 50, abs=1e-4)


@pytest.mark.parametrize("relative", [False, True])
def test_an_arrow_is_a_second_of_a_thing_s_way(relative):
    boxes = frame_of(box_percentile=0.0, edge_threshold=0.0).instances[1]
    moving = TrackedThing(boxes[0].id, np.zeros(3), np.array([3.0, 0.0, -4.0]), np.eye(6), 1.0, 9, True, relative)
    _, box, name, arrow = packing.marker_array(HEADER, boxes, CITYSCAPES, (moving,)).markers
    assert name.text == "car 1 5.0 m/s" + (" relative" if relative else "")
    start, end = arrow.points
    assert start == box.pose.position
    assert (end.x - start.x, end.y - start.y, end.z - start.z) == pytest.approx((3, 0, -4))
    assert (arrow.ns, arrow.type, arrow.id) == ("velocity", Marker.ARROW, boxes[0].id)
    for still in (replace(moving, confirmed=False), replace(moving, velocity=np.full(3, 0.1))):
        assert len(packing.marker_array(HEADER, boxes, CITYSCAPES, (still,)).markers) == 3


def test_scaled_frame_keeps_geometry():
    frame = frame_of(output_scale=0.5, edge_threshold=0.0, box_percentile=0.0).scaled()
    assert tuple(frame.scene.panoptic.shape) == (HEIGHT // 2, WIDTH // 2)
    assert (frame.intrinsics.width, frame.intrinsics.fx) == (WIDTH // 2, 25.0)
    full, half = frame_of(edge_threshold=0.0, box_percentile=0.0).instances[1], frame.instances[1]
    assert half[0].center == pytest.approx(full[0].center, abs=0.2)
    assert half[0].size == pytest.approx(full[0].size, abs=0.5)


def test_labels_json_names_every_class():
    for labels in (CITYSCAPES, SEMKITTI):
        read = json.loads(packing.labels_json(labels, 0.8))
        assert [row["name"] for row in read["classes"]] == list(labels.names)
        assert [row["id"] for row in read["classes"] if row["thing"]] == list(labels.things)
        assert (read["divisor"], read["void"], read["score_threshold"]) == (1000, 255000, 0.8)

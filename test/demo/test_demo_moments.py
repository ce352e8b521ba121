"""dvps_ros.demo.moments: messages back to arrays, and the choice of moments."""

import numpy as np
import pytest
import torch
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dvps_ros.demo.moments import Moment, choose, cloud_of, montage, values_of
from dvps_ros.labels import CITYSCAPES
from dvps_ros.nodes.packing import Buffer, cloud_message, image_message
from dvps_ros.structures import SegmentCloud


def cloud(count: int = 7) -> SegmentCloud:
    generator = torch.Generator().manual_seed(0)
    return SegmentCloud(
        torch.rand(count, 3, generator=generator) * 10 + 1,
        torch.randint(0, 256, (count, 3), generator=generator, dtype=torch.uint8),
        torch.full((count,), 13, dtype=torch.int32),
        torch.arange(count, dtype=torch.int32) % 2 + 1,
        torch.rand(count, generator=generator),
    )


def moment(seconds: float, objects: int) -> Moment:
    image = np.zeros((32, 64, 3), np.uint8)
    return Moment(seconds, 0.2, objects, image, image, np.full((32, 64), 10.0, np.float32), cloud())


@pytest.mark.parametrize(
    ("values", "encoding"),
    [
        (np.arange(24, dtype=np.uint8).reshape(2, 4, 3), "rgb8"),
        (np.arange(8, dtype=np.int32).reshape(2, 4) - 3, "32SC1"),
        (np.array([[1.5, np.inf, np.nan, 0.0]], np.float32), "32FC1"),
    ],
)
def test_images_round_trip(values, encoding):
    read = values_of(image_message(Header(), values, encoding, Buffer()))
    assert read.dtype == values.dtype
    np.testing.assert_array_equal(read, values)


def test_padded_rows_are_skipped():
    message = Image(height=2, width=1, encoding="rgb8", step=4)
    message.data.frombytes(bytes(range(8)))
    assert values_of(message).tolist() == [[[0, 1, 2]], [[4, 5, 6]]]


@pytest.mark.parametrize("message", [Image(encoding="bgr8"), Image(encoding="32FC1", is_bigendian=1)])
def test_other_images_are_refused(message):
    with pytest.raises(ValueError, match="cannot read a"):
        values_of(message)


def test_clouds_round_trip():
    read = cloud_of(cloud_message(Header(), cloud(), Buffer()))
    for name in ("xyz", "rgb", "label", "instance", "score"):
        assert torch.equal(getattr(read, name), getattr(cloud(), name)), name


def test_holes_of_an_organised_cloud_are_left_out():
    holed = cloud(6)
    holed.xyz[2] = torch.nan
    assert cloud_of(cloud_message(Header(), holed, Buffer(), (2, 3))).instance.tolist() == [1, 2, 2, 1, 2]


def test_another_layout_is_refused():
    message = cloud_message(Header(), cloud(), Buffer())
    message.fields.pop()
    with pytest.raises(ValueError, match="cannot read a cloud"):
        cloud_of(message)


def test_each_stretch_gives_its_fullest_moment():
    run = [moment(float(i), objects) for i, objects in enumerate([1, 5, 2, 7, 3, 0])]
    assert [m.seconds for m in choose(run, 3)] == [1.0, 3.0, 4.0]
    assert [m.seconds for m in choose(run[:2], 6)] == [0.0, 1.0]
    assert choose([], 6) == []


def test_a_montage_has_a_row_for_each_moment():
    one, two = (montage("t", [moment(0.0, 1)] * n, CITYSCAPES, 80.0) for n in (1, 2))
    assert one.dtype == np.uint8
    assert one.shape[1] == two.shape[1] > 3 * 64
    assert two.shape[0] > one.shape[0]
    with pytest.raises(ValueError, match="at least one"):
        montage("t", [], CITYSCAPES, 80.0)

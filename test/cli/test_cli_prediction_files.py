"""The label files of dvps predict, for class tables of any length."""

import numpy as np

from dvps_ros.cli.prediction_files import encode_panoptic
from dvps_ros.datasets.cityscapes_dvps import decode_panoptic
from dvps_ros.labels import CITYSCAPES, VOID, LabelSet


def table(count):
    """Classes of which every odd one is a thing."""
    names = tuple(f"class {k}" for k in range(count))
    return LabelSet("many", names, tuple(k % 2 == 1 for k in range(count)), ((0, 0, 0),) * count)


def test_few_classes_are_16_bits():
    panoptic = np.array([[0, 13_007, 10_000, VOID]], np.int32)
    values = encode_panoptic(panoptic, CITYSCAPES)
    assert values.dtype == np.uint16
    assert values.tolist() == [[0, 13_007, 10_000, 32_000]]
    assert np.array_equal(decode_panoptic(values), panoptic)
    assert encode_panoptic(np.array([[31_999, VOID]]), table(32)).tolist() == [[31_999, 32_000]]


def test_many_classes_are_rgb_as_in_coco():
    panoptic = np.array([[0, 32_000, 65_012, 131_999, 132_000, VOID]])
    rgb = encode_panoptic(panoptic, table(133))
    assert (rgb.shape, rgb.dtype) == ((1, 6, 3), np.uint8)
    assert rgb[0, 2].tolist() == [65_012 % 256, 65_012 // 256, 0]
    assert np.array_equal(rgb.astype(int) @ [1, 256, 65_536], panoptic)


def test_stuff_has_no_instance():
    assert encode_panoptic(np.array([[2_005, 3_005]]), table(19)).tolist() == [[2_000, 3_005]]
    assert (encode_panoptic(np.array([[100_005]]), table(133)).astype(int) @ [1, 256, 65_536]).item() == 100_000

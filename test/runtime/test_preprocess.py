"""The picture on its way to the network."""

import numpy as np
import pytest
import torch

from dvps_ros.config import InputConfig
from dvps_ros.runtime.preprocess import network_size, preprocess
from dvps_ros.structures import Intrinsics

CPU = torch.device("cpu")


def test_same_size_is_passed_through():
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    images = preprocess(image, InputConfig(), CPU)
    assert images.shape == (1, 3, 6, 8)
    assert np.array_equal(images[0].permute(1, 2, 0).numpy(), image)


def test_resizing_keeps_the_geometry_that_intrinsics_say():
    """A bright spot lands where the resized camera projects it."""
    camera = Intrinsics(300.0, 300.0, 160.0, 120.0, 320, 240)
    image = np.zeros((240, 320, 3), np.uint8)
    image[96:104, 196:204] = 255
    images = preprocess(image, InputConfig(height=96, width=128), CPU)[0, 0].float()
    weights = images / images.sum()
    v, u = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    small = camera.resized(128, 96)
    ray = ((199.5 - camera.cx) / camera.fx, (99.5 - camera.cy) / camera.fy)
    assert (weights * u).sum().item() == pytest.approx(ray[0] * small.fx + small.cx, abs=0.05)
    assert (weights * v).sum().item() == pytest.approx(ray[1] * small.fy + small.cy, abs=0.05)


def test_shrinking_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    images = preprocess(stripes, InputConfig(height=16, width=16), CPU).float()
    assert (images - 127.5).abs().max() < 30


def test_strided_and_read_only_pictures_work():
    image = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    flipped = image[:, ::-1]
    assert np.array_equal(preprocess(flipped, InputConfig(), CPU)[0].permute(1, 2, 0).numpy(), flipped)
    image.flags.writeable = False
    assert preprocess(image, InputConfig(), CPU).shape == (1, 3, 6, 8)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4), np.uint8), "shape"),
        (np.zeros((4, 4, 4), np.uint8), "shape"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((0, 4, 3), np.uint8), "empty"),
        (None, "NoneType"),
    ],
)
def test_wrong_pictures_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        preprocess(image, InputConfig(), CPU)


def test_network_size():
    assert network_size((100, 200), InputConfig()) == (100, 200)
    assert network_size((100, 200), InputConfig(height=64, width=96)) == (64, 96)

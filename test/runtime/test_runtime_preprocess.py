"""The picture on its way to the device."""

import numpy as np
import pytest
import torch

from dvps_ros.runtime.preprocess import to_device

CPU = torch.device("cpu")


def test_a_picture_is_not_changed():
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    images = to_device(image, CPU)
    assert images.shape == (1, 3, 6, 8)
    assert images.dtype == torch.uint8
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(images[0].permute(1, 2, 0).numpy(), image)


def test_strided_and_read_only_pictures_work():
    image = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    flipped = image[:, ::-1]
    assert np.array_equal(to_device(flipped, CPU)[0].permute(1, 2, 0).numpy(), flipped)
    image.flags.writeable = False
    assert to_device(image, CPU).shape == (1, 3, 6, 8)


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
        to_device(image, CPU)

"""Half precision on the CPU against float32, for the shipped model: 99 % of pixels, depth to 2 %."""

from pathlib import Path

import pytest
import torch

from dvps_ros.runtime import Perceiver
from dvps_ros.runtime.agreement import HALF, compare

STREET = Path(__file__).resolve().parents[2] / "models" / "street"


@pytest.fixture(scope="module")
def street():
    return Perceiver.load(STREET, "cpu", "32", runtime="torch")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_the_network_in_half_precision_gives_the_scene_of_float32(street, dtype):
    def half(images):
        with torch.autocast("cpu", dtype):
            return street.network(images)

    found = compare(street.network, half, (128, 256), street.labels, street.device, HALF)
    assert found.good, found
    assert found.segments >= 5

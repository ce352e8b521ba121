"""Half precision on the CPU against float32, for the shipped model: depth to 2 %; 99 % of pixels, in bfloat16 90 %."""

from pathlib import Path

import pytest
import torch

from dvps_ros.runtime import Perceiver
from dvps_ros.runtime.agreement import HALF, Tolerance, compare

STREET = Path(__file__).resolve().parents[2] / "models" / "street"


@pytest.fixture(scope="module")
def street():
    return Perceiver.load(STREET, "cpu", "32", runtime="torch")


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float16, HALF), (torch.bfloat16, Tolerance(0.9, 2e-2))],  # of eight bits, and processors round differently
    ids=["float16", "bfloat16"],
)
def test_the_network_in_half_precision_gives_the_scene_of_float32(street, dtype, tolerance):
    def half(images):
        with torch.autocast("cpu", dtype):
            return street.network(images)

    found = compare(street.network, half, (128, 256), street.labels, street.device, tolerance)
    assert found.good, found
    assert found.segments >= 5

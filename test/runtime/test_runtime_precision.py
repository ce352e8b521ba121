"""Half precision on the CPU against float32, for the shipped model: float16 all but 1 %, bfloat16 the labels."""

from pathlib import Path

import pytest
import torch

from dvps_ros.runtime import Perceiver
from dvps_ros.runtime.agreement import HALF, compare

STREET = Path(__file__).resolve().parents[2] / "models" / "street"


@pytest.fixture(scope="module")
def street():
    return Perceiver.load(STREET, "cpu", "32", runtime="torch")


def agreement(street, dtype):
    def half(images):
        with torch.autocast("cpu", dtype):
            return street.network(images)

    found = compare(street.network, half, (256, 512), street.labels, street.device, HALF)
    assert found.segments >= 5
    return found


def test_the_network_in_float16_gives_the_scene_of_float32(street):
    found = agreement(street, torch.float16)
    assert found.good, found


def test_the_network_in_bfloat16_gives_the_labels_of_float32(street):
    """Its eight bits are too coarse for depth, and processors round differently."""
    found = agreement(street, torch.bfloat16)
    assert found.ids >= 0.9, found

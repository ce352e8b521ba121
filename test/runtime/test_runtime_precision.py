"""Half precision on the CPU against float32, for the shipped model: float16 all but 1 %, bfloat16 the classes."""

from pathlib import Path

import pytest
import torch

from dvps_ros.config import StreetConfig
from dvps_ros.labels import DIVISOR
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


def test_the_network_in_bfloat16_gives_the_classes_of_float32(street, monkeypatch):
    """On rendered streets. Its eight bits are too coarse for depth, and for the made-up picture of a check."""
    pytest.importorskip("mujoco", reason="mujoco is not installed")
    from dvps_ros.simulation import sequence

    network = street.network

    def half(images):
        with torch.autocast("cpu", torch.bfloat16):
            return network(images)

    for seed in (9001, 9003):
        [frame] = sequence(seed, StreetConfig(frames=1))
        classes = []
        for used in (network, half):
            monkeypatch.setattr(street, "network", used)
            street.reset_tracks()
            classes.append(street.step(frame.rgb, frame.intrinsics).panoptic // DIVISOR)
        assert len(classes[0].unique()) > 5
        assert (classes[0] == classes[1]).float().mean() >= 0.97

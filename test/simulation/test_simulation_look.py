"""Streets whose look is drawn at random: labels and depth stay true, and the seed alone decides."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("mujoco")

from dvps_ros.config import StreetConfig
from dvps_ros.labels import DIVISOR
from dvps_ros.simulation import sequence

PLAIN = StreetConfig(width=128, height=64, frames=1)
WILD = replace(PLAIN, any_surface=1.0, any_light=1.0, wear=0.5, scenery=1.0)


@pytest.fixture(scope="module")
def wild():
    return [next(iter(sequence(seed, WILD))) for seed in (2, 4)]


def test_the_look_changes_and_the_seed_decides(wild):
    plain = next(iter(sequence(2, PLAIN)))
    assert np.abs(plain.rgb.astype(int) - wild[0].rgb).mean() > 5
    again = next(iter(sequence(2, WILD)))
    assert np.array_equal(again.rgb, wild[0].rgb)
    assert np.array_equal(again.panoptic, wild[0].panoptic)


def test_depth_of_the_road_stays_that_of_the_ground(wild):
    for frame in wild:
        k = frame.intrinsics
        u, v = np.meshgrid(np.arange(k.width), np.arange(k.height))
        rays = np.stack([(u - k.cx) / k.fx, (v - k.cy) / k.fy, np.ones_like(u, float)], -1)
        expected = frame.height / -(rays @ frame.up)
        road = (frame.panoptic // DIVISOR == 0) & (frame.depth > 0) & (frame.depth < 15)
        assert road.sum() > 100
        assert np.median(np.abs(frame.depth[road] / expected[road] - 1)) < 0.02


def test_a_hood_is_void():
    bare = replace(PLAIN, hood=0.0)
    frame, covered = (next(iter(sequence(6, one))) for one in (bare, replace(bare, hood=1.0)))
    below = slice(PLAIN.height - 2, None)
    assert (covered.panoptic[below] // DIVISOR == 255).mean() > (frame.panoptic[below] // DIVISOR == 255).mean() + 0.3

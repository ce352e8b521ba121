"""The order of files by their names."""

from pathlib import Path

import numpy as np
import pytest

from dvps_ros.datasets.order import natural


@pytest.mark.parametrize(
    "names",
    [
        ["frame_1", "frame_2", "frame_10", "frame_100"],
        ["1", "9", "010", "11"],
        ["left_2_cam1", "left_2_cam2", "left_10_cam1"],
        ["1700000000.25", "1700000000.5", "1700000000.75", "1700000001.1"],  # times with the zeros left out
        ["1.9.7", "1.10.2"],  # no times
        ["a", "b1", "b2", "c"],
        ["1", "01"],  # one number: the shorter name first
    ],
)
def test_natural_order(names):
    shuffled = [Path(f"{name}.png") for name in np.random.default_rng(0).permutation(names)]
    assert [path.stem for path in natural(shuffled)] == names

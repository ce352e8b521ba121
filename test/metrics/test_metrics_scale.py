"""The scale of depth over frames, by hand-calculated medians."""

import math

import numpy as np
import pytest

from dvps_ros.metrics import DepthScale


def scale_of(*frames):
    scale = DepthScale()
    for pred, true in frames:
        scale.update(np.array(pred, float), np.array(true, float))
    return scale


def test_the_median_of_frames_of_the_median_of_pixels():
    frames = [([2, 4, 60], [1, 2, 3]), ([3, 3], [1, 1]), ([0.5, 7], [1, 0])]  # 2, 3, 0.5
    assert scale_of(*frames).compute()["scale"] == pytest.approx(2, rel=1e-3)


def test_the_root_mean_square_of_the_logarithm():
    frames = [([2.0], [1.0]), ([1.0], [1.0]), ([0.5], [1.0])]
    assert scale_of(*frames).compute()["scale_error"] == pytest.approx(math.sqrt(2 / 3) * math.log(2), rel=1e-3)
    assert math.isnan(DepthScale().compute()["scale_error"])


def test_pixels_without_a_label_or_a_distance_do_not_count():
    assert scale_of(([math.nan, math.inf, 0, 5], [1, 1, 1, 4])).compute()["scale"] == pytest.approx(1.25, rel=1e-3)
    assert math.isnan(scale_of(([5.0], [0.0])).compute()["scale"])


def test_far_off_is_as_far_as_is_counted():
    assert scale_of(([1e6], [1])).compute()["scale"] == pytest.approx(math.exp(4))


def test_parts_add_up_to_the_whole():
    frames = [([k], [10]) for k in range(1, 8)]
    parts = [scale_of(*frames[:3]).state(), scale_of(*frames[3:]).state()]
    whole = DepthScale()
    whole.load_state({key: sum(part[key] for part in parts) for key in parts[0]})
    assert whole.state() == scale_of(*frames).state()
    assert whole.compute()["scale"] == pytest.approx(0.4, rel=1e-3)

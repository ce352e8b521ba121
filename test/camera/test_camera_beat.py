"""One rule thins what comes in: the rate that was asked for is the rate that is taken."""

import numpy as np
import pytest

from dvps_ros.camera.beat import Beat


@pytest.mark.parametrize("camera", [20.0, 30.0, 29.0])
@pytest.mark.parametrize("jitter", [0.0, 0.3, 0.9])
def test_the_rate_that_was_asked_for_is_taken_under_jitter(camera, jitter):
    """A minute at 10 Hz; jitter is a share of the camera's interval."""
    rng = np.random.default_rng(0)
    times = np.sort((np.arange(60 * camera) + rng.uniform(-jitter / 2, jitter / 2, int(60 * camera))) / camera)
    beat = Beat()
    taken = [seconds for seconds in times.tolist() if beat.takes(seconds, 0.1)]
    assert abs(len(taken) - 600) <= 6


def test_a_slower_camera_is_taken_whole_and_a_pause_saves_up_nothing():
    beat = Beat()
    assert all(beat.takes(seconds, 0.1) for seconds in np.arange(0, 5, 0.2).tolist())
    burst = [100 + number / 30 for number in range(30)]
    assert sum(beat.takes(seconds, 0.1) for seconds in burst) == 10


def test_an_interval_of_zero_takes_all_and_an_interruption_begins_anew():
    beat = Beat()
    assert all(beat.takes(seconds, 0.0) for seconds in (0.0, 0.0, 0.001))
    beat = Beat()
    assert beat.takes(5.0, 1.0)
    assert not beat.takes(5.1, 1.0)
    assert beat.takes(2.0, 1.0, restart=True)
    assert not beat.takes(2.5, 1.0)
    assert beat.takes(3.0, 1.0)


def test_a_shorter_interval_counts_at_once():
    beat = Beat()
    assert beat.takes(0.0, 10.0)
    assert not beat.takes(0.1, 10.0)
    assert [beat.takes(seconds, 0.1) for seconds in (0.2, 0.31)] == [False, True]

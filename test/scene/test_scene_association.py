"""Affinity of made-up tracks and things: parts of what is hidden, classes, sizes."""

import numpy as np

from dvps_ros.config import TrackConfig
from dvps_ros.scene.association import Forecast, affinity
from dvps_ros.scene.things import Thing

CAR, PERSON = 13, 11
DEPTH, FOCAL = 20.0, 200.0


def block(class_id, top, left, height, width):
    rows, columns = np.mgrid[top : top + height, left : left + width]
    pixels = np.stack([rows.ravel(), columns.ravel()], 1)
    return Thing(class_id, pixels, pixels.mean(0), DEPTH, np.zeros((1, 3)), len(pixels), False)


def place(thing):
    y, x = (thing.center - 50) * DEPTH / FOCAL
    return np.array([x, y, DEPTH])


def worth(before, seen, spread=0.05):
    """How well a track, expected just where ``before`` was, goes with what is seen; by places alone."""
    away = np.full((1, 2), -1, np.int64)  # expected out of the picture: masks say nothing
    expected = Forecast(
        away, np.zeros(1, np.int64), np.zeros(1), place(before)[None], spread**2 * np.eye(3)[None],
        np.array([before.extent]), np.ones(1),
    )  # fmt: skip
    found = affinity(
        expected, [before], [seen], place(seen)[None], np.array([seen.extent * DEPTH / FOCAL]), TrackConfig()
    )
    return float(found[0, 0])


def test_the_same_block_is_the_same():
    assert worth(block(CAR, 40, 40, 20, 40), block(CAR, 40, 40, 20, 40)) > 0.95


def test_an_end_that_shows_is_the_same_thing_and_so_is_the_whole_behind_it():
    whole, end = block(CAR, 40, 40, 20, 40), block(CAR, 40, 40, 20, 4)  # its middle is 1.8 m aside
    assert worth(whole, end) > 0
    assert worth(end, whole) > 0


def test_a_block_of_the_same_size_aside_is_another():
    assert worth(block(CAR, 40, 40, 20, 40), block(CAR, 40, 58, 20, 40)) == 0


def test_small_and_large_of_two_classes_are_not_the_same():
    assert worth(block(PERSON, 50, 60, 8, 8), block(CAR, 5, 5, 40, 40)) == 0
    assert 0 < worth(block(PERSON, 40, 40, 20, 10), block(CAR, 40, 40, 20, 10)) < 0.7

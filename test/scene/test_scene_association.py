"""Affinity of made-up tracks and things: parts of what is hidden, classes, sizes."""

from dataclasses import replace

import numpy as np
import pytest

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
        away, np.zeros(1, np.int64), np.zeros(1), np.zeros(1), place(before)[None], spread**2 * np.eye(3)[None],
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


@pytest.mark.parametrize(("depth", "same"), [(4.0, True), (12.0, False)])
def test_the_rest_of_a_car_that_leaves_the_image_is_compared_at_its_own_depth(depth, same):
    """The middle of the car is beside the camera, 1 m ahead; its front, 4 m ahead, is what the image still shows."""
    front = replace(block(CAR, 90, 0, 10, 6), depth=depth)
    expected = Forecast(
        front.pixels[::4], np.zeros(15, np.int64), np.full(15, 40.0), np.full(15, 4.0), np.array([[-2.5, 0.5, 1.0]]),
        0.05**2 * np.eye(3)[None], np.array([60.0]), np.ones(1),
    )  # fmt: skip
    where = np.array([[-2.0, 0.8, depth]])
    found = affinity(expected, [block(CAR, 40, 0, 60, 60)], [front], where, np.array([0.2]), TrackConfig())
    assert (found[0, 0] > 0) == same

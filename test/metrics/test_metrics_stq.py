"""STQ, switches and fragments, by cases calculated by hand."""

import math

import numpy as np
import pytest

from dvps_ros.labels import CITYSCAPES, VOID
from dvps_ros.metrics import TrackingQuality

ROAD, CAR, BUS = (CITYSCAPES.index(name) * 1000 for name in ("road", "car", "bus"))


def measured(*frames):
    quality = TrackingQuality(CITYSCAPES)
    for pred, true in frames:
        quality.update_frame(np.array([pred]), np.array([true]))
    return quality.compute()


def test_perfect_whatever_the_numbers():
    true = [ROAD, ROAD, CAR + 1, CAR + 2]
    result = measured(([ROAD, ROAD, CAR + 7, CAR + 3], true), ([ROAD, ROAD, CAR + 7, CAR + 3], true))
    assert (result["STQ"], result["AQ"], result["SQ"]) == pytest.approx((100, 100, 100))
    assert (result["switches"], result["fragments"], result["covered"], result["seen"]) == (0, 0, 4, 4)


def test_a_switch_halfway_halves_the_association():
    """4 pixels in 2 frames each: two tubes of 2 pixels. Each: TPA 2 of 4, IoU 2/4: (2 * 1/2 + 2 * 1/2) / 4 = 1/2."""
    true = [CAR + 1, CAR + 1, ROAD]
    result = measured(([CAR + 1, CAR + 1, ROAD], true), ([CAR + 2, CAR + 2, ROAD], true))
    assert result["AQ"] == pytest.approx(50)
    assert result["SQ"] == pytest.approx(100)
    assert result["STQ"] == pytest.approx(math.sqrt(5000))
    assert (result["switches"], result["fragments"]) == (1, 0)


def test_two_things_that_swap():
    """Each true tube has 1 pixel of each predicted tube: TPA 1, IoU 1/3: (1/3 + 1/3) / 2 = 1/3."""
    true = [CAR + 1, CAR + 2]
    result = measured((true, true), (true[::-1], true))
    assert result["AQ"] == pytest.approx(100 / 3)
    assert result["switches"] == 2


def test_missing_pixels_and_wrong_classes():
    """Car of 4 pixels, 3 found: TPA 3, IoU 3/4: 3 * 3/4 / 4 = 9/16. Classes: car 3/4, road 2/3."""
    result = measured(([CAR + 1] * 3 + [ROAD] * 3, [CAR + 1] * 4 + [ROAD] * 2))
    assert result["AQ"] == pytest.approx(100 * 9 / 16)
    assert result["SQ"] == pytest.approx(100 * (3 / 4 + 2 / 3) / 2)


def test_false_things_lower_the_iou_and_void_counts_nowhere():
    """Predicted 6 pixels, of which 1 on void: TPA 4, IoU 4/5."""
    result = measured(([CAR + 1] * 6, [CAR + 1] * 4 + [ROAD, VOID]))
    assert result["AQ"] == pytest.approx(80)
    assert result["SQ"] == pytest.approx(100 * (4 / 5 + 0) / 2)


def test_another_class_associates_but_does_not_cover():
    result = measured(([BUS + 1] * 4, [CAR + 1] * 4))
    assert result["AQ"] == pytest.approx(100)
    assert result["SQ"] == 0
    assert (result["covered"], result["seen"]) == (0, 1)


def test_fragments_are_gaps_in_what_is_seen():
    true, gone = [CAR + 1, ROAD], [ROAD, ROAD]
    result = measured((true, true), (gone, true), (true, true), (gone, gone), (true, true))
    assert (result["fragments"], result["switches"]) == (1, 0)  # hidden in the truth too is no fragment
    assert (result["covered"], result["seen"]) == (3, 4)


def test_sequences_are_apart_and_states_add_up():
    first, second = TrackingQuality(CITYSCAPES), TrackingQuality(CITYSCAPES)
    whole = TrackingQuality(CITYSCAPES)
    true = np.array([[CAR + 1, ROAD]])
    for part, number in ((first, 1), (second, 2)):
        for quality in (part, whole):
            quality.begin_sequence()
            quality.update_frame(np.array([[CAR + number, ROAD]]), true)
    first.merge(second)
    assert first.compute() == whole.compute()
    assert first.compute()["AQ"] == pytest.approx(100)
    assert first.compute()["switches"] == 0
    begun = TrackingQuality(CITYSCAPES)
    begun.update_frame(np.array([[CAR + 5, ROAD]]), true)
    begun.load_state(first.state())  # a sequence in work is not counted on top
    assert begun.compute() == first.compute()
    with pytest.raises(ValueError, match="shape"):
        first.load_state({"counts": np.zeros(6), "confusion": np.zeros((2, 3))})


def test_nothing_seen_is_not_a_number():
    assert math.isnan(TrackingQuality(CITYSCAPES).compute()["STQ"])


def test_pixels_whose_class_alone_is_known_count_for_sq_alone():
    """A group of cars (crowd): a third of it is found, and none of it lowers the association of the one true car."""
    quality = TrackingQuality(CITYSCAPES)
    car, other, road = CAR + 1, CAR + 2, ROAD
    true = np.array([[car] * 4 + [VOID] * 3 + [road] * 3])
    known = np.where(np.arange(10) // 1 < 4, true, np.where(true == VOID, CAR, true))
    pred = np.array([[car] * 4 + [other] + [road] * 2 + [road] * 3])
    quality.update_frame(pred, true, (pred, known))
    figures = quality.compute()
    assert figures["AQ"] == 100
    assert figures["SQ"] == pytest.approx(100 * (5 / 7 + 3 / 5) / 2)

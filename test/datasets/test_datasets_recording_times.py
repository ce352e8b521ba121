"""When recorded messages were taken, where headers and recorder disagree, stand still, or say nothing."""

import numpy as np
import pytest

from dvps_ros.datasets.recording_times import read_times

START, STEP = 10**18, 10**8


def times(headers, received=None, data=None):
    """``Times`` of messages; headers in steps of 0.1 s after a start, None for a stamp of zero."""
    stamps = [0 if header is None else START + round(header * STEP) for header in headers]
    received = range(len(headers)) if received is None else received
    recorded = [START + 5 * 10**9 + round(time * STEP) for time in received]
    data = [str(number).encode() for number in range(len(headers))] if data is None else data
    return read_times(zip(stamps, recorded, data, strict=True))


def steps(found, since=START):
    return ((found.stamps[found.kept] - since) / STEP).round(3).tolist()


def test_stamps_that_go_forward_are_the_times():
    found = times([0, 1, 2, 3.5])
    assert steps(found) == [0, 1, 2, 3.5]
    assert (found.by_header, found.timed, found.remarks) == (True, True, ())


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ([None] * 4, "zero or not a valid time: 4 of 4"),
        ([7] * 4, "equal to the one before: 3 of 4"),
        ([9, 7, 5, 3], "earlier than the one before: 3 of 4"),
        ([0, 0, 1, 1, 2, 2], "equal to the one before: 3 of 6"),
        ([None], "zero or not a valid time: 1 of 1"),
    ],
)
def test_stamps_that_are_no_times_give_way_to_the_recorder(headers, words):
    found = times(headers)
    assert steps(found, START + 5 * 10**9) == list(range(len(headers)))
    assert (found.by_header, found.timed) == (False, True)
    assert found.remarks == (
        f"header stamps cannot be used ({words} messages): the times of recording are used instead",
    )


def test_without_any_time_the_order_of_the_file_remains():
    found = times([None] * 3, received=[4, 4, 4])
    assert not found.timed
    assert np.diff(found.stamps).tolist() == [10**9, 10**9]
    assert "nor can the times of recording: all pictures are used, in the order of the file" in found.remarks[0]


def test_a_few_stamps_of_zero_are_filled_in_by_the_recorder():
    found = times([0, 1, None, None, 4, 5, 6, 7, 8])
    assert steps(found) == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert found.by_header
    assert found.remarks == (
        "header stamps replaced by the last one plus the recorder's time since (zero or not a valid time: 2)",
    )
    first = times([None, None, 2, 3, 4, 5, 6, 7])
    assert steps(first) == [0, 1, 2, 3, 4, 5, 6, 7]
    late = times([0, 1, None, 3, 4, 5, 6, 7], received=[0, 1, 9, 9, 9, 9, 9, 9])  # the recorder was slow
    assert steps(late) == [0, 1, 3, 3, 4, 5, 6, 7]


def test_a_few_equal_stamps_of_different_pictures_are_all_kept():
    found = times([0, 1, 1, 3, 4, 5, 6])
    assert steps(found) == [0, 1, 2, 3, 4, 5, 6]
    assert found.kept.all()
    assert found.remarks[0].endswith("(equal to the one before: 1)")


def test_a_message_recorded_twice_is_left_out_and_counted():
    found = times([0, 1, 1, 2, 3], data=[b"a", b"b", b"b", b"c", b"d"])
    assert found.kept.tolist() == [True, True, False, True, True]
    assert steps(found) == [0, 1, 2, 3]
    assert found.remarks == ("1 of 5 messages repeat the one before them and are left out",)
    still = times([None] * 3, data=[b"a"] * 3)  # no stamp tells whether it is the same picture or a still scene
    assert still.kept.all()


def test_a_jump_back_stays_one():
    found = times([50, 51, 52, 53, 10, 11, 12, 13])
    assert steps(found) == [50, 51, 52, 53, 10, 11, 12, 13]
    assert (found.by_header, found.remarks) == (True, ())


def test_nothing_recorded():
    found = times([])
    assert len(found.stamps) == len(found.kept) == 0

"""The stand-in pairs as message_filters does."""

from types import SimpleNamespace

import pytest

from dvps_ros.nodes.synchronizer import (
    ApproximateTimeSynchronizerStandIn,
    SimpleFilterStandIn,
    TimeSynchronizerStandIn,
)


def stamped(milliseconds, name):
    stamp = SimpleNamespace(sec=milliseconds // 1000, nanosec=milliseconds % 1000 * 1_000_000)
    return SimpleNamespace(header=SimpleNamespace(stamp=stamp), name=f"{name}{milliseconds}")


def run(make, events):
    """Names of the pairs that come out when ("a" or "b", milliseconds) go in."""
    filters, pairs = {"a": SimpleFilterStandIn(), "b": SimpleFilterStandIn()}, []
    synchronizer = make(list(filters.values()))
    synchronizer.registerCallback(lambda a, b: pairs.append((a.name, b.name)))
    for name, milliseconds in events:
        filters[name].signalMessage(stamped(milliseconds, name))
    return pairs


def test_equal_stamps_pair_in_any_order():
    events = [("a", 100), ("b", 90), ("b", 100), ("b", 200), ("a", 200), ("a", 300)]
    assert run(lambda fs: TimeSynchronizerStandIn(fs, 5), events) == [("a100", "b100"), ("a200", "b200")]


def test_old_messages_leave_the_queue():
    events = [("a", stamp) for stamp in (100, 200, 300)] + [("b", 100), ("b", 300)]
    assert run(lambda fs: TimeSynchronizerStandIn(fs, 2), events) == [("a300", "b300")]


@pytest.mark.parametrize(("slop", "expected"), [(0.02, [("a100", "b115")]), (0.01, [])])
def test_slop_bounds_the_difference(slop, expected):
    assert run(lambda fs: ApproximateTimeSynchronizerStandIn(fs, 5, slop), [("a", 100), ("b", 115)]) == expected


def test_nearest_wins_and_no_message_is_used_twice():
    events = [("a", 100), ("a", 110), ("b", 111), ("b", 112)]
    pairs = run(lambda fs: ApproximateTimeSynchronizerStandIn(fs, 5, 0.02), events)
    assert pairs == [("a110", "b111"), ("a100", "b112")]


def test_callback_arguments_follow_the_messages():
    source, seen = SimpleFilterStandIn(), []
    source.registerCallback(lambda *values: seen.append(values), "extra")
    source.signalMessage(1)
    assert seen == [(1, "extra")]

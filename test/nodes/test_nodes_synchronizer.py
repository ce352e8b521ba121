"""The stand-in pairs as message_filters does."""

import random
from types import SimpleNamespace

import pytest
from builtin_interfaces.msg import Time

from dvps_ros.nodes.synchronizer import (
    ApproximateTimeSynchronizerStandIn,
    SimpleFilterStandIn,
    TimeSynchronizerStandIn,
)


def stamped(milliseconds, name):
    stamp = Time(sec=milliseconds // 1000, nanosec=milliseconds % 1000 * 1_000_000)
    return SimpleNamespace(header=SimpleNamespace(stamp=stamp), name=f"{name}{milliseconds}")


def run(make, events, kind=SimpleFilterStandIn):
    """Names of the pairs that come out when ("a" or "b", milliseconds) go in."""
    filters, pairs = {"a": kind(), "b": kind()}, []
    made = make(list(filters.values()))
    made.registerCallback(lambda a, b: pairs.append((a.name, b.name)))
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


@pytest.mark.parametrize("slop", [0.0, 0.02])
def test_any_order_pairs_as_with_the_installed_message_filters(slop):
    real = pytest.importorskip("message_filters")
    installed = SimpleNamespace(exact=real.TimeSynchronizer, near=real.ApproximateTimeSynchronizer)
    for seed in range(50):
        generator = random.Random(seed)
        stamps = sorted(generator.sample(range(0, 3000, 50), 30))
        events = [("a", stamp) for stamp in stamps]
        events += [("b", stamp + (generator.choice((0, 5, 15, 25)) if slop else 0)) for stamp in stamps if stamp % 3]
        late = {event: event[1] + generator.uniform(0, 300) for event in events}
        events.sort(key=late.get)
        ours = run(lambda fs: synchronizer(STAND_INS, fs, slop), events)
        assert len(ours) > 5
        assert run(lambda fs: synchronizer(installed, fs, slop), events, real.SimpleFilter) == ours, seed


STAND_INS = SimpleNamespace(exact=TimeSynchronizerStandIn, near=ApproximateTimeSynchronizerStandIn)


def synchronizer(module, filters, slop):
    return module.near(filters, 40, slop) if slop else module.exact(filters, 40)

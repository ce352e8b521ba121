"""What is said of faults: not more than once in a while, and of some once for all."""

from types import SimpleNamespace

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from dvps_ros.nodes import health
from dvps_ros.nodes.health import LOG_EVERY, Health


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(health.time, "monotonic", lambda: now.seconds)
    return now


@pytest.mark.parametrize(("cause", "lines"), [("malformed image", 2), ("camera_info late", 1)])
def test_a_fault_is_counted_each_time_and_said_now_and_then(clock, cause, lines):
    said = []
    node = Health(SimpleNamespace(warning=said.append))
    for step in (0.0, 0.4, 0.9, 0.2):
        clock.seconds += step * LOG_EVERY
        node.fault(cause, "words", lost=False)
    assert said == ["words"] * lines
    assert node.statistics.report(clock.seconds).warnings == {cause: 4}


def test_frames_left_out_by_max_rate_do_not_hide_that_the_others_fail(clock):
    node = Health(SimpleNamespace(warning=lambda words: None))
    for number in range(60):
        clock.seconds += 1
        if number % 6:
            node.unanswered("max_rate")
        else:
            node.fault("malformed image", "image dropped: bad step", lost=True)
    sentence = "no frame answered for 60 s; the last: image dropped: bad step"
    assert node.status("active", "") == (DiagnosticStatus.WARN, sentence)
    node.camera = "ok"
    node.answered({})
    clock.seconds += 60
    node.unanswered("max_rate")
    assert node.status("active", "") == (DiagnosticStatus.OK, "active")

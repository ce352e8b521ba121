"""One rclpy session for the tests of this folder that run in this process, and a node to test in it."""

import pytest
from node_bench import stand_in, started
from ros_session import ros  # noqa: F401


@pytest.fixture
def bench(tmp_path):
    """Starts a node with a stand-in perceiver, active where not told otherwise."""

    def start(*topics, perceiver=None, **settings):
        model, load = stand_in(tmp_path / "model", perceiver)
        return started(load, *topics, **{"model": model, **settings})

    return start

"""One rclpy session for the tests of this folder that run in this process, and a node to test in it."""

import pytest
import rclpy
from node_bench import stand_in, started


@pytest.fixture(scope="session", autouse=True)
def ros(node_logs):
    rclpy.init()
    yield
    rclpy.try_shutdown()
    # the search of the logs must not pass because ROS wrote them elsewhere
    assert list((node_logs / "ros").glob("*.log"))


@pytest.fixture
def bench(tmp_path):
    """Starts a node with a stand-in perceiver, active where not told otherwise."""

    def start(*topics, perceiver=None, **settings):
        model, load = stand_in(tmp_path / "model", perceiver)
        return started(load, *topics, **{"model": model, **settings})

    return start

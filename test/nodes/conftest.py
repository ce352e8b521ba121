"""One rclpy session for the tests of this folder that run in this process."""

import pytest
import rclpy


@pytest.fixture(scope="session", autouse=True)
def ros(node_logs):
    rclpy.init()
    yield
    rclpy.try_shutdown()
    # the search of the logs must not pass because ROS wrote them elsewhere
    assert list((node_logs / "ros").glob("*.log"))

"""The rclpy session that test folders with nodes share (a fixture of their conftest.py)."""

import pytest
import rclpy


@pytest.fixture(scope="session", autouse=True)
def ros(node_logs):
    """One rclpy session for the tests that run in this process."""
    if not rclpy.ok():
        rclpy.init()
    yield
    rclpy.try_shutdown()
    # the search of the logs must not pass because ROS wrote them elsewhere
    assert list((node_logs / "ros").glob("*.log"))

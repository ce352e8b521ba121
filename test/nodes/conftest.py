"""One rclpy session for the tests of this folder that run in this process."""

import pytest
import rclpy


@pytest.fixture(scope="session", autouse=True)
def ros():
    rclpy.init()
    yield
    rclpy.try_shutdown()

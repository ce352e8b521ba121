"""ROS in this process, a ROS prefix and a tiny model, for the tests that run launch files."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "nodes"))


@pytest.fixture
def prefix(tmp_path):
    pytest.importorskip("launch_ros", reason="launch_ros is not installed")
    from launch_helpers import make_prefix

    return make_prefix(tmp_path / "prefix")


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    from launch_helpers import make_model

    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def ros():
    """ROS in this process, unless other tests of the session have it already."""
    import rclpy

    mine = not rclpy.ok()
    if mine:
        rclpy.init()
    yield
    if mine:
        rclpy.try_shutdown()

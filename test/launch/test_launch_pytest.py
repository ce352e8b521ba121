"""perception.launch.py under launch_pytest: every process's exit code is known."""

# ruff: noqa: E402 - what is imported exists only where launch_pytest is installed
import os

import pytest

pytest.importorskip("launch_ros", reason="launch_ros is not installed")
launch_pytest = pytest.importorskip("launch_pytest", reason="launch_pytest is not installed")

from launch.actions import IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessExit, OnProcessIO
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_helpers import LAUNCH, STARTING, make_prefix
from node_helpers import wait_for

from launch import LaunchDescription


class Record:
    """What the processes of a launch print, and how they end."""

    def __init__(self):
        self.output, self.exits = "", {}

    def handlers(self):
        def on_output(event):
            self.output += event.text.decode()

        def on_exit(event, _):
            self.exits[event.process_name.rpartition("-")[0]] = event.returncode

        return [
            RegisterEventHandler(OnProcessIO(on_stdout=on_output, on_stderr=on_output)),
            RegisterEventHandler(OnProcessExit(on_exit=on_exit)),
        ]


@launch_pytest.fixture
def perception(tmp_path, model, monkeypatch):
    prefix = make_prefix(tmp_path / "prefix")
    paths = filter(None, (str(prefix), os.environ.get("AMENT_PREFIX_PATH")))
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join(paths))
    record = Record()
    arguments = {"model": str(model), "device": "cpu", "namespace": "rear", "camera_info": "/roof/info"}
    included = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(LAUNCH / "perception.launch.py")), launch_arguments=arguments.items()
    )
    return LaunchDescription([*record.handlers(), included, launch_pytest.actions.ReadyToTest()]), record


@pytest.mark.launch(fixture=perception)
def test_the_node_gets_active_and_ends_with_the_launch(perception):
    _, record = perception
    words = "active: /rear/image and /roof/info -> /rear/perception/*"
    wait_for(lambda: words in record.output, STARTING, words)
    assert record.exits == {}
    yield
    assert record.exits == {"perception_node": 0}
    assert "Traceback" not in record.output

"""The launch files: what they offer, and, where launch_ros is installed, that they run."""

import ast
import os
import sys
from pathlib import Path

import pytest
from node_logs import NodeProcess

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
OFFERED = {
    "perception": {
        *("model", "segmentation", "depth", "image", "camera_info"),
        *("device", "params_file", "namespace", "rviz"),
    },
    "demo": {"model", "device", "seed", "rate", "rviz"},
    "bag": {"bag", "model", "image", "camera_info", "params_file", "rviz"},
}

RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

path, *arguments = sys.argv[1:]
included = IncludeLaunchDescription(
    PythonLaunchDescriptionSource(path), launch_arguments=[tuple(a.split(":=")) for a in arguments]
)
service = LaunchService()
service.include_launch_description(LaunchDescription([included]))
sys.exit(service.run())
"""


def arguments_of(name):
    """The literal ARGUMENTS of a launch file: name -> (default, description)."""
    tree = ast.parse((LAUNCH / f"{name}.launch.py").read_text())
    [value] = [n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "ARGUMENTS"]
    return ast.literal_eval(value)


@pytest.mark.parametrize("name", OFFERED)
def test_arguments_are_offered_and_described(name):
    found = arguments_of(name)
    assert set(found) >= OFFERED[name]
    assert all(description.endswith(".") for _, description in found.values())


def test_every_launch_file_is_known_here():
    assert {path.name.removesuffix(".launch.py") for path in LAUNCH.glob("*.launch.py")} == set(OFFERED)


def test_what_is_included_passes_arguments_that_exist():
    perception = set(arguments_of("perception"))
    tree = ast.parse((LAUNCH / "bag.launch.py").read_text())
    [forwarded] = [n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "FORWARDED"]
    assert set(ast.literal_eval(forwarded)) <= perception & set(arguments_of("bag"))


@pytest.fixture
def prefix(tmp_path):
    """A ROS prefix in which the package is found, as colcon would leave it."""
    pytest.importorskip("launch_ros", reason="launch_ros is not installed")
    index = tmp_path / "share" / "ament_index" / "resource_index" / "packages"
    executables = tmp_path / "lib" / "dvps_ros"
    for folder in (index, executables):
        folder.mkdir(parents=True)
    (index / "dvps_ros").touch()
    for name in ("perception_node", "sim_camera_node"):
        script = executables / name
        script.write_text(f"#!{sys.executable}\nfrom dvps_ros.nodes.{name} import main\nmain()\n")
        script.chmod(0o755)
    return tmp_path


def test_perception_launch_starts_the_node_and_ends_with_it(prefix):
    environment = {**os.environ, "AMENT_PREFIX_PATH": str(prefix)}
    command = [
        sys.executable,
        "-c",
        RUN,
        str(LAUNCH / "perception.launch.py"),
        "model:=models/nowhere",
        "namespace:=front",
    ]
    process = NodeProcess(command, env=environment)
    try:
        output = process.wait_for_line("[front.perception]", 120)
        assert "configuring failed: no such file or folder: models/nowhere" in output
        process.send_signal(2)
        process.wait(60)
        assert "process has finished cleanly" in process.output
        assert "Traceback" not in process.output
    finally:
        process.kill()
        process.wait()

"""The executables end quietly from the first moment on, and hand over to the nodes."""

import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from node_helpers import interrupt, start_process, wait_for

NAMES = ("perception_node", "sim_camera_node", "observer_node")
#: What each imports that takes long.
HEAVY = {"perception_node": "libtorch_cpu", "sim_camera_node": "libtorch_cpu", "observer_node": "cv2.abi3"}


def start(name, *arguments):
    return start_process(*arguments, code=f"from dvps_ros.nodes.executables import {name}; {name}()")


def test_the_package_installs_these():
    scripts = {e.name: e.value for e in distribution("dvps_ros").entry_points if e.group == "console_scripts"}
    assert {name: scripts[name] for name in NAMES} == {name: f"dvps_ros.nodes.executables:{name}" for name in NAMES}


def test_the_module_imports_nothing_that_takes_long():
    code = "import sys, dvps_ros.nodes.executables; print('torch' in sys.modules, 'rclpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("name", NAMES)
def test_interrupt_while_importing(name):
    process = start(name, "--ros-args", "-p", "patience:=600.0")
    maps = Path(f"/proc/{process.pid}/maps")
    wait_for(lambda: HEAVY[name] in maps.read_text(), 120, "the import")
    assert interrupt(process).strip() == ""

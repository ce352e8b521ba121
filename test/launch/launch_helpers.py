"""What the tests of the launch files share: a ROS prefix that has the package, a tiny model, a launch as a process."""

import os
import stat
import sys
from pathlib import Path

import torch
from node_logs import NodeProcess

from dvps_ros import checkpoints
from dvps_ros.config import BackboneConfig, Config, InputConfig, MergeConfig, NetworkConfig
from dvps_ros.network import build

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "launch"
#: Seconds that a launch may take to get somewhere on a busy machine.
STARTING = 120

#: What ``ros2 launch`` does with a file, as a process that leads a group of its own, as in a terminal.
RUN = """
import os, sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

os.setsid()
path, *arguments = sys.argv[1:]
included = IncludeLaunchDescription(
    PythonLaunchDescriptionSource(path), launch_arguments=[tuple(a.split(":=")) for a in arguments]
)
service = LaunchService(noninteractive=True)  # as ros2 launch where stdin is no terminal: it passes SIGINT on
service.include_launch_description(LaunchDescription([included]))
sys.exit(service.run())
"""

#: Stands in for programs that are no part of this package: says how it was called, and waits to be stopped.
NAMED = """#!{python}
import os, signal, sys
signal.signal(signal.SIGINT, lambda *_: os._exit(0))
print("called:", *sys.argv[1:], file=sys.stderr, flush=True)  # launch shows this of a process without output="screen"
signal.pause()
"""

NODE = "#!{python}\nfrom dvps_ros.nodes.executables import {name}\n{name}()\n"


def write_program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def make_prefix(folder):
    """A ROS prefix in which the package is found, as colcon leaves it, and stand-ins for RViz and tf2_ros."""
    programs = {
        "dvps_ros": {
            name: NODE.format(python=sys.executable, name=name) for name in ("perception_node", "sim_camera_node")
        },
        "rviz2": {"rviz2": NAMED.format(python=sys.executable)},
        "tf2_ros": {"static_transform_publisher": NAMED.format(python=sys.executable)},
    }
    index = folder / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    for package, texts in programs.items():
        (index / package).touch()
        for name, text in texts.items():
            write_program(folder / "lib" / package / name, text)
    return folder


def make_model(folder):
    """A model folder with a tiny network of random weights, for 128x64 pixels, that keeps every query."""
    backbone = BackboneConfig(block="basic", depths=(1, 1, 1, 1), stem=16, widths=(16, 32, 32, 32))
    network = NetworkConfig(
        backbone=backbone, width=32, heads=4, encoder_layers=1, queries=8, decoder_layers=2, feedforward=32
    )
    merge = MergeConfig(score_threshold=0.0, mask_threshold=0.0, overlap_threshold=0.0)
    config = Config(network=network, merge=merge, input=InputConfig(64 * 128))
    torch.manual_seed(0)
    checkpoints.save(build(network), folder, config)
    return folder


class Launched:
    """A launch file running in a process; a context manager that leaves nothing behind.

    Parameters
    ----------
    prefix : as ``make_prefix`` leaves it.
    name : of the launch file, without ``.launch.py``.
    arguments : ``name:=value``.
    programs : a folder that comes first in PATH.
    paths : a folder that comes first in PYTHONPATH.
    """

    def __init__(self, prefix, name, *arguments, programs=None, paths=None):
        prefixes = filter(None, (str(prefix), os.environ.get("AMENT_PREFIX_PATH")))
        environment = {
            **os.environ,
            "AMENT_PREFIX_PATH": os.pathsep.join(prefixes),
            "OMP_NUM_THREADS": "1",
            "LAUNCH_OF_TEST": str(prefix),
        }
        if paths is not None:
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(paths), os.environ.get("PYTHONPATH"))))
        if programs is not None:
            environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
        self._mark = f"LAUNCH_OF_TEST={prefix}\0".encode()
        self.process = NodeProcess(
            [sys.executable, "-c", RUN, str(LAUNCH / f"{name}.launch.py"), *arguments], environment
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pid in self.running():
            os.kill(pid, 9)
        self.process.wait()

    def wait_for(self, words):
        return self.process.wait_for_line(words, STARTING)

    def end(self, send):
        """Have ``send`` stop it; gives all it printed, having seen every process end cleanly and without a word."""
        send()
        assert self.process.wait(STARTING) == 0, self.process.output
        output = self.process.output
        assert "Traceback" not in output, output
        assert "process has died" not in output, output
        assert output.count("process started with pid") == output.count("process has finished cleanly") > 0, output
        assert self.running() == []
        return output

    def mapped(self):
        """What files the started processes, the launch aside, have mapped into their memory."""
        return "".join(Path(f"/proc/{pid}/maps").read_text() for pid in self.running() if pid != self.process.pid)

    def running(self):
        """Process ids of what was started and still lives."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdecimal() and self._mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:  # ended just now, or another user's
                continue
        return found

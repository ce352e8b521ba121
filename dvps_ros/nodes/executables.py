"""Entry points of the executables: Ctrl-C ends them quietly from the start, even during imports.

Importing PyTorch takes seconds. A KeyboardInterrupt in that time would print a traceback, and ``ros2 launch`` would
report that the process died.
"""

import importlib
import os
import signal


def perception_node() -> None:
    """``ros2 run dvps_ros perception_node``."""
    _start("dvps_ros.nodes.perception_node")


def sim_camera_node() -> None:
    """``ros2 run dvps_ros sim_camera_node``."""
    _start("dvps_ros.nodes.sim_camera_node")


def observer_node() -> None:
    """``ros2 run dvps_ros observer_node``."""
    _start("dvps_ros.demo.observer_node")


def _start(module: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # until main installs handlers of its own
        signal.signal(number, lambda *_: os._exit(0))
    importlib.import_module(module).main()

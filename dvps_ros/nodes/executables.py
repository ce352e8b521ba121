"""The executables' entry points: Ctrl-C ends them quietly from the start, also while what they need is being imported.

PyTorch alone takes seconds; a KeyboardInterrupt in there is a traceback, and for ``ros2 launch`` a process that died.
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
    for number in (signal.SIGINT, signal.SIGTERM):  # until main says what to do with them
        signal.signal(number, lambda *_: os._exit(0))
    importlib.import_module(module).main()

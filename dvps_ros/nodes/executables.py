"""The executables' entry points: Ctrl-C ends them quietly from the start, also while what they need is being imported.

PyTorch alone takes seconds; a KeyboardInterrupt in there is a traceback, and for ``ros2 launch`` a process that died.
"""

import importlib
import os
import signal
from typing import NoReturn


def perception_node() -> NoReturn:
    """``ros2 run dvps_ros perception_node``."""
    _start("perception_node")


def sim_camera_node() -> NoReturn:
    """``ros2 run dvps_ros sim_camera_node``."""
    _start("sim_camera_node")


def observer_node() -> NoReturn:
    """``ros2 run dvps_ros observer_node``."""
    _start("observer_node")


def _start(name: str) -> NoReturn:
    for number in (signal.SIGINT, signal.SIGTERM):  # until main says what to do with them
        signal.signal(number, lambda *_: os._exit(0))
    importlib.import_module(f"dvps_ros.nodes.{name}").main()

"""What the launch files share: how their arguments are read, and names and places of frames."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml

#: The demo's frame on the ground under the camera: x ahead, y left, z up (REP 103, REP 105).
BASE_FRAME = "base_link"
#: Metres of the camera above it; the camera of each simulated street is a little higher or lower, and looks up or down.
CAMERA_HEIGHT = 1.5
#: Jazzy's rclpy. Its Fast DDS ignores the new name of the variable; from Kilted on Fast DDS warns about the old one.
_LAST_OLD_RCLPY = 7
_OLD_VARIABLE, _NEW_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"


def flag(name: str, text: str) -> bool:
    """What YAML takes for true or false; ``RuntimeError`` for anything else, which launch prints as one line."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = None
    if not isinstance(value, bool):
        raise RuntimeError(f"{name}:={text}: must be true or false")
    return value


def number(name: str, text: str) -> float:
    """A finite number; ``RuntimeError`` for anything else, which launch prints as one line."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RuntimeError(f"{name}:={text}: must be a number")
    return value


def camera_info_beside(image: str) -> str:
    """The topic on which image_transport has the calibration of the images of a topic, compressed or not."""
    base = image.removesuffix("/compressed")
    return f"{base.rpartition('/')[0]}/camera_info" if "/" in base else "camera_info"


def view_frame(namespace: str) -> str:
    """Name of the frame that the node of a namespace publishes for RViz, its own for each camera."""
    return "_".join(filter(None, (*namespace.split("/"), "perception_view")))


def require(package: str, otherwise: str = "") -> None:
    """Look for a ROS package before anything has started: a launch that fails later would leave its nodes running.

    Raises ``RuntimeError``, which launch prints as one line with the remedy, and what ``otherwise`` says.
    """
    from ament_index_python import packages

    try:
        packages.get_package_prefix(package)
    except packages.PackageNotFoundError:
        name = f"ros-{os.environ.get('ROS_DISTRO', 'jazzy')}-{package.replace('_', '-')}"
        raise RuntimeError(f"{package} is not installed: sudo apt install {name}{otherwise}") from None


def node_finds(executable: str, module: str) -> bool:
    """Whether the Python that runs an executable of this package finds ``module``.

    The ``ros2`` command of apt has another Python than nodes that were built in a virtual environment.
    """
    from ament_index_python import packages

    try:
        script = Path(packages.get_package_prefix("dvps_ros"), "lib", "dvps_ros", executable)
        first = script.read_text().partition("\n")[0]
    except (packages.PackageNotFoundError, OSError, UnicodeDecodeError):
        first = ""
    python = first[2:].split() if first.startswith("#!") else [sys.executable]
    question = f"from importlib.util import find_spec; raise SystemExit(find_spec({module!r}) is None)"
    return subprocess.run([*python, "-c", question], check=False).returncode == 0


def profile_variables() -> tuple[str, str]:
    """Environment variables for the path of the Fast DDS profile: that which the installed rclpy wants, and the other.

    Without rclpy the first is Jazzy's.
    """
    try:
        old = int(version("rclpy").split(".")[0]) <= _LAST_OLD_RCLPY
    except PackageNotFoundError:
        old = True
    return (_OLD_VARIABLE, _NEW_VARIABLE) if old else (_NEW_VARIABLE, _OLD_VARIABLE)

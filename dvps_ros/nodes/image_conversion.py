"""Conversion of images by cv_bridge, where it is installed and works.

cv_bridge is the converter of a ROS distribution. It is not among the ROS wheels. A cv_bridge that was built for NumPy 1
kills a process with NumPy 2, so ``select_bridge`` tries it in a child process first. Images that it does not convert
correctly are left to ``camera.pixel_formats``.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from typing import Any

import numpy as np
from sensor_msgs.msg import Image

from dvps_ros.camera.pixel_formats import FORMATS
from dvps_ros.errors import joined
from dvps_ros.nodes import bridge_trial

#: What mends a cv_bridge that does not fit the installed NumPy.
_REMEDY = f"built for another NumPy than {np.__version__}? To use it: pip install 'numpy<2'"


class ImageBridge:
    """A cv_bridge that has passed its trial.

    Parameters
    ----------
    bridge : a cv_bridge.CvBridge.
    encodings : those that it converts correctly.
    """

    def __init__(self, bridge: Any, encodings: frozenset[str]) -> None:
        self._bridge, self._encodings = bridge, encodings

    def takes(self, message: Image) -> bool:
        """Whether it converts a valid message correctly: one of ``encodings``, little-endian, with unpadded rows.

        cv_bridge garbles rows that are padded by a part of a pixel.
        """
        layout = FORMATS[message.encoding]
        unpadded = message.step == message.width * layout.channels * layout.bytes
        return message.encoding in self._encodings and unpadded and not message.is_bigendian

    def to_rgb(self, message: Image) -> np.ndarray:
        """(H, W, 3) uint8 RGB of a message that it takes; raises what cv_bridge raises."""
        return self._bridge.imgmsg_to_cv2(message, "rgb8")


@functools.cache
def select_bridge() -> tuple[ImageBridge | None, str]:
    """The distribution's cv_bridge if it is installed and works, else None; and a sentence for the log.

    It is tried once in a process, which takes a second or two.
    """
    if importlib.util.find_spec("cv_bridge") is None:
        return None, "image conversion: built in (cv_bridge is not installed)"
    encodings, fault = _try()
    if fault:
        return None, f"image conversion: built in (cv_bridge {fault})"
    try:
        bridge = importlib.import_module("cv_bridge").CvBridge()
    except Exception as error:  # it did load in the child
        return None, f"image conversion: built in (cv_bridge does not load: {joined(error)})"
    return ImageBridge(bridge, frozenset(encodings)), f"image conversion: cv_bridge for {', '.join(encodings)}"


def _try() -> tuple[list[str], str]:
    """The encodings that cv_bridge converts correctly, or its fault; tried in a child process."""
    command = [sys.executable, "-m", bridge_trial.__name__]
    paths = os.pathsep.join(filter(None, sys.path))  # the child must find the cv_bridge that this process would import
    trial = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": paths},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C in a terminal is no fault of cv_bridge
    )
    if trial.returncode < 0:
        name = signal.Signals(-trial.returncode).name
        return [], f"crashes, {name}: {_REMEDY}"
    lines = trial.stderr.strip().splitlines() if trial.returncode else trial.stdout.strip().splitlines()
    last = lines[-1] if lines else "no output"
    if trial.returncode:
        return [], f"does not load: {last}" + _remedy(last)
    faults: dict[str, str] = json.loads(last)
    encodings = [encoding for encoding, fault in faults.items() if not fault]
    if encodings:
        return encodings, ""
    encoding, fault = next(iter(faults.items()))
    return [], f"converts nothing correctly, {encoding}: {fault}" + _remedy(fault)


def _remedy(fault: str) -> str:
    return f"; {_REMEDY}" if "numpy" in fault.lower() else ""

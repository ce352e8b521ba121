"""A trial of cv_bridge in a process of its own: a cv_bridge that was built for another NumPy may crash when imported.

The last line that ``python -m dvps_ros.nodes.bridge_trial`` prints is the fault of each encoding, as JSON. It ends with
a traceback if cv_bridge does not load, and by a signal if cv_bridge crashes.
"""

from __future__ import annotations

import importlib
import json
import signal
from typing import Any

import numpy as np
from sensor_msgs.msg import Image

from dvps_ros.camera.pixel_formats import FORMATS, raw_pixels, to_rgb
from dvps_ros.errors import joined

#: Height and width of the test pictures.
SIZE = (6, 8)
#: Seconds after which the trial ends itself.
LIMIT = 30


def faults(bridge: Any) -> dict[str, str]:
    """For each 8-bit encoding, why ``bridge`` (a cv_bridge.CvBridge) does not convert it to RGB as ``to_rgb`` does.

    Empty for an encoding that it converts correctly.
    """
    noise = np.random.default_rng(0)
    found = {}
    for encoding, layout in FORMATS.items():
        if layout.bytes > 1:  # cv_bridge reduces 16 bits to 8 differently
            continue
        values = noise.integers(0, 256, (*SIZE, layout.channels), np.uint8)
        message = Image(height=SIZE[0], width=SIZE[1], encoding=encoding, step=SIZE[1] * layout.channels)
        message.data.frombytes(values.tobytes())
        found[encoding] = _fault(bridge, message)
    return found


def _fault(bridge: Any, message: Image) -> str:
    expected = to_rgb(raw_pixels(message, message.width * message.height))
    try:
        rgb = np.asarray(bridge.imgmsg_to_cv2(message, "rgb8"))
    except Exception as error:  # of any type
        return f"{type(error).__name__}: {joined(error)}"
    right = rgb.shape == expected.shape and int(np.abs(rgb.astype(int) - expected).max()) <= 1
    return "" if right else "wrong values"


if __name__ == "__main__":
    signal.alarm(LIMIT)
    print(json.dumps(faults(importlib.import_module("cv_bridge").CvBridge())))

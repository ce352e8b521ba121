"""A trial of cv_bridge in a process of its own, for one that was built for another NumPy may crash at its import.

``python -m dvps_ros.nodes.bridge_trial`` prints, as its last line, what is wrong with each encoding, in JSON. It ends
with a traceback where cv_bridge does not load, and by a signal where that crashes.
"""

from __future__ import annotations

import importlib
import json
import signal
from typing import Any

import numpy as np
from sensor_msgs.msg import Image

from dvps_ros.camera.pixel_formats import FORMATS, raw_pixels, to_rgb

#: Height and width of the pictures that it is tried on.
SIZE = (6, 8)
#: Seconds after which the trial is over, whoever waits for it.
LIMIT = 30


def faults(bridge: Any) -> dict[str, str]:
    """By encoding of 8 bits, why ``bridge`` (a cv_bridge.CvBridge) does not convert it to RGB as ``to_rgb`` does.

    Empty where it does.
    """
    noise = np.random.default_rng(0)
    found = {}
    for encoding, layout in FORMATS.items():
        if layout.bytes > 1:  # cv_bridge narrows 16 bits in a way of its own
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
    except Exception as error:  # it raises whatever it likes
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    right = rgb.shape == expected.shape and int(np.abs(rgb.astype(int) - expected).max()) <= 1
    return "" if right else "it comes out wrong"


if __name__ == "__main__":
    signal.alarm(LIMIT)
    print(json.dumps(faults(importlib.import_module("cv_bridge").CvBridge())))

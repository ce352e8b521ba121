"""cv_bridge, or a stand-in for it where that is missing, broken, or sees other pictures than recordings are read as.

cv_bridge is the distribution's own converter. It is not among the ROS wheels, and where it is installed it is often
compiled against another NumPy and fails at the first image. ``select_bridge`` tries it once on small pictures, and
answers with a bridge that gives the same pixels as ``dvps_ros.camera``, and with a sentence that says which.
"""

from __future__ import annotations

import importlib
from typing import Protocol

import numpy as np
from sensor_msgs.msg import Image

from dvps_ros.camera.pixel_formats import FORMATS, raw_pixels, to_rgb

#: Encodings that a bridge converts: of 8 bits, and known to every cv_bridge. The others go through dvps_ros.camera.
BRIDGED = frozenset(name for name, layout in FORMATS.items() if layout.bytes == 1) - {"8UC1", "uyvy", "yuyv"}
#: Height and width of the pictures that it is tried on.
_PROBE = (6, 8)


class ImageBridge(Protocol):
    """The part of cv_bridge.CvBridge that the nodes use."""

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str) -> np.ndarray:
        """(H, W, C) pixels of an image message."""
        ...


class CvBridge:
    """Stand-in for cv_bridge.CvBridge, which converts to ``"rgb8"`` alone."""

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str) -> np.ndarray:
        """(H, W, 3) uint8 RGB of an image message, a view of it where no conversion is needed.

        Raises ``ValueError`` for a message that is malformed, or another desired encoding.
        """
        if desired_encoding != "rgb8":
            raise ValueError(f"cannot convert to {desired_encoding!r}, only to 'rgb8'")
        return to_rgb(raw_pixels(img_msg, img_msg.width * img_msg.height))


def select_bridge() -> tuple[ImageBridge, str]:
    """The distribution's cv_bridge when it is installed and works, else the stand-in; and a sentence for the log."""
    try:
        bridge = importlib.import_module("cv_bridge").CvBridge()
    except ImportError:
        return CvBridge(), "image conversion: built in (cv_bridge is not installed)"
    except Exception as error:  # a compiled half for another NumPy raises whatever it likes
        return CvBridge(), f"image conversion: built in (cv_bridge does not load: {_first_line(error)})"
    fault = _fault(bridge)
    if fault:
        return CvBridge(), f"image conversion: built in (cv_bridge is broken: {fault})"
    return bridge, "image conversion: cv_bridge"


def _fault(bridge: ImageBridge) -> str:
    """What goes wrong with a picture in each encoding, in both byte orders; empty when all is well."""
    noise = np.random.default_rng(0)
    for encoding in sorted(BRIDGED):
        values = noise.integers(0, 256, (*_PROBE, FORMATS[encoding].channels), np.uint8)
        for order in (0, 1):
            message = Image(height=_PROBE[0], width=_PROBE[1], encoding=encoding, is_bigendian=order)
            message.step = values.nbytes // _PROBE[0]
            message.data.frombytes(values.tobytes())
            expected = CvBridge().imgmsg_to_cv2(message, "rgb8")
            try:
                rgb = np.asarray(bridge.imgmsg_to_cv2(message, "rgb8"))
            except Exception as error:
                return f"{encoding}: {_first_line(error)}"
            if rgb.shape != expected.shape or np.abs(rgb.astype(int) - expected).max() > 1:
                return f"{encoding} comes out wrong"
    return ""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

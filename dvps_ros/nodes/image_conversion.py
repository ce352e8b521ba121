"""cv_bridge, or a stand-in for it where that is missing or broken.

cv_bridge is the distribution's own converter. It is not among the ROS wheels, and where it is installed it is often
compiled against another NumPy and fails at the first image. ``select_bridge`` tries it once on small pictures of known
colors and answers with a bridge that works, and with a sentence that says which.
"""

from __future__ import annotations

import importlib
from typing import Protocol

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from dvps_ros.camera.pixel_formats import FORMATS, to_rgb, view

__all__ = ["FORMATS", "CvBridge", "ImageBridge", "select_bridge"]


class ImageBridge(Protocol):
    """The part of cv_bridge.CvBridge that the nodes use."""

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str = "passthrough") -> np.ndarray:
        """(H, W, C) pixels of an image message."""
        ...

    def compressed_imgmsg_to_cv2(
        self, cmprs_img_msg: CompressedImage, desired_encoding: str = "passthrough"
    ) -> np.ndarray:
        """(H, W, C) pixels of a compressed image message."""
        ...


class CvBridge:
    """Stand-in for cv_bridge.CvBridge: same calls, ``"passthrough"`` and ``"rgb8"`` as desired encodings."""

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str = "passthrough") -> np.ndarray:
        """Pixels of a valid image message (see ``messages.check_image``).

        Returns
        -------
        (H, W, 3) uint8 RGB for ``"rgb8"``; for ``"passthrough"`` the message's own values, (H, W) or (H, W, C),
        uint8 or uint16 in native byte order. A view of the message where no conversion is needed.

        Raises
        ------
        ValueError : for another desired encoding.
        """
        pixels = view(img_msg)
        if desired_encoding == "passthrough":
            return pixels
        if desired_encoding != "rgb8":
            raise ValueError(f"cannot convert to {desired_encoding!r}, only to 'rgb8'")
        return to_rgb(pixels, img_msg.encoding)

    def compressed_imgmsg_to_cv2(
        self, cmprs_img_msg: CompressedImage, desired_encoding: str = "passthrough"
    ) -> np.ndarray:
        """Decode a JPEG or PNG (see ``compressed.check_compressed``): (H, W, 3) uint8, BGR for ``"passthrough"``.

        RGB for ``"rgb8"``. An orientation in its EXIF data is ignored: camera_info is the sensor's.

        Raises
        ------
        ValueError : when the data cannot be decoded.
        """
        data = np.frombuffer(cmprs_img_msg.data, np.uint8)
        try:
            bgr = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if data.size else None
        except cv2.error as error:
            raise ValueError(error.err) from error
        if bgr is None:
            raise ValueError("damaged")
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB) if desired_encoding == "rgb8" else bgr


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
    """What goes wrong with four probes (plain, swapped, padded and big-endian, packed); empty when all is well."""
    gray = np.full((2, 2), 128, np.uint16)
    probes = {
        "rgb8": (np.full((2, 2, 3), (10, 20, 30), np.uint8), False, (10, 20, 30)),
        "bgr8": (np.full((2, 2, 3), (30, 20, 10), np.uint8), False, (10, 20, 30)),
        "mono16": ((gray * 257).astype(">u2"), True, (128, 128, 128)),
        "yuv422": (np.full((2, 2, 2), 128, np.uint8), False, (130, 130, 130)),
    }
    for encoding, (values, bigendian, expected) in probes.items():
        message = Image(height=2, width=2, encoding=encoding, is_bigendian=int(bigendian))
        message.step = values.nbytes // 2
        message.data.frombytes(values.tobytes())
        try:
            rgb = np.asarray(bridge.imgmsg_to_cv2(message, "rgb8"))
        except Exception as error:
            return f"{encoding}: {_first_line(error)}"
        if rgb.shape != (2, 2, 3) or np.abs(rgb.astype(int) - expected).max() > 2:
            return f"{encoding} comes out wrong"
    return ""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

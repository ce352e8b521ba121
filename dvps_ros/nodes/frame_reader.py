"""From a frame's two messages to its picture and its camera."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from dvps_ros.camera.calibration import contradiction, intrinsics_of, is_rectified
from dvps_ros.camera.pixel_formats import Pixels
from dvps_ros.camera.stream_watch import StreamWatch
from dvps_ros.config import PerceptionConfig
from dvps_ros.nodes.health import Health
from dvps_ros.nodes.image_conversion import ImageBridge
from dvps_ros.nodes.messages import image_to_rgb
from dvps_ros.structures import Intrinsics


class FrameReader:
    """Reads the messages of one image topic and reports their faults to ``health``.

    Parameters
    ----------
    node : gives the image topic's full name, and the logger.
    bridge : converts images, where there is one (``image_conversion.select_bridge``).
    settings : gives the current parameters.
    health : gets every fault.
    """

    def __init__(
        self, node: Node, bridge: ImageBridge | None, settings: Callable[[], PerceptionConfig], health: Health
    ) -> None:
        self._bridge, self._settings, self._health = bridge, settings, health
        self._watch = StreamWatch()
        topic = node.resolve_topic_name("image")
        self._named_rectified = is_rectified(topic)
        if self._named_rectified:
            node.get_logger().info(f"{topic} is taken for rectified, by its name: camera_info's P, without distortion")

    def image(self, message: Image | CompressedImage) -> np.ndarray | None:
        """(H, W, 3) uint8 RGB of an image, possibly a view of its data; None where it is malformed."""
        settings = self._settings()
        try:
            return image_to_rgb(message, self._bridge, settings.max_pixels, settings.bits, self._look)
        except ValueError as error:
            self._health.fault("malformed image", f"image dropped: {error}", lost=True)
            return None

    def camera(self, info: CameraInfo | None, reason: str, size: tuple[int, int]) -> Intrinsics | None:
        """The camera of an image of ``size`` (H, W); None, with the reason in diagnostics, where it is not known.

        ``reason`` says why there is no ``info``.
        """
        rectified = self._settings().rectified or self._named_rectified
        camera, state = None, reason
        if info is not None:
            try:
                camera, state = intrinsics_of(info, size[1], size[0], rectified), "ok"
            except ValueError as error:
                state = str(error)
        if camera is None:
            self._health.fault("camera_info", f"no depth in metres and no clouds: {state}", lost=False)
        elif info is not None and (words := contradiction(info, rectified)):
            self._health.fault("camera_info contradicts itself", words, lost=False)
        self._health.camera = state
        return camera

    def _look(self, pixels: Pixels, bits: int) -> None:
        for sentence in self._watch.add(pixels, bits):
            self._health.fault("pixel values", sentence, lost=False)

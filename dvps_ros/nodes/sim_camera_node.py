"""A simulated camera that drives through procedural streets and publishes pictures with their true labels and depth."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import fields

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, PoseStamped, Quaternion
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from dvps_ros.config import RigConfig, SimCameraConfig, StreetConfig, check_rig
from dvps_ros.nodes.messages import info_of
from dvps_ros.nodes.packing import Buffer, image_message
from dvps_ros.nodes.parameters import NodeParameters
from dvps_ros.nodes.process import GRACE, FatalError, one_line, run
from dvps_ros.simulation import Frame, drive


class SimCameraNode(Node):
    """Node ``sim_camera``: image and camera_info, and below its own name the truth.

    Topics: ``image`` (rgb8), ``camera_info``, ``~/panoptic`` (32SC1, class * 1000 + instance, 255000 unlabelled) and
    ``~/depth`` (32FC1 metres along z; REP 117 and 118: +Inf in the sky and beyond range, NaN where the lens shows
    nothing), all of one frame with one header, and ``~/pose``: the camera's optical frame in the frame ``street_SEED``
    (metres, z up) at that stamp. After ``street_seconds`` the drive goes on in the street two seeds on,
    with that street's camera.

    Raises ``ValueError`` naming a parameter that has no valid value, or that contradicts another.
    """

    def __init__(self, **options) -> None:
        super().__init__("sim_camera", **options)
        self._settings = NodeParameters(self, SimCameraConfig)
        if self._settings.problems:
            raise ValueError(self._settings.problems[0])
        check_rig(self._settings.config)
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy[self._settings.config.reliability.upper()])
        images = {"image": Image, "~/panoptic": Image, "~/depth": Image}
        topics = {"camera_info": CameraInfo, "~/pose": PoseStamped, **images}
        self._topics = {
            name: self.create_publisher(
                kind, name, qos, qos_overriding_options=QoSOverridingOptions.with_default_policies()
            )
            for name, kind in topics.items()
        }
        self._buffers = {name: Buffer() for name in images}
        self._ended = threading.Event()
        # MuJoCo's OpenGL context belongs to one thread, and rendering must not block the executor
        self._thread = threading.Thread(target=self._drive, name="sim_camera", daemon=True)
        self._start = self.create_timer(0.0, self._begin, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def destroy_node(self) -> None:
        """End the drive, then the node."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(GRACE / 2)
        super().destroy_node()

    def _begin(self) -> None:
        self.destroy_timer(self._start)
        self._thread.start()

    def _drive(self) -> None:
        try:
            for street, frame in self._frames():
                self._publish(frame, street)
        except Exception as error:  # no OpenGL, most likely
            if self.executor is not None and self.context.ok() and not self._ended.is_set():
                self.executor.create_task(_fail, error)

    def _frames(self) -> Iterator[tuple[int, Frame]]:
        """Seed and frame by frame of streets, at the set rate or slower; the drive pauses while nobody subscribes."""
        settings = self._settings.config
        rig = {field.name: getattr(settings, field.name) for field in fields(RigConfig)}
        street = StreetConfig(width=settings.width, height=settings.height, rate=settings.rate, **rig)
        for camera in drive(settings.seed, street):
            self.get_logger().info(f"street {camera.street.seed}, {settings.width}x{settings.height} pixels")
            moment, end = 0.0, min(camera.street.duration, settings.street_seconds)
            while moment < end:
                if self._ended.is_set():
                    return
                began = time.monotonic()
                if any(publisher.get_subscription_count() for publisher in self._topics.values()):
                    yield camera.street.seed, camera.render(moment)
                    moment += 1 / self._settings.config.rate
                self._ended.wait(max(0.0, began + 1 / self._settings.config.rate - time.monotonic()))

    def _publish(self, frame: Frame, street: int) -> None:
        header = Header(stamp=self._stamp(), frame_id=self._settings.config.frame_id)
        info = info_of(frame.intrinsics)
        info.header = header
        self._topics["camera_info"].publish(info)
        self._topics["~/pose"].publish(_pose(Header(stamp=header.stamp, frame_id=f"street_{street}"), frame.pose))
        images = {
            "image": (frame.rgb, "rgb8"),
            "~/panoptic": (frame.panoptic, "32SC1"),
            "~/depth": (frame.ranges, "32FC1"),
        }
        for topic, (values, encoding) in images.items():
            if self._topics[topic].get_subscription_count():
                self._topics[topic].publish(image_message(header, values, encoding, self._buffers[topic]))

    def _stamp(self) -> Time:
        return self.get_clock().now().to_msg()


def _pose(header: Header, matrix: np.ndarray) -> PoseStamped:
    """The message of a pose (4, 4)."""
    message = PoseStamped(header=header)
    message.pose.position = Point(**dict(zip("xyz", matrix[:3, 3].tolist(), strict=True)))
    turn = Rotation.from_matrix(matrix[:3, :3]).as_quat().tolist()
    message.pose.orientation = Quaternion(**dict(zip("xyzw", turn, strict=True)))
    return message


def _fail(error: Exception) -> None:
    """End the process with one line, from the executor's thread."""
    raise FatalError(f"rendering failed: {one_line(error)}") from error


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the executable ``sim_camera_node``."""
    run(SimCameraNode, arguments)

"""The camera's two topics: subscriptions that fit their publishers, and the pairing of images with camera_info."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from dvps_ros.config import PerceptionConfig
from dvps_ros.nodes.messages import nanoseconds
from dvps_ros.nodes.synchronizer import ApproximateTimeSynchronizer, SimpleFilter, TimeSynchronizer

#: Messages of each topic that wait for their partner; camera_info may also wait that many deep to be taken.
QUEUE = 5
#: Seconds between looks at what publishers there are.
LOOK_EVERY = 0.5
#: A stamp further ahead of the clock than this many seconds is said to lie in the future.
FUTURE = 1.0

ImageMessage = Image | CompressedImage
#: Called with an image, its camera_info (or None), and why there is none.
OnFrame = Callable[[ImageMessage, CameraInfo | None, str], None]


class CameraInput:
    """Subscribes to image and camera_info and hands over frames.

    Parameters
    ----------
    node : subscribes, and gives the clock.
    settings : gives the current parameters.
    on_frame : called on the executor's thread for each frame; must be quick.
    on_image : called for each image that comes in, before pairing.
    on_fault : called with a cause, a sentence and whether the frame is lost, when a stamp is wrong.
    on_jump : called when stamps jump back.
    """

    def __init__(
        self,
        node: Node,
        settings: Callable[[], PerceptionConfig],
        on_frame: OnFrame,
        on_image: Callable[[], None],
        on_fault: Callable[[str, str, bool], None],
        on_jump: Callable[[], None],
    ) -> None:
        self._node, self._settings = node, settings
        self._on_frame, self._on_image, self._on_fault, self._on_jump = on_frame, on_image, on_fault, on_jump
        self._last_stamp: int | None = None
        self._alone: int | None = None  # stamp of the last image that went on without camera_info
        self._handed_over = False
        self._latest_info: CameraInfo | None = None
        self._info_received: float | None = None
        self._paired = time.monotonic()
        self._connect()
        image = CompressedImage if settings().input_transport == "compressed" else Image
        self._subscriptions = [
            AutoSubscription(node, image, "image", self._image, settings().reliability, depth=1),
            AutoSubscription(node, CameraInfo, "camera_info", self._info, settings().reliability, depth=QUEUE),
        ]
        self._timer = node.create_timer(LOOK_EVERY, self._look)

    @property
    def silence(self) -> str:
        """Why no image comes in, as far as one can tell."""
        topic, kind = self._subscriptions[0].topic, self._subscriptions[0].kind
        wanted = f"sensor_msgs/msg/{kind.__name__}"
        found = {info.topic_type for info in self._node.get_publishers_info_by_topic(topic)}
        if not found:
            return f"no images: {topic} has no publisher"
        if wanted not in found:
            return f"no images: {topic} is {', '.join(sorted(found))}, not {wanted} (parameter input_transport)"
        return f"no images: the publisher of {topic} is silent"

    @property
    def topics(self) -> tuple[str, str]:
        """Full names of the image and camera_info topics."""
        return self._subscriptions[0].topic, self._subscriptions[1].topic

    def destroy(self) -> None:
        """End the subscriptions."""
        self._node.destroy_timer(self._timer)
        for subscription in self._subscriptions:
            subscription.destroy()

    def _connect(self) -> None:
        """Fresh queues: message_filters would keep those of a time that stamps have jumped back from."""
        self._images, self._infos = SimpleFilter(), SimpleFilter()
        sources, slop = [self._images, self._infos], self._settings().sync_slop
        if slop > 0:
            synchronizer = ApproximateTimeSynchronizer(sources, QUEUE, slop)
        else:
            synchronizer = TimeSynchronizer(sources, QUEUE)
        synchronizer.registerCallback(self._pair)
        self._synchronizer = synchronizer

    def _image(self, message: ImageMessage) -> None:
        self._on_image()
        if not self._stamp_is_usable(message):
            return
        if self._settings().camera_info_mode == "latest":
            reason = "" if self._latest_info is not None else "no camera_info"
            self._on_frame(message, self._latest_info, reason)
            return
        self._handed_over = False
        self._images.signalMessage(message)
        waited = time.monotonic() - self._paired
        if not self._handed_over and waited >= self._settings().camera_info_timeout:
            missing = self._info_received is None or time.monotonic() - self._info_received >= waited
            self._alone = nanoseconds(message.header.stamp)
            self._on_frame(message, None, "no camera_info" if missing else "no camera_info with the image's stamp")

    def _info(self, message: CameraInfo) -> None:
        self._latest_info, self._info_received = message, time.monotonic()
        if self._settings().camera_info_mode == "synced" and nanoseconds(message.header.stamp) >= 0:
            self._infos.signalMessage(message)

    def _pair(self, image: ImageMessage, info: CameraInfo) -> None:
        self._paired, self._handed_over = time.monotonic(), True
        if self._alone != nanoseconds(image.header.stamp):  # else it went on alone, and its camera_info came late
            self._on_frame(image, info, "")

    def _stamp_is_usable(self, message: ImageMessage) -> bool:
        """Look at a stamp, report what is odd about it, and start anew where it jumped back."""
        stamp = nanoseconds(message.header.stamp)
        if stamp < 0 or message.header.stamp.nanosec >= 1_000_000_000:
            self._on_fault("bad stamp", f"image dropped: its stamp {message.header.stamp} is no time", True)
            return False
        if stamp == 0:
            self._on_fault("zero stamp", "image has a stamp of zero", False)
            return True
        ahead = (stamp - self._node.get_clock().now().nanoseconds) / 1e9
        if ahead > FUTURE:
            self._on_fault("future stamp", f"image is stamped {ahead:.1f} s in the future", False)
        if self._last_stamp is not None and stamp < self._last_stamp:
            back = (self._last_stamp - stamp) / 1e9
            self._on_fault("stamp jumped back", f"stamps jumped back by {back:.3f} s: tracks start anew", False)
            self._connect()
            self._on_jump()
            info = self._latest_info  # of the new time already, when it came before its image
            if info is not None and abs(nanoseconds(info.header.stamp) - stamp) < 1_000_000_000:
                self._infos.signalMessage(info)
        self._last_stamp = stamp
        return True

    def _look(self) -> None:
        for subscription in self._subscriptions:
            subscription.follow_publishers()


class AutoSubscription:
    """A subscription that asks for the reliability which the topic's publishers offer.

    Parameters
    ----------
    reliability : ``"auto"``, or ``"reliable"`` or ``"best_effort"`` to force one. The standard parameter
        ``qos_overrides.<topic>.subscription.reliability`` goes before both.
    """

    def __init__(
        self, node: Node, kind: type, topic: str, callback: Callable[[Any], None], reliability: str, depth: int
    ) -> None:
        self._node, self.kind, self._name, self._callback, self._depth = node, kind, topic, callback, depth
        self.topic = node.resolve_topic_name(topic)
        override = f"qos_overrides.{self.topic}.subscription.reliability"
        if not node.has_parameter(override):
            node.declare_parameter(override, reliability)
        self._reliability = node.get_parameter(override).value
        if self._reliability not in ("auto", "reliable", "best_effort"):
            raise ValueError(f"parameter {override} is {self._reliability!r}, must be auto, reliable or best_effort")
        self._asked = self._fitting()
        self._subscription = self._subscribe()

    def follow_publishers(self) -> None:
        """Subscribe anew when the publishers offer something else than what is asked for."""
        fitting = self._fitting()
        if fitting != self._asked:
            self._asked = fitting
            self.destroy()
            self._subscription = self._subscribe()

    def destroy(self) -> None:
        """End the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _fitting(self) -> ReliabilityPolicy:
        if self._reliability != "auto":
            return ReliabilityPolicy[self._reliability.upper()]
        offered = [info.qos_profile.reliability for info in self._node.get_publishers_info_by_topic(self.topic)]
        if offered and all(policy == ReliabilityPolicy.RELIABLE for policy in offered):
            return ReliabilityPolicy.RELIABLE
        return ReliabilityPolicy.BEST_EFFORT  # fits every publisher, so nothing is missed while none is known

    def _subscribe(self) -> Any:
        # reliability is left out: declared once, it would pin what was offered first
        overrides = QoSOverridingOptions((QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH))
        qos = QoSProfile(depth=self._depth, reliability=self._asked)
        return self._node.create_subscription(
            self.kind, self._name, self._callback, qos, qos_overriding_options=overrides
        )

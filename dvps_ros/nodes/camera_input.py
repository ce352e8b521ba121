"""The camera's two topics: subscriptions that fit their publishers, and the pairing of images with camera_info."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from dvps_ros.config import PerceptionConfig
from dvps_ros.nodes.auto_subscription import AutoSubscription
from dvps_ros.nodes.camera_infos import CameraInfos
from dvps_ros.nodes.diagnostics import STEADY
from dvps_ros.nodes.messages import nanoseconds
from dvps_ros.nodes.synchronizer import ApproximateTimeSynchronizer, SimpleFilter, TimeSynchronizer

#: Messages of each topic that wait for their counterpart: two seconds at 30 Hz, for images that come late.
QUEUE = 64
#: Only so many of the waiting images, the newest ones, keep their pixels.
IMAGES = 5
#: Depth of the subscription to camera_info.
DEPTH = 5
#: Seconds between two checks of the topics' publishers.
FOLLOW_EVERY = 0.5
#: Stamps further ahead of the clock than this many seconds are reported.
FUTURE = 1.0
#: A camera is reported as silent after this many seconds without an image.
SILENT = 2.0
#: Seconds that an image waits for its own camera_info before the last one replaces it, and between two checks of this.
LATE, CHECK_LATE_EVERY = 0.1, 0.05

ImageMessage: TypeAlias = Image | CompressedImage
#: Types that an image topic may have, by the parameter input_transport.
IMAGE_TYPES = {"auto": (Image, CompressedImage), "raw": (Image,), "compressed": (CompressedImage,)}
#: Called with an image, its camera_info (or None), and why there is none.
OnFrame = Callable[[ImageMessage, CameraInfo | None, str], None]


@dataclass
class Arrival:
    """An image that waits in the synchronizer, with its number in the order of arrival and its time of arrival.

    ``image`` becomes None when ``IMAGES`` newer ones wait too: the picture is lost, but its stamp can still be paired.
    """

    header: Header
    image: ImageMessage | None
    number: int
    received: float


class CameraInput:
    """Subscribes to image and camera_info and hands over frames, each image at most once and in order of arrival.

    Parameters
    ----------
    node : subscribes, and gives the clock.
    settings : gives the current parameters.
    on_frame : called on the executor's thread for each frame; must be quick.
    on_image : called for each image that comes in, before pairing.
    on_fault : called with a cause, a sentence and whether a frame is lost.

    Raises ``ValueError`` for a QoS override that names no reliability; nothing stays subscribed then.
    """

    def __init__(
        self,
        node: Node,
        settings: Callable[[], PerceptionConfig],
        on_frame: OnFrame,
        on_image: Callable[[], None],
        on_fault: Callable[[str, str, bool], None],
    ) -> None:
        self._node, self._settings = node, settings
        self._on_frame, self._on_image, self._on_fault = on_frame, on_image, on_fault
        self._last_stamp: int | None = None
        self._last_image: float | None = None
        self._arrived = self._handed_over = 0  # numbers of the newest image, and of the newest that was handed over
        self._unpaired_since: float | None = None  # arrival of the first image since the last pair
        self._without_info = False  # images do not wait for camera_info
        self._infos_seen = CameraInfos()
        self._connect()
        # camera_info first: the executor takes messages that are ready at the same time in this order
        kinds = {"camera_info": (CameraInfo,), "image": IMAGE_TYPES[settings().input_transport]}
        callbacks = {"camera_info": self._info, "image": self._image}
        self._inputs: dict[str, AutoSubscription] = {}
        self._timers = [node.create_timer(FOLLOW_EVERY, self._follow_publishers, clock=STEADY)]
        self._late_timer = node.create_timer(CHECK_LATE_EVERY, self._replace_late_infos, clock=STEADY)
        self._late_timer.cancel()
        self._timers.append(self._late_timer)
        try:
            for name, kind in kinds.items():
                depth = 1 if name == "image" else DEPTH
                self._inputs[name] = AutoSubscription(
                    node, kind, name, callbacks[name], settings().reliability, depth=depth
                )
        except Exception:
            self.destroy()
            raise

    @property
    def silence(self) -> str:
        """The likely reason why no image comes in; empty while images come in."""
        if self._last_image is not None and time.monotonic() - self._last_image < SILENT:
            return ""
        topic, wanted = self._inputs["image"].topic, self._inputs["image"].type_name
        found = {info.topic_type for info in self._node.get_publishers_info_by_topic(topic)}
        if not found:
            return f"no images: {topic} has no publisher"
        if wanted not in found:
            return f"no images: {topic} is {', '.join(sorted(found))}, not {wanted} (parameter input_transport)"
        return f"no images: the publisher of {topic} is silent"

    @property
    def topics(self) -> tuple[str, str]:
        """Full names of the image and camera_info topics."""
        return self._inputs["image"].topic, self._inputs["camera_info"].topic

    @property
    def waiting(self) -> int:
        """Number of images that wait for their camera_info."""
        return self._arrived - self._handed_over

    def destroy(self) -> None:
        """End the subscriptions."""
        for timer in self._timers:
            self._node.destroy_timer(timer)
        for subscription in self._inputs.values():
            subscription.destroy()

    def _connect(self) -> None:
        """Make new queues: after a jump back, message_filters would keep messages with later stamps."""
        self._images, self._infos = SimpleFilter(), SimpleFilter()
        self._waiting: deque[Arrival] = deque()
        sources, slop = [self._images, self._infos], self._settings().sync_slop
        if slop > 0:
            synchronizer = ApproximateTimeSynchronizer(sources, QUEUE, slop)
        else:
            synchronizer = TimeSynchronizer(sources, QUEUE)
        synchronizer.registerCallback(self._pair)
        self._synchronizer = synchronizer

    def _connect_anew(self, stamp: int) -> None:
        """Make new queues, and keep the last camera_info if it is within a second of ``stamp``."""
        self._connect()
        info = self._infos_seen.latest
        if info is not None and abs(nanoseconds(info.header.stamp) - stamp) < 1_000_000_000:
            self._infos.signalMessage(info)

    def _image(self, message: ImageMessage) -> None:
        self._on_image()
        self._last_image = time.monotonic()
        if not self._stamp_is_usable(message):
            return
        self._arrived += 1
        arrival = Arrival(message.header, message, self._arrived, self._last_image)
        if self._settings().camera_info_mode == "latest":
            latest = self._infos_seen.latest
            self._hand_over(arrival, latest, "" if latest is not None else self._missing(True))
            return
        self._wait(arrival)
        if self._handed_over >= arrival.number:
            return
        if self._infos_seen.stand_in(message) is not None:
            self._unpaired_since, self._without_info = None, False
            if self._late_timer.is_canceled():
                self._late_timer.reset()
        elif self._patience_is_over():
            self._hand_over_without_info(arrival)

    def _wait(self, arrival: Arrival) -> None:
        """Give an image to the synchronizer, which pairs it now or later."""
        self._waiting.append(arrival)
        if len(self._waiting) > IMAGES:
            self._waiting.popleft().image = None
        self._images.signalMessage(arrival)

    def _replace_late_infos(self) -> None:
        """Hand over images whose camera_info is late with the last one, in order, up to one that it does not fit."""
        now = time.monotonic()
        for arrival in tuple(self._waiting):
            if arrival.number <= self._handed_over or arrival.image is None:
                continue
            info = self._infos_seen.stand_in(arrival.image)
            if info is None or now - arrival.received < LATE:
                return
            topic = self._inputs["camera_info"].topic
            self._on_fault("camera_info late", f"{topic} comes late or not at all: its last message is used", False)
            self._hand_over(arrival, info, "")
        self._late_timer.cancel()

    def _patience_is_over(self) -> bool:
        """Whether images have been without camera_info for ``camera_info_timeout``.

        The time counts from the first unpaired image, not from the last pair: after a pause of the camera, an image may
        come a moment before its camera_info.
        """
        now = time.monotonic()
        if self._unpaired_since is None:
            self._unpaired_since = now
        return now - self._unpaired_since >= self._settings().camera_info_timeout

    def _hand_over_without_info(self, arrival: Arrival) -> None:
        """Hand over an image without camera_info; later ones do not wait until camera_info comes again."""
        if not self._without_info:
            self._without_info = True
            # new queues once: messages with stamps far ahead may have filled the old ones
            self._connect_anew(nanoseconds(arrival.header.stamp))
            self._wait(arrival)
            if self._handed_over >= arrival.number:
                return
        since = self._unpaired_since
        received = self._infos_seen.received
        missing = received is None or (since is not None and received < since)
        self._hand_over(arrival, None, self._missing(missing))

    def _missing(self, wholly: bool) -> str:
        """That there is no camera_info, ``wholly`` or only none for an image, and of which topic."""
        topic = self._inputs["camera_info"].topic
        if not wholly:
            return f"no camera_info with the image's stamp on {topic}"
        silent = "is silent" if self._node.get_publishers_info_by_topic(topic) else "has no publisher"
        return f"no camera_info: {topic} {silent}"

    def _info(self, message: CameraInfo) -> None:
        self._infos_seen.add(message, time.monotonic())
        if self._settings().camera_info_mode == "synced" and nanoseconds(message.header.stamp) >= 0:
            self._infos.signalMessage(message)

    def _pair(self, arrival: Arrival, info: CameraInfo) -> None:
        if arrival.image is None:  # its camera_info came too late, also for those before it
            return
        self._unpaired_since, self._without_info = None, False
        if arrival.number > self._handed_over:  # else it, or a newer one, was already handed over without camera_info
            self._hand_over(arrival, info, "")

    def _hand_over(self, arrival: Arrival, info: CameraInfo | None, reason: str) -> None:
        for _ in range(self._handed_over + 1, arrival.number):
            self._on_fault(
                "no camera_info", "image dropped: a newer one was handed over before its camera_info came", True
            )
        self._handed_over = arrival.number
        if info is not None and (disagreement := self._disagreement()):
            info, reason = None, disagreement
        self._on_frame(arrival.image, info, reason)

    def _disagreement(self) -> str:
        """A sentence that names publishers of camera_info that contradict each other now; empty if none do."""
        if not self._infos_seen.taking_turns(time.monotonic()):
            return ""
        topic = self._inputs["camera_info"].topic
        publishers = self._node.get_publishers_info_by_topic(topic)
        if len(publishers) < 2:
            return ""
        names = sorted(f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in publishers)
        return f"publishers of {topic} disagree: {', '.join(names)}"

    def _stamp_is_usable(self, message: ImageMessage) -> bool:
        """Check a stamp, report its faults, and make new queues if it jumped back; False if the image is dropped."""
        stamp = nanoseconds(message.header.stamp)
        if stamp < 0 or message.header.stamp.nanosec >= 1_000_000_000:
            self._on_fault("bad stamp", f"image dropped: its stamp {message.header.stamp} is not a valid time", True)
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
            self._unpaired_since, self._without_info = None, False
            self._connect_anew(stamp)
        self._last_stamp = stamp
        return True

    def _follow_publishers(self) -> None:
        for subscription in self._inputs.values():
            subscription.follow_publishers()

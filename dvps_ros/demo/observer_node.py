"""The observer: records a run of the perception node, scores it against the truth topics and makes a montage."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from dvps_ros.config import ObserverConfig
from dvps_ros.demo.frames import record_camera_frame
from dvps_ros.demo.moments import Moment, choose, cloud_of, montage, values_of
from dvps_ros.demo.recording import Recording
from dvps_ros.demo.tally import Tally, thing_ids
from dvps_ros.demo.watching import Watcher, run_watcher
from dvps_ros.labels import LABEL_SETS, LabelSet
from dvps_ros.nodes.messages import nanoseconds

#: Topics of one frame, which have the same stamp, and their types.
FRAME_TOPICS = {
    "/camera/image": Image,
    "/camera/camera_info": CameraInfo,
    "/camera/truth/panoptic": Image,
    "/camera/truth/depth": Image,
    "/camera/truth/pose": PoseStamped,
    "/perception/panoptic": Image,
    "/perception/depth": Image,
    "/perception/depth/camera_info": CameraInfo,
    "/perception/overlay": Image,
    "/perception/points": PointCloud2,
    "/perception/markers": MarkerArray,
}
#: Topics that are not recorded: they are not outputs of the node, and would double the size of the file.
UNRECORDED = frozenset({"/camera/truth/panoptic", "/camera/truth/depth", "/camera/truth/pose"})
#: Largest number of frames that wait for their answer; then the oldest is dropped.
WAITING = 60
#: Number of moments in the montage, and seconds between the candidates.
MOMENTS, MOMENT_EVERY = 6, 1.0
#: Seconds between two lines if the output is not a terminal.
LINE_EVERY = 10.0


@dataclass(frozen=True)
class Part:
    """One topic of a frame: the message, its CDR bytes, and their time of arrival (ns of the system clock)."""

    message: Any
    data: bytes
    received: int


class Observer(Watcher[ObserverConfig]):
    """Node ``observer``: subscribes to a camera that also publishes the truth, and to a perception node."""

    def __init__(self, **options: Any) -> None:
        super().__init__("observer", ObserverConfig, **options)
        self.folder = Path(self.settings.folder)
        self._recording = Recording(self.folder / "recording.mcap")
        self._labels: LabelSet | None = None
        self._tally: Tally | None = None
        self._moments: list[Moment] = []
        self._frames: dict[int, dict[str, Part]] = {}
        self._recorded = -math.inf
        self._frame_id = ""  # of the images, set when the frame's pose is recorded
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._subscribe("/perception/labels", String, latched)
        self._subscribe("/diagnostics", DiagnosticArray, QoSProfile(depth=10))
        for name, kind in FRAME_TOPICS.items():
            self._subscribe(name, kind, QoSProfile(depth=5))

    @property
    def done(self) -> bool:
        """Whether time is up, or the run cannot continue."""
        if self._first_answer is None and time.monotonic() - self._begun > self.settings.patience:
            self.trouble = self.trouble or f"no answer within {self.settings.patience:.0f} s"
        return bool(self.trouble) or self.seconds >= self.settings.seconds

    def line(self) -> str:
        """A line about the progress of the run."""
        if self._first_answer is None or self._tally is None:
            return self.waiting_line
        return self._tally.line(self.seconds, time.monotonic())

    def finish(self) -> str:
        """Close the recording and write the montage; returns the table of the run, empty without an answer."""
        self._recording.close()
        if not self._moments or self._labels is None or self._tally is None:
            return ""
        title = f"dvps_ros: {self.seconds:.0f} s of the simulated street through the perception node"
        picture = montage(title, choose(self._moments, MOMENTS), self._labels, self.settings.max_depth)
        cv2.imwrite(str(self.folder / "montage.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        return self._tally.table(self.diagnostics)

    def _subscribe(self, name: str, kind: type, qos: QoSProfile) -> None:
        # raw subscriptions, so that the recording has exactly the bytes that arrived
        self.create_subscription(kind, name, lambda data: self._receive(name, kind, cast("bytes", data)), qos, raw=True)

    def _receive(self, name: str, kind: type, data: bytes) -> None:
        part = Part(deserialize_message(data, kind), data, time.time_ns())
        if name in FRAME_TOPICS:
            if self._tally is not None and self._labels is not None:
                self._on_part(name, part, self._tally, self._labels)
            return
        self._recording.write(name, kind, data, part.received, latched=kind is String)
        if kind is String:
            self._on_labels(part.message)
        else:
            self.on_diagnostics(part.message)

    def _on_labels(self, message: String) -> None:
        name = json.loads(message.data)["name"]
        if self._labels is None and name in LABEL_SETS:
            self._labels = LABEL_SETS[name]
            self._tally = Tally(self._labels, self.settings.max_depth)

    def _on_part(self, name: str, part: Part, tally: Tally, labels: LabelSet) -> None:
        """Handle one topic of a frame."""
        stamp = _stamp(part.message)
        if name == "/camera/image":
            tally.image(time.monotonic())
        elif name == "/perception/panoptic":
            self._first_answer = self._first_answer or time.monotonic()
            tally.answer(values_of(part.message), time.monotonic(), (part.received - stamp) / 1e9)
        parts = self._frames.setdefault(stamp, {})
        parts[name] = part
        if len(parts) == len(FRAME_TOPICS):
            self._on_frame(self._frames.pop(stamp), tally, labels)
        while len(self._frames) > WAITING:
            del self._frames[min(self._frames)]

    def _on_frame(self, parts: Mapping[str, Part], tally: Tally, labels: LabelSet) -> None:
        """Score and record a frame of which all topics have arrived."""
        image, true_panoptic, true_depth, panoptic, depth, overlay = (
            values_of(parts[name].message) for name, kind in FRAME_TOPICS.items() if kind is Image
        )
        street = parts["/camera/truth/pose"].message.header.frame_id
        tally.score(panoptic, depth, true_panoptic, true_depth, street)
        if self.seconds - self._recorded >= 1 / self.settings.record_rate:
            self._recorded = self.seconds
            self._record(parts)
        if self._moments and self.seconds - self._moments[-1].seconds < MOMENT_EVERY:
            return
        answer = parts["/perception/panoptic"]
        age = (answer.received - _stamp(answer.message)) / 1e9
        objects = len(thing_ids(panoptic, labels))
        cloud = cloud_of(parts["/perception/points"].message)
        self._moments.append(Moment(self.seconds, age, objects, image, overlay, depth, cloud))

    def _record(self, parts: Mapping[str, Part]) -> None:
        """Record a complete frame, so that every image in the recording has its answer."""
        if not self._frame_id:  # the transform comes before the first image
            self._frame_id = parts["/camera/image"].message.header.frame_id
            record_camera_frame(self._recording, self._frame_id, min(part.received for part in parts.values()))
        for name in sorted(parts.keys() - UNRECORDED, key=lambda name: parts[name].received):
            self._recording.write(name, FRAME_TOPICS[name], parts[name].data, parts[name].received)


def _stamp(message: Any) -> int:
    """The stamp in a message's header, in nanoseconds; for an array of markers that of the first one."""
    return nanoseconds((message.markers[0] if isinstance(message, MarkerArray) else message).header.stamp)


def watch(observer: Observer, signals: list[int]) -> None:
    """Spin until the run is done or ``signals`` is not empty, and show a line of figures."""
    executor = SingleThreadedExecutor()
    executor.add_node(observer)
    terminal = sys.stdout.isatty()
    shown = time.monotonic()
    while not signals and not observer.done:
        executor.spin_once(timeout_sec=0.2)
        if time.monotonic() - shown >= (0.5 if terminal else LINE_EVERY):
            shown = time.monotonic()
            print(
                f"\r\x1b[K{observer.line()}" if terminal else observer.line(), end="" if terminal else "\n", flush=True
            )
    if terminal:
        print("\r\x1b[K", end="", flush=True)
    executor.shutdown()


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the executable ``observer_node``: exit code 0 with all files written, 1 without any answer."""
    run_watcher(Observer, _observe, arguments)


def _observe(observer: Observer, signals: list[int]) -> str:
    """Run the observer; returns why the run failed, or an empty text."""
    watch(observer, signals)
    table = observer.finish()
    if table:
        print(table)
    return observer.trouble or ("" if table else "no frame was answered")


if __name__ == "__main__":
    main()

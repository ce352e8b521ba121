"""The observer: records a run of the perception node, scores it against the truth topics and pictures it."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from dvps_ros.config import ObserverConfig
from dvps_ros.labels import LABEL_SETS, LabelSet
from dvps_ros.nodes.messages import nanoseconds
from dvps_ros.nodes.moments import Moment, choose, cloud_of, montage, values_of
from dvps_ros.nodes.parameters import NodeParameters
from dvps_ros.nodes.recording import Recording
from dvps_ros.nodes.synchronizer import SimpleFilter, TimeSynchronizer
from dvps_ros.nodes.tally import Tally, thing_ids

#: Topics of one frame, all with its stamp, and their types.
FRAME_TOPICS = {
    "/camera/image": Image,
    "/camera/truth/panoptic": Image,
    "/camera/truth/depth": Image,
    "/perception/panoptic": Image,
    "/perception/depth": Image,
    "/perception/overlay": Image,
    "/perception/points": PointCloud2,
}
#: Topics that are only recorded.
OTHER_TOPICS = {
    "/camera/camera_info": CameraInfo,
    "/perception/depth/camera_info": CameraInfo,
    "/perception/markers": MarkerArray,
}
#: Left out of the recording, which they would double: they are no output of the node.
UNRECORDED = frozenset({"/camera/truth/panoptic", "/camera/truth/depth"})
#: Frames that may wait for their answer before the oldest is forgotten.
WAITING = 60
#: Moments in the montage, and seconds between two that are kept for it to choose from.
MOMENTS, MOMENT_EVERY = 6, 1.0
#: Seconds between two lines where the output is no terminal.
LINE_EVERY = 10.0


class Observer(Node):
    """Node ``observer``: subscribes to a camera that tells the truth and to a perception node.

    Attributes
    ----------
    trouble : why the run cannot go on; empty while all is well.

    Raises
    ------
    ValueError : naming a parameter that has no valid value.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("observer", **options)
        parameters = NodeParameters(self, ObserverConfig)
        if parameters.problems:
            raise ValueError(parameters.problems[0])
        self.settings = parameters.config
        self.trouble = ""
        self.folder = Path(self.settings.folder)
        self._recording = Recording(self.folder / "recording.mcap")
        self._labels: LabelSet | None = None
        self._tally: Tally | None = None
        self._moments: list[Moment] = []
        self._ages: dict[int, float] = {}
        self._diagnostics: dict[str, str] = {}
        self._begun = time.monotonic()
        self._first_answer: float | None = None
        self._filters = {name: SimpleFilter() for name in FRAME_TOPICS}
        self._synchronizer = TimeSynchronizer(list(self._filters.values()), WAITING)
        self._synchronizer.registerCallback(self._on_frame)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._subscribe("/perception/labels", String, latched)
        self._subscribe("/diagnostics", DiagnosticArray, QoSProfile(depth=10))
        for name, kind in (FRAME_TOPICS | OTHER_TOPICS).items():
            self._subscribe(name, kind, QoSProfile(depth=5))

    @property
    def seconds(self) -> float:
        """Seconds since the first answer, 0 before it."""
        return 0.0 if self._first_answer is None else time.monotonic() - self._first_answer

    @property
    def done(self) -> bool:
        """True once time is up or the run cannot go on."""
        if self._first_answer is None and time.monotonic() - self._begun > self.settings.patience:
            self.trouble = self.trouble or f"no answer within {self.settings.patience:.0f} s"
        return bool(self.trouble) or self.seconds >= self.settings.seconds

    def line(self) -> str:
        """How the run is going."""
        if self._first_answer is None or self._tally is None:
            return f"waiting for the first answer ({time.monotonic() - self._begun:.0f} s)"
        return self._tally.line(self.seconds, time.monotonic())

    def finish(self) -> str:
        """Close the recording, write the montage, and give the table of the run; empty where nothing was answered."""
        self._recording.close()
        if not self._moments:
            return ""
        title = f"dvps_ros: {self.seconds:.0f} s of the simulated street through the perception node"
        picture = montage(title, choose(self._moments, MOMENTS), self._labels, self.settings.max_depth)
        cv2.imwrite(str(self.folder / "montage.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        return self._tally.table(self._diagnostics)

    def _subscribe(self, name: str, kind: type, qos: QoSProfile) -> None:
        # raw: what is recorded is what came in, byte for byte
        self.create_subscription(kind, name, lambda data: self._receive(name, kind, data), qos, raw=True)

    def _receive(self, name: str, kind: type, data: bytes) -> None:
        now = time.time_ns()
        if name not in UNRECORDED:
            self._recording.write(name, kind, data, now)
        if name in OTHER_TOPICS:
            return
        message = deserialize_message(data, kind)
        if kind is String:
            self._on_labels(message)
        elif kind is DiagnosticArray:
            self._on_diagnostics(message)
        elif self._tally is not None:
            self._on_part(name, message, now)

    def _on_labels(self, message: String) -> None:
        name = json.loads(message.data)["name"]
        if self._labels is None and name in LABEL_SETS:
            self._labels = LABEL_SETS[name]
            self._tally = Tally(self._labels, self.settings.max_depth)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.rpartition("/")[2] != "perception":
                continue
            self._diagnostics = {value.key: value.value for value in status.values}
            if status.level == DiagnosticStatus.ERROR:
                self.trouble = f"the perception node says: {status.message}"

    def _on_part(self, name: str, message: Image | PointCloud2, now: int) -> None:
        """One topic of a frame came in at ``now``, in nanoseconds of the system clock."""
        if name == "/camera/image":
            self._tally.image(time.monotonic())
        elif name == "/perception/panoptic":
            self._first_answer = self._first_answer or time.monotonic()
            stamp = nanoseconds(message.header.stamp)
            self._ages[stamp] = (now - stamp) / 1e9
            self._tally.answer(values_of(message), time.monotonic(), self._ages[stamp])
        self._filters[name].signalMessage(message)

    def _on_frame(self, image, true_panoptic, true_depth, panoptic, depth, overlay, points) -> None:
        """All topics of one frame are there."""
        panoptic, depth = values_of(panoptic), values_of(depth)
        self._tally.score(panoptic, depth, values_of(true_panoptic), values_of(true_depth))
        age = self._ages.pop(nanoseconds(image.header.stamp))
        if self._moments and self.seconds - self._moments[-1].seconds < MOMENT_EVERY:
            return
        objects = len(thing_ids(panoptic, self._labels))
        pictures = (values_of(image), values_of(overlay), depth, cloud_of(points))
        self._moments.append(Moment(self.seconds, age, objects, *pictures))


def watch(observer: Observer, stopped: list[int]) -> None:
    """Spin until the run is done or a signal number lies in ``stopped``, showing a line of figures."""
    executor = SingleThreadedExecutor()
    executor.add_node(observer)
    terminal = sys.stdout.isatty()
    shown = time.monotonic()
    while not stopped and not observer.done:
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
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: stopped.append(number))
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    try:
        observer = Observer()
        watch(observer, stopped)
        table = observer.finish()
        trouble = observer.trouble or ("" if table else "no frame was answered")
        observer.destroy_node()
    except (ValueError, OSError) as error:
        table, trouble = "", str(error)
    rclpy.try_shutdown()
    if table:
        print(table)
    if trouble:
        print(f"observer: {trouble}", file=sys.stderr)
    sys.exit(1 if trouble else 0)


if __name__ == "__main__":
    main()

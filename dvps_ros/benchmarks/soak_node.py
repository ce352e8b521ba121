"""The soak node: sends a perception node all frames that it can process, reads every topic and samples its state."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from dvps_ros.benchmarks.soak_load import frames, machine_ticks, phases_of, process_figures
from dvps_ros.config import SoakConfig
from dvps_ros.demo.watching import Watcher, run_watcher
from dvps_ros.nodes.messages import nanoseconds
from dvps_ros.nodes.outputs import topics

#: The topic whose messages count as answers: the smallest one of every frame.
ANSWER = "semantic"
#: Reliable subscriptions, and their depth, of the reader that never takes a message.
UNREAD, UNREAD_DEPTH = ("points", "panoptic"), 100
#: Number of frames on their way to and in the node at full load: one in work, one that waits.
ON_THE_WAY = 2
#: Minimum time in seconds without an answer after which the next frame is sent nevertheless, as DDS may lose one.
RESEND = 2.0
#: Seconds over which the possible rate is measured, and seconds after the last frame until all must be accounted for.
RATE_OVER, SETTLING = 10.0, 20.0
#: Seconds between two lines of progress.
LINE_EVERY = 10.0


class Soak(Watcher[SoakConfig]):
    """Node ``soak``: a camera, a reader of every topic, a reader that never takes a message, and the samples.

    The run has four phases: ``warm-up``, then three of equal length. In ``full`` each answer causes a new frame, so
    that one is always waiting. In ``overload`` several times as many frames are sent as answered. Then ``full again``.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("soak", SoakConfig, **options)
        self.samples: list[dict[str, Any]] = []
        self.frames = frames(self.settings)
        self._warm_since: float | None = None
        self._answers: list[float] = []
        self._ages: list[float] = []
        self._ages_sampled = self._sent = 0
        self._next = 0.0
        self._stamps: set[int] = set()  # of the frames sent since the last answered one
        self._readings: Counter[str] = Counter()
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        self._image = self.create_publisher(Image, "image", qos)
        self._info = self.create_publisher(CameraInfo, "camera_info", qos)
        self.create_subscription(DiagnosticArray, "/diagnostics", self.on_diagnostics, 10)
        self.create_subscription(Image, f"/perception/{ANSWER}", self._on_answer, 10)
        lossy = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        for name, kind in topics().items():
            self.create_subscription(kind, f"/perception/{name}", self._count(name), lossy, raw=True)
        self.idler = Node("soak_idler", context=self.context, use_global_arguments=False)  # never in an executor
        deep = QoSProfile(depth=UNREAD_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        for name in UNREAD:
            self.idler.create_subscription(topics()[name], f"/perception/{name}", lambda message: None, deep)

    @property
    def judged_seconds(self) -> float:
        """Seconds since the end of the warm-up, 0 before."""
        settings = self.settings
        if self._warm_since is None:
            enough = len(self._answers) >= settings.rounds * settings.frames
            if enough and self.seconds >= settings.warm_up * settings.seconds:
                self._warm_since = time.monotonic()
        return 0.0 if self._warm_since is None else time.monotonic() - self._warm_since

    @property
    def phase(self) -> str:
        """Name of the current phase."""
        seconds = self.judged_seconds
        if self._warm_since is None:
            return "warm-up"
        return ("full", "overload", "full again")[min(int(3 * seconds / self.settings.seconds), 2)]

    @property
    def done(self) -> bool:
        """Whether time is up, or the run cannot continue."""
        last = self._answers[-1] if self._answers else self._begun
        if time.monotonic() - last > self.settings.patience:
            self.trouble = self.trouble or f"no answer for {self.settings.patience:.0f} s"
        return bool(self.trouble) or self.judged_seconds >= self.settings.seconds

    @property
    def settled(self) -> bool:
        """Whether the node has accounted for every frame that reached it."""
        return self.unaccounted == 0

    @property
    def unaccounted(self) -> int:
        """Number of frames that the node received but neither answered nor counted as dropped, by its last report."""
        figures = self._figures()
        return figures["frames in"] - figures["frames out"] - sum(figures["dropped"].values())

    @property
    def pause(self) -> float:
        """Seconds until the next action is due."""
        return min(max(self._next - time.monotonic(), 0.0), 0.2)

    def step(self) -> None:
        """Send a frame and take a sample, each if it is due."""
        now = time.monotonic()
        if self._is_time(now):
            self._send(now)
        if self._first_answer is not None and self.seconds >= len(self.samples):
            self.samples.append(self._sample())

    def write(self) -> None:
        """Write ``samples.json`` into the configured folder: counts of frames and messages, samples of every second."""
        figures = {
            "sent": self._sent,
            "answers": len(self._answers),
            "readings": {name: self._readings[name] for name in topics()},
            "unaccounted": self.unaccounted,
            "lost before the node": self._sent - self._figures()["frames in"],
            **self._figures(),
        }
        facts = {name: self.diagnostics.get(name, "") for name in ("device", "model", "model sha256")}
        data = {
            "trouble": self.trouble,
            "phases": phases_of(self.samples, self._ages),
            "end": figures,
            "facts": facts,
            "cores": os.cpu_count(),
            "samples": self.samples,
        }
        Path(self.settings.folder, "samples.json").write_text(json.dumps(data))

    def line(self) -> str:
        """A line about the progress of the run."""
        if not self.samples:
            return self.waiting_line
        last = self.samples[-1]
        return (
            f"{self.seconds:4.0f} s {self.phase:10} | sent {last['sent']} | answers {last['answers']} "
            f"({self._rate():.1f} Hz) | age {1000 * self._age:.0f} ms | "
            f"{last['resident'] / 2**20:.0f} MiB, {last['threads']} threads, {last['files']} files"
        )

    # --- sending ---------------------------------------------------------------------------------------------------

    def _is_time(self, now: float) -> bool:
        if not (self._image.get_subscription_count() and self._info.get_subscription_count()):
            return False
        return now >= self._next or (self.phase != "overload" and len(self._stamps) < ON_THE_WAY)

    def _send(self, now: float) -> None:
        image, info = self.frames[self._sent % len(self.frames)]
        image.header.stamp = info.header.stamp = self.get_clock().now().to_msg()
        self._info.publish(info)
        self._image.publish(image)
        self._stamps.add(nanoseconds(image.header.stamp))
        self._sent += 1
        if self.phase == "overload":
            period = 1 / (self.settings.overload * max(self._rate(), 0.1))
            self._next = max(self._next + period, now)
        else:
            self._next = now + max(RESEND, 3 * self._age)

    @property
    def _age(self) -> float:
        """Median age of the last answers in seconds, 0 before the first."""
        return float(np.median(self._ages[-20:])) if self._ages else 0.0

    def _rate(self) -> float:
        """Answers per second over the last seconds."""
        recent = [moment for moment in self._answers[-1000:] if moment >= time.monotonic() - RATE_OVER]
        return len(recent) / RATE_OVER

    # --- reading ---------------------------------------------------------------------------------------------------

    def _on_answer(self, message: Image) -> None:
        now = time.monotonic()
        self._first_answer = self._first_answer or now
        stamp = nanoseconds(message.header.stamp)
        self._answers.append(now)
        self._ages.append((self.get_clock().now().nanoseconds - stamp) / 1e9)
        self._stamps = {other for other in self._stamps if other > stamp}  # earlier ones will not be answered

    def _count(self, name: str) -> Any:
        def callback(data: bytes) -> None:
            self._readings[name] += 1

        return callback

    # --- sampling --------------------------------------------------------------------------------------------------

    def _figures(self) -> dict[str, Any]:
        """The counters in the node's last diagnostics."""
        values = self.diagnostics
        counts = {name: int(values.get(name, 0)) for name in ("frames in", "frames out")}
        drops = {key.removeprefix("dropped: "): int(n) for key, n in values.items() if key.startswith("dropped: ")}
        return {**counts, "dropped": drops}

    def _sample(self) -> dict[str, Any]:
        ages, self._ages_sampled = self._ages[self._ages_sampled :], len(self._ages)
        return {
            "seconds": round(self.seconds, 3),
            "phase": self.phase,
            "sent": self._sent,
            "answers": len(self._answers),
            "age": round(float(np.median(ages)), 4) if ages else None,
            **process_figures(self.settings.pid),
            "busy": machine_ticks(),
            **self._figures(),
        }


def watch(soak: Soak, signals: list[int]) -> None:
    """Run until time is up and all frames are accounted for, or ``signals`` is not empty."""
    executor = SingleThreadedExecutor()
    executor.add_node(soak)
    shown = -LINE_EVERY
    while not signals and not soak.done:
        executor.spin_once(timeout_sec=soak.pause)
        soak.step()
        if time.monotonic() - shown >= LINE_EVERY:
            shown = time.monotonic()
            print(soak.line(), flush=True)
    until, reports = time.monotonic() + SETTLING, soak.reports
    while not signals and time.monotonic() < until and not (soak.reports >= reports + 2 and soak.settled):
        executor.spin_once(timeout_sec=0.2)
    executor.shutdown()


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the process: exit code 0 with samples.json written, 1 if the run failed."""
    run_watcher(Soak, _soak, arguments)


def _soak(soak: Soak, signals: list[int]) -> str:
    """Run the test; returns why the run failed, or an empty text."""
    watch(soak, signals)
    soak.write()
    soak.idler.destroy_node()
    return soak.trouble or ("" if soak.samples else "no frame was answered")


if __name__ == "__main__":
    main()

"""The soak: feeds a perception node all it can take, reads every topic, and notes once a second how it fares."""

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

#: The topic whose messages are taken as the node's answers: the smallest that every frame has.
ANSWER = "semantic"
#: The topics that a reader subscribes to, reliably and this deep, without ever taking a message.
UNREAD, UNREAD_DEPTH = ("points", "panoptic"), 100
#: Frames on their way to and in the node while it gets as many as it can take: one in work, one that waits.
ON_THE_WAY = 2
#: Seconds without an answer after which, at the earliest, the next frame is sent all the same: DDS may lose one.
RESEND = 2.0
#: Seconds over which the possible rate is taken, and after the last frame until all of them must be accounted for.
RATE_OVER, SETTLING = 10.0, 20.0
#: Seconds between two lines of progress.
LINE_EVERY = 10.0


class Soak(Watcher[SoakConfig]):
    """Node ``soak``: a camera, a reader of every topic, one that never takes a message, and the notes on all of it.

    The run has four phases: ``warm-up``, then in equal parts ``full`` (a new frame for each answer, so that one is
    always waiting), ``overload`` (several times as many frames as are answered) and ``full again``.
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
        self._stamps: set[int] = set()  # of the frames sent since the last one that was answered
        self._readings: Counter[str] = Counter()
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        self._image = self.create_publisher(Image, "image", qos)
        self._info = self.create_publisher(CameraInfo, "camera_info", qos)
        self.create_subscription(DiagnosticArray, "/diagnostics", self.on_diagnostics, 10)
        self.create_subscription(Image, f"/perception/{ANSWER}", self._on_answer, 10)
        lossy = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        for name, kind in topics().items():
            self.create_subscription(kind, f"/perception/{name}", self._count(name), lossy, raw=True)
        self.idler = Node("soak_idler", context=self.context, use_global_arguments=False)  # in no executor, ever
        deep = QoSProfile(depth=UNREAD_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        for name in UNREAD:
            self.idler.create_subscription(topics()[name], f"/perception/{name}", lambda message: None, deep)

    @property
    def judged_seconds(self) -> float:
        """Seconds since the warm-up ended, 0 before."""
        settings = self.settings
        if self._warm_since is None:
            enough = len(self._answers) >= settings.rounds * settings.frames
            if enough and self.seconds >= settings.warm_up * settings.seconds:
                self._warm_since = time.monotonic()
        return 0.0 if self._warm_since is None else time.monotonic() - self._warm_since

    @property
    def phase(self) -> str:
        """Which part of the run it is."""
        seconds = self.judged_seconds
        if self._warm_since is None:
            return "warm-up"
        return ("full", "overload", "full again")[min(int(3 * seconds / self.settings.seconds), 2)]

    @property
    def done(self) -> bool:
        """True once time is up or the run cannot go on."""
        last = self._answers[-1] if self._answers else self._begun
        if time.monotonic() - last > self.settings.patience:
            self.trouble = self.trouble or f"no answer for {self.settings.patience:.0f} s"
        return bool(self.trouble) or self.judged_seconds >= self.settings.seconds

    @property
    def settled(self) -> bool:
        """True once the node has accounted for every frame that reached it."""
        return self.unaccounted == 0

    @property
    def unaccounted(self) -> int:
        """Frames that the node has received, and neither answered nor counted as dropped, as it said last."""
        figures = self._figures()
        return figures["frames in"] - figures["frames out"] - sum(figures["dropped"].values())

    @property
    def pause(self) -> float:
        """Seconds until there is something to do."""
        return min(max(self._next - time.monotonic(), 0.0), 0.2)

    def step(self) -> None:
        """Send a frame and take a sample, each when it is time."""
        now = time.monotonic()
        if self._is_time(now):
            self._send(now)
        if self._first_answer is not None and self.seconds >= len(self.samples):
            self.samples.append(self._sample())

    def write(self) -> None:
        """Write ``samples.json`` into the settings' folder: counts of frames and messages, notes of every second."""
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
        """How the run is going."""
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
        """Answers per second of late."""
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

    # --- noting ----------------------------------------------------------------------------------------------------

    def _figures(self) -> dict[str, Any]:
        """What the node's last diagnostics count."""
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
    """Entry point of the soak's process: exit code 0 with samples.json written, 1 when the run broke off."""
    run_watcher(Soak, _soak, arguments)


def _soak(soak: Soak, signals: list[int]) -> str:
    """The whole run; why it failed."""
    watch(soak, signals)
    soak.write()
    soak.idler.destroy_node()
    return soak.trouble or ("" if soak.samples else "no frame was answered")


if __name__ == "__main__":
    main()

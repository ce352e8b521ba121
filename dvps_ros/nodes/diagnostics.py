"""The node's diagnostics: rates, latencies, drops, device, model, camera."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.timer import Timer
from std_msgs.msg import Header

from dvps_ros.labels import LabelSet
from dvps_ros.structures import Anchor, Scene

#: The clock of timers that must run while simulated time stands still or jumps.
STEADY = Clock(clock_type=ClockType.STEADY_TIME)

#: The percentiles are those of this many last frames.
WINDOW = 200
#: Stages of one frame, in order; ``total`` runs from reception to the last publication, ``age`` from the stamp.
STAGES = ("wait", "decode", "preprocess", "network", "merge", "anchor", "track", "pack", "publish", "total", "age")


@dataclass(frozen=True)
class Report:
    """One period's figures: rates in hertz, latencies as (p50, p99) in seconds by stage, counts since the start."""

    input_rate: float
    output_rate: float
    latencies: Mapping[str, tuple[float, float]]
    drops: Mapping[str, int]
    warnings: Mapping[str, int]
    inputs: int
    outputs: int


class Statistics:
    """Counts and latencies of the frames, filled by several threads."""

    def __init__(self, now: float) -> None:
        self._lock = threading.Lock()
        self._since = now
        self._inputs = self._outputs = 0
        self._inputs_before = self._outputs_before = 0
        self._drops: Counter[str] = Counter()
        self._warnings: Counter[str] = Counter()
        self._latencies: dict[str, deque[float]] = {}

    def received(self) -> None:
        """Count a frame that came in."""
        with self._lock:
            self._inputs += 1

    def published(self) -> None:
        """Count a frame whose results went out."""
        with self._lock:
            self._outputs += 1

    def dropped(self, cause: str) -> None:
        """Count a frame that was lost."""
        with self._lock:
            self._drops[cause] += 1

    def warned(self, cause: str) -> None:
        """Count a fault that cost no frame."""
        with self._lock:
            self._warnings[cause] += 1

    def add_latencies(self, **seconds: float) -> None:
        """Add the seconds of each stage of one frame."""
        with self._lock:
            for stage, duration in seconds.items():
                self._latencies.setdefault(stage, deque(maxlen=WINDOW)).append(duration)

    def report(self, now: float) -> Report:
        """Figures since the last report; ``now`` in seconds of a monotonic clock."""
        with self._lock:
            period = max(now - self._since, 1e-9)
            rates = (
                (self._inputs - self._inputs_before) / period,
                (self._outputs - self._outputs_before) / period,
            )
            self._since, self._inputs_before, self._outputs_before = now, self._inputs, self._outputs
            latencies = {stage: tuple(values) for stage, values in self._latencies.items()}
            drops, warnings = dict(self._drops), dict(self._warnings)
            counts = self._inputs, self._outputs
        percentiles = {stage: tuple(np.percentile(values, (50, 99)).tolist()) for stage, values in latencies.items()}
        return Report(*rates, percentiles, drops, warnings, *counts)


class DiagnosticsPublisher:
    """Publishes the node's status on ``/diagnostics`` at a steady rate.

    Parameters
    ----------
    node : publishes, under its own name.
    rate : hertz.
    statistics : rates, latencies and counts.
    status : gives level, message, and further key-value pairs.
    """

    def __init__(
        self, node: Node, rate: float, statistics: Statistics, status: Callable[[], tuple[bytes, str, dict[str, str]]]
    ) -> None:
        self._node, self._statistics, self._status = node, statistics, status
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._timer = self._create_timer(rate)

    def set_rate(self, rate: float) -> None:
        """Change the rate, in hertz."""
        if 1e9 / self._timer.timer_period_ns != rate:
            self._node.destroy_timer(self._timer)
            self._timer = self._create_timer(rate)

    def _create_timer(self, rate: float) -> Timer:
        return self._node.create_timer(1 / rate, self._publish, clock=STEADY)

    def _publish(self) -> None:
        report = self._statistics.report(time.monotonic())
        level, message, facts = self._status()
        stamp = self._node.get_clock().now().to_msg()
        name = self._node.get_fully_qualified_name().lstrip("/")
        self._publisher.publish(diagnostic_array(stamp, name, level, message, report, facts))


def diagnostic_array(
    stamp: Time, node: str, level: bytes, message: str, report: Report, facts: Mapping[str, str]
) -> DiagnosticArray:
    """The message for /diagnostics: one status with the report's figures and then ``facts``, all as text."""
    values = {
        "input rate (Hz)": f"{report.input_rate:.2f}",
        "output rate (Hz)": f"{report.output_rate:.2f}",
        "frames in": str(report.inputs),
        "frames out": str(report.outputs),
        "frames dropped": str(sum(report.drops.values())),
    }
    for stage in STAGES:
        if stage in report.latencies:
            for name, seconds in zip(("p50", "p99"), report.latencies[stage], strict=True):
                values[f"latency {stage} {name} (ms)"] = f"{seconds * 1000:.2f}"
    values.update({f"dropped: {cause}": str(count) for cause, count in sorted(report.drops.items())})
    values.update({f"warned: {cause}": str(count) for cause, count in sorted(report.warnings.items())})
    values.update(facts)
    status = DiagnosticStatus(level=level, name=node, message=message, hardware_id=facts.get("device", ""))
    status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticArray(header=Header(stamp=stamp), status=[status])


def anchor_facts(anchor: Anchor, problem: str) -> dict[str, str]:
    """How the scale of the last frame was anchored to the ground, as text; empty if no camera height is configured.

    ``problem`` says why the camera's height is not known. It is reported rather than a problem with the ground.
    """
    if anchor.state == "off":
        return {"scale": f"not anchored: {problem}"} if problem else {}
    reason = problem or anchor.problem
    return {
        "scale": f"{anchor.state}: {reason}" if reason else anchor.state,
        "scale factor": f"{anchor.factor:.3f}",
        "ground (% of the image)": f"{100 * anchor.share:.0f}",
        "ground on one plane (%)": f"{100 * anchor.inliers:.0f}",
        "ground's tilt (degrees)": f"{anchor.tilt:.1f}",
    }


def tracking_facts(scene: Scene, labels: LabelSet, pose_problem: str = "") -> dict[str, str]:
    """How many objects the last frame has, and whether the camera's own motion is known, as text.

    ``pose_problem`` says why the motion does not come from TF, where it should; else it is empty.
    """
    objects = sum(labels.is_thing[s.class_id] for s in scene.segments)
    facts = {"objects": str(objects)}
    if scene.things:
        facts["objects confirmed"] = str(sum(thing.confirmed for thing in scene.things))
    motion = scene.motion
    if motion is not None and motion.problem:
        facts["camera's motion"] = f"unknown: {motion.problem}"
    elif motion is not None:
        agree = "" if math.isnan(motion.inliers) else f", {100 * motion.inliers:.0f} % of corners agree"
        facts["camera's motion"] = "from TF" if motion.source == "given" else f"from the picture{agree}"
    if pose_problem:
        facts["fixed frame"] = pose_problem
    return facts


def device_facts(device: torch.device) -> dict[str, str]:
    """Name and memory of a torch device, as text."""
    if device.type != "cuda":
        return {"device": str(device)}
    free, total = torch.cuda.mem_get_info(device)
    mib = 1024 * 1024
    return {
        "device": f"{device} ({torch.cuda.get_device_name(device)})",
        "device memory of the node (MiB)": str(torch.cuda.memory_allocated(device) // mib),
        "device memory free (MiB)": f"{free // mib} of {total // mib}",
    }

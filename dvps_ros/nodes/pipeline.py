"""The steps of a frame through the node, on a thread of their own: decode, perceive, pack, publish."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from dvps_ros.config import PerceptionConfig
from dvps_ros.nodes.diagnostics import anchor_facts, tracking_facts
from dvps_ros.nodes.frame import Frame
from dvps_ros.nodes.frame_reader import FrameReader
from dvps_ros.nodes.health import Health
from dvps_ros.nodes.messages import nanoseconds
from dvps_ros.nodes.mounting import Mounting
from dvps_ros.nodes.outputs import PLACED, Outputs
from dvps_ros.nodes.placement import Placement
from dvps_ros.nodes.process import one_line
from dvps_ros.nodes.worker import LatestWorker
from dvps_ros.runtime import DeviceMemoryError, NonFiniteOutputError, Perceiver
from dvps_ros.structures import Intrinsics, Scene


@dataclass(frozen=True)
class Job:
    """A received image, with its camera_info (or why there is none) and its time of arrival (``time.monotonic``).

    ``activation`` counts the activations of the node: a frame of an earlier one is not published.
    """

    image: Image | CompressedImage
    info: CameraInfo | None
    reason: str
    received: float
    activation: int


class FramePipeline:
    """Works on one frame while at most one, the newest, waits. It publishes results between activate and deactivate.

    Parameters
    ----------
    node : gives the clock, and says whether ROS still runs.
    reader, perceiver, outputs : the steps of a frame.
    mounting : gives the height and the up direction of the camera, and its pose in the fixed frame.
    settings : gives the current parameters.
    health : gets every fault and every result.
    on_failing : called on the pipeline's thread with a sentence when ``max_consecutive_errors`` frames have failed.
    """

    def __init__(
        self,
        node: Node,
        reader: FrameReader,
        perceiver: Perceiver,
        outputs: Outputs,
        mounting: Mounting,
        settings: Callable[[], PerceptionConfig],
        health: Health,
        on_failing: Callable[[str], None],
    ) -> None:
        self._node, self._reader, self._perceiver, self._outputs = node, reader, perceiver, outputs
        self._settings, self._health, self._on_failing = settings, health, on_failing
        self._mounting = mounting
        self._active = False
        self._activation = 0
        self._received: float | None = None  # when the last perceived frame arrived
        self._publishing = threading.Lock()  # held while results go out; deactivation waits for it
        self._reset_wanted = threading.Event()
        self._worker: LatestWorker[Job] = LatestWorker(self._process, self._replaced, self._failed)

    def activate(self) -> None:
        """Publish the results of frames that are submitted from now on."""
        self._activation += 1
        self._active = True

    def deactivate(self) -> None:
        """Stop publishing, and drop the frame that waits; the one in work may continue."""
        with self._publishing:
            self._active = False
        if self._worker.clear() is not None:
            self._health.statistics.dropped("deactivated")

    def wait_idle(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds for the frame in work; False on timeout."""
        return self._worker.wait_idle(timeout)

    def stop(self, timeout: float) -> bool:
        """End the thread after the frame in work; False when that takes more than ``timeout`` seconds."""
        return self._worker.stop(timeout)

    def submit(self, image: Image | CompressedImage, info: CameraInfo | None, reason: str) -> None:
        """Hand over an image with its camera_info, or why there is none; never blocks."""
        self._worker.submit(Job(image, info, reason, time.monotonic(), self._activation))

    def reset_tracks(self) -> None:
        """Restart the track ids with the next frame."""
        self._reset_wanted.set()

    # --- on the pipeline's thread ------------------------------------------------------------------------------------

    def _process(self, job: Job) -> None:
        try:
            self._answer(job)
            return
        except torch.cuda.OutOfMemoryError as error:
            reason = one_line(error)
        # The error held references to the frame's tensors; only here, outside the handler, can their memory be freed.
        torch.cuda.empty_cache()
        raise DeviceMemoryError(reason)

    def _answer(self, job: Job) -> None:
        stopwatch = _Stopwatch(job.received)
        stopwatch.lap("wait")
        if self._is_too_old(job):
            return
        wanted = self._outputs.wanted()
        if not wanted:
            self._health.unanswered("no subscribers")
            return
        image = self._reader.image(job.image)
        if image is None:
            return
        intrinsics = self._reader.camera(job.info, job.reason, image.shape[:2])
        stopwatch.lap("decode")
        if self._reset_wanted.is_set():
            self._reset_wanted.clear()
            self._perceiver.reset_tracks()
        scene = self._perceive(job, image, intrinsics)
        stopwatch.lap("perceive")
        info = job.info if intrinsics is not None else None
        labels, settings = self._perceiver.labels, self._settings()
        placement = self._placement(job) if wanted & PLACED else None
        frame = Frame(job.image.header, image, scene, intrinsics, info, labels, settings, placement)
        messages = self._outputs.pack(frame, wanted)
        stopwatch.lap("pack")
        with self._publishing:
            if not self._is_current(job):
                self._health.statistics.dropped("deactivated")
                return
            self._outputs.publish(messages, job.image.header)
        stopwatch.lap("publish")
        self._health.answered(self._stages(job, stopwatch.laps))

    def _perceive(self, job: Job, image: np.ndarray, intrinsics: Intrinsics | None) -> Scene:
        header, perceiver = job.image.header, self._perceiver
        stamp = nanoseconds(header.stamp)
        self._mounting.begin(stamp)
        if self._received is not None:  # for frames without a stamp
            perceiver.frame_period = job.received - self._received
        mount = self._mounting.of(header.frame_id)
        if mount.problem:
            self._health.fault("camera height", f"depth is not anchored to the ground: {mount.problem}", lost=False)
        perceiver.camera_height, perceiver.up = mount.height, mount.up
        # looked up after the network, when a transform of this stamp has come
        scene = perceiver.step(
            image, intrinsics, stamp / 1e9 if stamp else None, lambda: self._mounting.pose(header.frame_id, stamp)
        )
        self._received = job.received
        problem = self._mounting.pose_problem
        if problem:
            self._health.fault("fixed frame", f"the camera's motion is not taken from TF: {problem}", lost=False)
        self._health.anchor = anchor_facts(scene.anchor, mount.problem)
        self._health.tracking = tracking_facts(scene, perceiver.labels, problem)
        return scene

    def _placement(self, job: Job) -> Placement | None:
        header = job.image.header
        placement = self._mounting.placement(header.frame_id, nanoseconds(header.stamp))
        problem = self._mounting.placement_problem
        if problem:
            self._health.fault("target frame", f"clouds and boxes stay in the camera's frame: {problem}", lost=False)
        return placement

    def _stages(self, job: Job, laps: dict[str, float]) -> dict[str, float]:
        """Seconds of each stage of ``diagnostics.STAGES``."""
        stages = {name: seconds for name, seconds in laps.items() if name != "perceive"}
        if (age := self._age(job)) is not None:
            stages["age"] = age
        return {**stages, **self._perceiver.timings, "total": time.monotonic() - job.received}

    def _is_current(self, job: Job) -> bool:
        """Whether the activation in which the frame was submitted still lasts."""
        return self._active and job.activation == self._activation

    def _age(self, job: Job) -> float | None:
        """Seconds since the image's stamp; None where it has none."""
        stamp = nanoseconds(job.image.header.stamp)
        return (self._node.get_clock().now().nanoseconds - stamp) / 1e9 if stamp else None

    def _is_too_old(self, job: Job) -> bool:
        limit, age = self._settings().max_age, self._age(job)
        if not limit or age is None or age <= limit:
            return False
        self._health.fault("too old", f"image dropped: {age:.2f} s old, max_age is {limit} s", lost=True)
        return True

    def _replaced(self, job: Job) -> None:
        self._health.unanswered("replaced", "a newer image came while one was in work")

    def _failed(self, job: Job, error: Exception) -> None:
        """A frame failed in the network or after it."""
        if not self._node.context.ok():  # the process is ending, and the publishers are gone
            return
        if not self._is_current(job):  # the node was deactivated, and its parts may be gone
            self._health.statistics.dropped("deactivated")
            return
        cause = "not finite" if isinstance(error, NonFiniteOutputError) else "error"
        reason = one_line(error)
        self._health.frame_failed(cause, f"frame lost: {reason}")
        count = self._health.failed_in_a_row
        if count >= self._settings().max_consecutive_errors:
            self._on_failing(f"deactivated after {count} failed frames in a row, the last: {reason}")


class _Stopwatch:
    """Seconds from lap to lap, from a start on ``time.monotonic``."""

    def __init__(self, start: float) -> None:
        self._last = start
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name], self._last = now - self._last, now

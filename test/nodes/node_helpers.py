"""What the tests of the nodes share: a quick stand-in perceiver, a camera that publishes, a process under test."""

import math
import os
import signal
import sys
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diagnostic_msgs.msg import DiagnosticArray
from node_logs import NodeProcess
from rclpy._rclpy_pybind11 import InvalidHandle
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from dvps_ros.config import Config
from dvps_ros.labels import CITYSCAPES
from dvps_ros.nodes.messages import info_of
from dvps_ros.scene.track import Tracker
from dvps_ros.structures import Intrinsics, Scene, Segment

WIDTH, HEIGHT = 64, 32
CAMERA = Intrinsics(50.0, 50.0, 31.5, 15.5, WIDTH, HEIGHT)


class QuickPerceiver:
    """Calls the upper third sky, the lower third road at 5 m, and a square in the middle a car at 10 m."""

    tells_uncertainty = False
    runtime = "torch"

    def __init__(self, delay=0.0):
        self.labels, self.config, self.device = CITYSCAPES, Config(), torch.device("cpu")
        self.merge_config, self.timings, self.digest = self.config.merge, {}, "0" * 64
        self.delay, self.fail_next, self.steps = delay, [], 0
        self.tracker, self.numbers = Tracker(CITYSCAPES), []  # what a tracker calls the car in each frame

    @classmethod
    def load(cls, model, *_):
        return cls()

    def warm_up(self):
        pass

    def reset_tracks(self):
        self.tracker.reset()

    def step(self, image, intrinsics=None, stamp=None, pose=None):
        self.steps += 1
        if self.fail_next:
            raise self.fail_next.pop(0)
        time.sleep(self.delay)
        self.timings = {"preprocess": 0.0, "network": self.delay, "merge": 0.0, "track": 0.0}
        height, width = image.shape[:2]
        panoptic = torch.full((height, width), 255000, dtype=torch.int32)
        depth = torch.full((height, width), 20.0)
        panoptic[: height // 3] = 10000
        panoptic[-height // 3 :], depth[-height // 3 :] = 0, 5.0
        square = slice(height // 3, 2 * height // 3), slice(width // 3, 2 * width // 3)
        panoptic[square], depth[square] = 13001, 10.0
        segments = tuple(
            Segment(i, i // 1000, i % 1000, 0.9, int((panoptic == i).sum()), 5.0) for i in (0, 10000, 13001)
        )
        scene = Scene(panoptic, depth, torch.full((height, width), 0.5), segments, metric=intrinsics is not None)
        tracked = self.tracker.update(scene, intrinsics, stamp, pose=pose() if callable(pose) else pose)
        self.numbers.append(tracked.segments[-1].instance)
        return replace(scene, motion=tracked.motion)


class Gated(QuickPerceiver):
    """Works on a frame until it is told to go on."""

    def __init__(self):
        super().__init__()
        self.started, self.go_on = threading.Semaphore(0), threading.Semaphore(0)

    def step(self, image, intrinsics=None, stamp=None, pose=None):
        self.started.release()
        assert self.go_on.acquire(timeout=30)
        return super().step(image, intrinsics, pose=pose)


def image_of(values, encoding="rgb8", stamp=None, frame_id="camera_optical"):
    """An Image message of an array, rows unpadded."""
    message = Image(height=values.shape[0], width=values.shape[1], encoding=encoding, step=values[0].nbytes)
    message.data.frombytes(np.ascontiguousarray(values).tobytes())
    message.header.frame_id = frame_id
    if stamp is not None:
        message.header.stamp = stamp
    return message


class Camera:
    """A node that publishes test images with their camera_info, and collects what comes back."""

    def __init__(self, name="test_camera", reliability=ReliabilityPolicy.RELIABLE):
        self.node = Node(name)
        qos = QoSProfile(depth=1, reliability=reliability)
        self.images = self.node.create_publisher(Image, "image", qos)
        self.infos = self.node.create_publisher(CameraInfo, "camera_info", qos)
        self.received = defaultdict(list)
        self.collect(DiagnosticArray, "/diagnostics", 10)
        self.pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)

    def collect(self, kind, topic, qos=10):
        self.node.create_subscription(kind, topic, lambda message: self.received[topic].append(message), qos)

    def send(self, image=None, info=info_of(CAMERA), stamp=None):  # noqa: B008 - never changed for long
        """Publish a pair with one stamp; gives the stamp."""
        stamp = stamp or self.node.get_clock().now().to_msg()
        image = image or image_of(self.pixels)
        image.header.stamp = stamp
        if info is not None:
            info.header = image.header
            self.infos.publish(info)
        self.images.publish(image)
        return stamp

    def diagnostics(self):
        """The newest status of the perception node as a dictionary, with its message."""
        statuses = [s for m in self.received["/diagnostics"] for s in m.status if "perception" in s.name]
        if not statuses:
            return {}
        return {"message": statuses[-1].message, **{value.key: value.value for value in statuses[-1].values}}


@contextmanager
def spinning(*nodes):
    """Spin nodes on a thread of their own; the first error of a callback is raised at the end."""
    executor, errors, done = SingleThreadedExecutor(), [], threading.Event()
    for node in nodes:
        executor.add_node(node)

    def spin():
        # not executor.spin: shutdown takes away the guard conditions that its next wait would begin with
        while not done.is_set():
            try:
                executor.spin_once(timeout_sec=0.1)
            except InvalidHandle:  # a test has destroyed a timer or subscription that this wait was about to begin with
                continue
            except Exception as error:
                errors.append(error)
                return

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    try:
        yield executor
    finally:
        done.set()
        executor.wake()
        thread.join(5)
        executor.shutdown(timeout_sec=5)
        for node in nodes:
            node.destroy_node()
    assert not errors, errors


def wait_for(condition, timeout=40.0, what=""):
    """Wait until a condition holds and give its value."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"did not happen within {timeout} s: {what or condition}")


def start_process(*arguments, code=None):
    """A Python process running ``code`` or ``-m arguments``; its output goes to a log that the session scans.

    It finds this module and those that this one imports.
    """
    command = [sys.executable, *(("-c", code) if code else ("-m",)), *arguments]
    here = Path(__file__).resolve().parent
    paths = filter(None, (str(here), str(here.parent), os.environ.get("PYTHONPATH")))
    return NodeProcess(command, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)})


def interrupt(process):
    """SIGINT a process; gives its output and asserts that it ended by itself and quietly."""
    process.send_signal(signal.SIGINT)
    process.wait(60)  # two seconds, on a machine that is not busy with other tests
    assert "Traceback" not in process.output, process.output
    assert process.returncode == 0, process.output
    return process.output


def nearly(a, b):
    """Floats within float32's precision."""
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6)

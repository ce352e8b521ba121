"""Processes of the fault tests, forked from one that has imported everything: a node in a process in a blink.

Real processes all the same: with their own ROS context and DDS participant, ended by signals alone.
"""

import contextlib
import ctypes
import faulthandler
import multiprocessing
import os
import re
import signal
import sys
import time

import numpy as np
import rclpy
import torch
from node_helpers import QuickPerceiver, wait_for
from node_logs import SESSION
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from dvps_ros.nodes.messages import info_of
from dvps_ros.nodes.packing import Buffer, image_message
from dvps_ros.nodes.perception_node import PerceptionNode
from dvps_ros.nodes.process import run
from dvps_ros.structures import Intrinsics

_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(["dvps_ros.nodes.perception_node", "cv2"])
#: Linux' prctl option: signal me when my parent dies.
_PR_SET_PDEATHSIG = 1


class Child:
    """A forked process that runs ``target(*arguments)``, its output in a log that the session searches.

    Parameters
    ----------
    target : a function of a module.
    arguments : what can be pickled.
    environment : variables that differ from this process's.
    """

    def __init__(self, target, *arguments, environment=None):
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition("::")[2].partition(" ")[0]
        self.log = SESSION.new_log(re.sub(r"\W+", "_", test) or "child")
        self.log.touch()
        variables = {
            name: value for name, value in os.environ.items() if name.startswith(("ROS_", "FASTRTPS_", "FASTDDS_"))
        }
        variables.update(environment or {})
        self._process = _FORKED.Process(target=_live, args=(str(self.log), variables, target, arguments), daemon=True)
        self._process.start()
        self.pid = self._process.pid

    @property
    def output(self):
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def wait_for_line(self, words, timeout=60.0):
        """Wait until it has printed ``words``."""

        def printed():
            assert self._process.is_alive() or words in self.output, self.output
            return words in self.output

        wait_for(printed, timeout, words)

    def send_signal(self, number):
        os.kill(self.pid, number)

    def wait(self, timeout):
        """Its exit code, or None when it has not ended in time."""
        self._process.join(timeout)
        return self._process.exitcode

    def kill(self):
        """SIGKILL it, as the kernel does when memory runs out; returns when it is dead and nothing is held of it."""
        if self._process is not None:
            self._process.kill()
            self._process.join(10)
            assert self._process.exitcode is not None
            self._process.close()
            self._process = None


def _live(log, variables, target, arguments):
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # when pytest is killed, so is this
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout.reconfigure(line_buffering=True)
    faulthandler.enable()
    # as at the start of any executable, even where pytest itself runs in the background and ignores it
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(0))
    os.environ.update(variables)
    torch.set_num_threads(1)
    target(*arguments)


# --- what they run ---------------------------------------------------------------------------------------------------


class SlowPerceiver(QuickPerceiver):
    """Takes its time to load and to work, and says when it begins."""

    def __init__(self, loading=0.0, working=0.0):
        super().__init__()
        print("loading")
        time.sleep(loading)
        self._working = working

    def step(self, image, intrinsics=None, stamp=None, pose=None):
        print("working")
        time.sleep(self._working)
        return super().step(image, intrinsics)


def perception(model, arguments=(), loading=0.0, working=0.0):
    """The perception node with a stand-in perceiver, until a signal ends it."""
    sys.argv[0] = "perception_node"
    given = ["--ros-args", "-p", f"model:={model}", "-p", "diagnostics_rate:=10.0", *arguments]
    print("starting")
    run(lambda: PerceptionNode(lambda *_: SlowPerceiver(loading, working)), given)


def camera(settings):
    """A camera that publishes image and camera_info with one stamp until it is killed.

    ``settings``, all optional: name, namespace, width, height, channels, encoding, frame_id, reliability, rate, fx.
    """
    given = {"name": "camera", "namespace": "", "width": 64, "height": 32, "channels": 3}
    given.update({"encoding": "rgb8", "frame_id": "camera", "reliability": "reliable", "rate": 20.0, "fx": 50.0})
    given.update(settings)
    rclpy.init(args=[])
    node = rclpy.create_node(given["name"], namespace=given["namespace"])
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy[given["reliability"].upper()])
    images, infos = node.create_publisher(Image, "image", qos), node.create_publisher(CameraInfo, "camera_info", qos)
    width, height = given["width"], given["height"]
    pixels = np.zeros((height, width, given["channels"]), np.uint8)
    info, buffer = info_of(Intrinsics(given["fx"], given["fx"], width / 2, height / 2, width, height)), Buffer()

    def publish():
        info.header = Header(stamp=node.get_clock().now().to_msg(), frame_id=given["frame_id"])
        infos.publish(info)
        images.publish(image_message(info.header, pixels, given["encoding"], buffer))

    node.create_timer(1 / given["rate"], publish)
    with contextlib.suppress(ExternalShutdownException):
        rclpy.spin(node)

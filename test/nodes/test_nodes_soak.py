"""The node under full load: the shipped model for a minute by ``dvps soak``, and bad readers, one by one."""

import json
import os
import signal
import subprocess
import sys

import cv2
import pytest
import slow
from node_helpers import Camera, interrupt, spinning, start_process, wait_for
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from dvps_ros.benchmarks.soak_load import process_figures
from dvps_ros.nodes.outputs import topics

#: Seconds that a process may take to start on a busy machine.
STARTING = 120
SHARED = "/dev/shm"
NODE = """
import sys
from node_helpers import QuickPerceiver
from dvps_ros.nodes.perception_node import PerceptionNode
from dvps_ros.nodes import process
process.GRACE = 60.0  # seconds, which a busy machine may need for a clean end
process.run(lambda: PerceptionNode(lambda *_: QuickPerceiver(delay=float(sys.argv[1]))), ["--ros-args", *sys.argv[2:]])
"""
FROZEN = """
import rclpy, time
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("frozen")
node.create_subscription(Image, "/perception/overlay", lambda message: None, QoSProfile(depth=100))
rclpy.spin(node)
"""


@pytest.mark.slow
def test_a_minute_under_full_load(tmp_path):
    folder = tmp_path / "soak"
    command = [sys.executable, "-m", "dvps_ros.cli.main", "soak", "--seconds", str(slow.of(60, 40)), "--frames", "5"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, "--folder", folder], capture_output=True, text=True, env=environment, timeout=400)
    print(done.stdout)
    assert done.stderr == ""
    run = json.loads((folder / "soak.json").read_text())
    # two per cent take minutes of warm-up, and seconds are too few to even out what else the machine does
    within_reason = {"memory, first and last", "memory, straight line", "latency does not grow"}
    verdicts = {verdict["name"]: verdict for verdict in run["verdicts"]}
    assert within_reason < set(verdicts)
    assert [v for name, v in verdicts.items() if name not in within_reason and not v["good"]] == []
    samples = [sample for sample in run["samples"] if sample["phase"] != "warm-up"]
    resident = [sample["resident"] for sample in samples]
    assert max(resident[-5:]) < 1.08 * max(resident[:5])
    phases = run["phases"]
    assert list(phases) == ["warm-up", "full", "overload", "full again"]
    assert phases["overload"]["sent"] > phases["overload"]["answered"]
    first, last = phases["full"], phases["full again"]
    assert last["node's cores"] / last["answered"] < 1.5 * first["node's cores"] / first["answered"]
    left = {name: run["cores"] - phase["others' cores"] for name, phase in phases.items()}
    assert last["age p50"] * left["full again"] < 4 * first["age p50"] * left["full"]
    assert cv2.imread(str(folder / "soak.png")) is not None


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts a perception node that takes a while for each frame, or other Python code, as a process."""
    started, folder = [], tmp_path_factory.mktemp("soak")
    (folder / "model.safetensors").write_bytes(b"weights")

    def process(code=NODE, delay=0.0):
        settings = {"autostart": "true", "model": folder, "diagnostics_rate": "10.0"}
        parameters = [part for key, value in settings.items() for part in ("-p", f"{key}:={value}")]
        started.append(start_process(str(delay), *parameters, code=code))
        return started[-1]

    yield process
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope="class")
def quick(start):
    """A node that answers at once, and what feeds it."""
    feeder = Feeder()
    with spinning(feeder.camera.node):
        process = start()
        yield process, feeder
        feeder.stop()
        interrupt(process)


class Feeder:
    """A camera that sends a frame for each answer to it, and one every half second if none comes."""

    def __init__(self):
        self.camera, self.sent, self.answered = Camera("feeder"), 0, 0
        kind = topics()["panoptic"]
        self.camera.node.create_subscription(kind, "/perception/panoptic", self._answer, 10)
        self.timer = self.camera.node.create_timer(0.5, self.send)

    def send(self):
        if not self.timer.is_canceled():
            self.timer.reset()
        if self.camera.images.get_subscription_count() and self.camera.infos.get_subscription_count():
            self.camera.send()
            self.sent += 1

    def stop(self):
        """Send nothing more by itself; gives how many were sent so far."""
        self.timer.cancel()
        return self.sent

    def _answer(self, message):
        self.answered += 1
        if not self.timer.is_canceled():
            self.send()

    def more(self, count):
        """Wait until ``count`` more frames are answered."""
        goal = self.answered + count
        wait_for(lambda: self.answered >= goal, STARTING, self.camera.diagnostics())


class TestBadReaders:
    def test_readers_that_never_take_a_message_neither_stall_the_node_nor_make_it_grow(self, quick):
        process, feeder = quick
        idler = Node("idler")  # in no executor: what it gets is never taken
        deep = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
        for name, kind in topics().items():
            idler.create_subscription(kind, f"/perception/{name}", lambda message: None, deep)
        feeder.more(50)
        before = process_figures(process.pid)
        feeder.more(200)  # 15 MB of messages
        after = process_figures(process.pid)
        idler.destroy_node()
        assert after["threads"] <= before["threads"]
        assert after["files"] <= before["files"]
        assert after["resident"] < 1.02 * before["resident"]

    def test_a_reader_whose_process_stands_still_does_not_stall_the_node(self, quick, start):
        process, feeder = quick
        feeder.camera.collect(topics()["overlay"], "/perception/overlay")
        overlays = feeder.camera.received["/perception/overlay"]
        reader = start(code=FROZEN)
        wait_for(lambda: feeder.camera.node.count_subscribers("/perception/overlay") == 2, STARTING)
        wait_for(lambda: overlays, STARTING)
        feeder.more(20)
        os.kill(reader.pid, signal.SIGSTOP)
        before, had = process_figures(process.pid), len(overlays)
        feeder.more(200)
        after = process_figures(process.pid)
        reader.kill()
        assert len(overlays) > had + 100  # others get what it does not take
        assert after["threads"] <= before["threads"]
        assert after["resident"] < 1.05 * before["resident"]

    def test_best_effort_readers_of_every_topic_at_once(self, quick):
        _, feeder = quick
        reader = Camera("reader")
        lossy = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        names = {f"/perception/{name}": kind for name, kind in topics().items()}
        for name, kind in names.items():
            reader.collect(kind, name, lossy)
        with spinning(reader.node):
            wait_for(lambda: all(reader.received[name] for name in names), STARTING)
            counts = {name: len(reader.received[name]) for name in names}
            feeder.more(60)
            got = {name: len(reader.received[name]) - counts[name] for name in names}
        assert all(count >= 40 for count in got.values()), got


def test_of_five_times_too_many_frames_each_is_answered_or_counted_as_replaced(start):
    feeder, delay = Feeder(), 0.1
    with spinning(feeder.camera.node):
        process = start(delay=delay)
        feeder.more(3)
        already, answered = feeder.stop(), feeder.answered
        flood = feeder.camera.node.create_timer(delay / 5, feeder.send)
        wait_for(lambda: feeder.answered >= answered + 30, STARTING)
        flood.cancel()

        def settled():
            said = feeder.camera.diagnostics()
            counts = [int(said.get(key, 0)) for key in ("frames in", "frames out", "frames dropped")]
            return counts if counts[0] == counts[1] + counts[2] > already else None

        taken, out, dropped = wait_for(settled, STARTING)
        said = feeder.camera.diagnostics()
        interrupt(process)
    assert [key for key in said if key.startswith("dropped: ")] == ["dropped: replaced"]
    assert int(said["dropped: replaced"]) == dropped > out
    assert 0.5 * feeder.sent < taken <= feeder.sent


def test_a_node_that_has_ended_leaves_no_shared_memory(start):
    camera, others = Camera(), set(os.listdir(SHARED))
    with spinning(camera.node):
        process = start()
        wait_for(camera.images.get_subscription_count, STARTING)
        with open(f"/proc/{process.pid}/maps") as lines:
            mapped = {line.split()[-1] for line in lines if f" {SHARED}/fast" in line}
        # its segment alone: ports belong to those who listen as well
        own = {path for path in mapped if "_port" not in path and os.path.basename(path) not in others}
        assert own
        interrupt(process)
        assert [path for path in own if os.path.exists(path)] == []

"""A thousand malformed images over DDS to the running node, with sound ones between them: counted, and that is all."""

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import slow
import torch
from diagnostic_msgs.msg import DiagnosticArray
from hypothesis import given
from malformed_messages import PICTURES, compressed_image, compressed_images, many, raw_images
from node_helpers import CAMERA, image_of, interrupt, spinning, start_process, wait_for
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from dvps_ros import checkpoints
from dvps_ros.config import BackboneConfig, Config, InputConfig, MergeConfig, NetworkConfig
from dvps_ros.network import build
from dvps_ros.nodes.health import LOG_EVERY
from dvps_ros.nodes.messages import image_to_rgb, info_of

#: Seconds that anything may take on a busy machine.
PATIENCE = 120
#: Bytes by which the node may grow when the same messages come once more: the allocator keeps or gives back the buffers
#: of the largest picture, 33 MB, as it likes; seven passes in a row end within 0.1 MB of each other.
ROOM = 48 << 20
SOUND = np.random.default_rng(1).integers(0, 256, (CAMERA.height, CAMERA.width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a tiny network of random weights."""
    backbone = BackboneConfig(block="basic", depths=(1, 1, 1, 1), stem=16, widths=(16, 32, 32, 32))
    network = NetworkConfig(
        backbone=backbone, width=32, heads=4, encoder_layers=1, queries=8, decoder_layers=2, feedforward=32
    )
    # every query is kept: a random network is sure of nothing
    merge = MergeConfig(score_threshold=0.0, mask_threshold=0.0, overlap_threshold=0.0)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    checkpoints.save(
        build(network), folder, replace(Config(), network=network, merge=merge, input=InputConfig(32 * 64))
    )
    return folder


def drawn(strategy, count):
    """Messages of a strategy, the same ones every time, as they are after the wire, without what it refuses."""
    messages = []

    @many(count)
    @given(strategy)
    def draw(message):
        messages.append(deserialize_message(serialize_message(message), type(message)))

    draw()
    return messages


def is_refused(message):
    try:
        image_to_rgb(message, None, 1 << 25)
    except ValueError:
        return True
    return False


class Sender:
    """Publishes images one at a time: the next one goes out when the node has counted the last one's end."""

    def __init__(self, kind):
        self.node = Node("careless_camera")
        self.images = self.node.create_publisher(kind, "image", QoSProfile(depth=5))
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.infos = self.node.create_publisher(CameraInfo, "camera_info", latched)
        self.counts, self.answers = {}, {"semantic": {}, "depth": {}}
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnostics, 10)
        for topic, answers in self.answers.items():
            self.node.create_subscription(
                Image,
                f"/perception/{topic}",
                lambda message, answers=answers: answers.update({_stamp(message): message.data.tobytes()}),
                10,
            )

    def _diagnostics(self, message):
        for status in message.status:
            self.counts = {v.key: int(v.value) for v in status.values if v.value.isdecimal()}

    def done(self, sent):
        """Whether the node has seen so many images, and each of them has had an end."""
        return self.counts.get("frames in") == sent == self.counts["frames out"] + self.counts["frames dropped"]

    def send(self, message):
        """Publish an image, give its stamp, and its answers once it is counted."""
        message.header.stamp = self.node.get_clock().now().to_msg()
        sent = self.counts.get("frames in", 0) + 1
        self.images.publish(message)
        quickly(lambda: self.done(sent))
        return _stamp(message)

    def begin(self, message, info):
        """Publish a sound image until the node answers: DDS may lose the first ones. Then wait until it is idle."""

        def answered():
            self.infos.publish(info)
            message.header.stamp = self.node.get_clock().now().to_msg()
            self.images.publish(message)
            time.sleep(0.5)
            return all(self.answers.values())

        wait_for(answered, PATIENCE, "an answer to the first image")
        time.sleep(0.5)
        wait_for(lambda: self.done(self.counts["frames in"]), PATIENCE, "the end of the first images")

    def answer(self, message):
        """The labels and the depth with which the node answers."""
        stamp = self.send(message)
        return tuple(quickly(lambda answers=answers: answers.pop(stamp, None)) for answers in self.answers.values())


def _stamp(message):
    return message.header.stamp.sec, message.header.stamp.nanosec


def quickly(condition):
    """``wait_for`` with a shorter breath: it is called a thousand times."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, "the node did not count or answer an image"
        time.sleep(0.001)
    return value


def own_memory(process):
    """Bytes of memory that a process holds for itself: without files and DDS' shared memory, which fills as a ring."""
    resident, shared = map(int, Path(f"/proc/{process.pid}/statm").read_text().split()[1:3])
    print(f"resident {resident * 4096 / 1e6:.1f} MB, of it shared {shared * 4096 / 1e6:.1f}")
    return (resident - shared) * 4096


@pytest.mark.slow
@pytest.mark.parametrize(
    ("transport", "kind", "strategy", "count", "malformed", "sound"),
    [
        ("raw", Image, raw_images, slow.of(920, 240), slow.of(740, 190), image_of(SOUND)),
        (
            *("compressed", CompressedImage, compressed_images, slow.of(400, 120), slow.of(260, 70)),
            compressed_image("png", PICTURES[3]),
        ),
    ],
)
def test_the_node_outlives_malformed_images(model, transport, kind, strategy, count, malformed, sound):
    messages = drawn(strategy, count)
    refused = sum(map(is_refused, messages))
    assert refused >= malformed
    settings = {
        "model": model,
        "device": "cpu",
        "autostart": True,
        "input_transport": transport,
        "camera_info_mode": "latest",
        "reliability": "reliable",
        "diagnostics_rate": 100.0,
    }
    arguments = [f"{name}:={str(value).lower() if value is True else value}" for name, value in settings.items()]
    process = start_process(
        *("--ros-args", *(word for argument in arguments for word in ("-p", argument))),
        code="from dvps_ros.nodes.perception_node import main; main()",
    )
    sender = Sender(kind)
    try:
        with spinning(sender.node):
            wait_for(sender.images.get_subscription_count, PATIENCE)
            height, width = image_to_rgb(sound, None, 1 << 25).shape[:2]
            sender.begin(sound, info_of(CAMERA.resized(width, height)))
            right, began, before = sender.answer(sound), time.monotonic(), Counter(sender.counts)
            for number, message in enumerate((*messages, *messages)):
                sender.send(message)
                if number % 40 == 39:
                    assert sender.answer(sound) == right
                if number == count - 1:
                    memory = own_memory(process)
            assert sender.answer(sound) == right
            seconds, growth = time.monotonic() - began, own_memory(process) - memory
            counted = Counter(sender.counts) - before
            output = interrupt(process)
    finally:
        process.kill()
        process.wait()
    warnings = [line for line in output.splitlines() if "[WARN]" in line]
    print(
        f"twice {count} messages, {refused} refused, {seconds:.1f} s, {growth / 1e6:.1f} MB, {len(warnings)} warnings"
    )
    between = 2 * count // 40 + 1  # sound ones
    assert counted["frames in"] == 2 * count + between
    assert counted["dropped: malformed image"] == counted["frames dropped"] == 2 * refused
    assert counted["frames out"] == 2 * (count - refused) + between
    assert growth < ROOM
    for words in ("image dropped", "no depth in metres"):
        assert 1 <= sum(words in line for line in warnings) <= 2 + seconds / LOG_EVERY

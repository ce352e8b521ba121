"""A perception node under test with a camera beside it that also calls its services, and the tiniest real model."""

import time
from contextlib import contextmanager

import torch
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from node_helpers import Camera, QuickPerceiver, spinning, wait_for
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from dvps_ros.checkpoints import save
from dvps_ros.config import BackboneConfig, Config, InputConfig, NetworkConfig
from dvps_ros.network import build
from dvps_ros.nodes.perception_node import PerceptionNode

torch.set_num_threads(1)  # small tensors gain nothing from more, and lose much where others want the cores

TOPICS = {
    "panoptic": Image,
    "semantic": Image,
    "instance": Image,
    "confidence": Image,
    "depth": Image,
    "depth/camera_info": CameraInfo,
    "camera_info": CameraInfo,
    "points": PointCloud2,
    "obstacles": PointCloud2,
    "ground": PointCloud2,
    "instances": PointCloud2,
    "overlay": Image,
}
#: Of the frames of an uncalibrated camera.
RELATIVE = {"depth/relative": Image}


class Bench:
    """A perception node and a camera.

    Parameters
    ----------
    load : makes the perceiver, as for ``PerceptionNode``.
    settings : parameters of the node.
    remappings : rules for its topics, "from:=to".
    """

    def __init__(self, load, settings, remappings=()):
        values = {"camera_info_timeout": 0.3, "diagnostics_rate": 20.0, "device": "cpu", **settings}
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        arguments = ["--ros-args", *(part for rule in remappings for part in ("-r", rule))]
        self.node = PerceptionNode(load, parameter_overrides=overrides, cli_args=arguments)
        self.camera = Camera()
        self.clients = {}

    @property
    def perceiver(self):
        return self.node._perceiver

    def got(self, topic):
        return self.camera.received[f"/perception/{topic}"]

    def collect(self, *topics):
        for topic in topics:
            self.camera.collect({**TOPICS, **RELATIVE}[topic], f"/perception/{topic}")
        if topics and self.node.state == "active":
            wait_for(lambda: self.node._outputs.wanted() >= set(topics))

    def call(self, kind, name, **request):
        client = self.clients.setdefault(name, self.camera.node.create_client(kind, f"/perception/{name}"))
        assert client.wait_for_service(10)
        future = client.call_async(kind.Request(**request))
        wait_for(future.done)
        return future.result()

    def change(self, transition, label=""):
        return self.call(ChangeState, "change_state", transition=Transition(id=transition, label=label)).success

    def set(self, name, value):
        """Set a parameter as ``ros2 param set`` does; gives the answer."""
        message = Parameter(name, value=value).to_parameter_msg()
        return self.call(SetParameters, "set_parameters", parameters=[message]).results[0]

    def state(self):
        return self.call(GetState, "get_state").current_state.label

    def start(self, *topics):
        """Configure and activate, and wait until camera and node have found each other."""
        assert self.change(Transition.TRANSITION_CONFIGURE)
        assert self.change(Transition.TRANSITION_ACTIVATE)
        counts = self.camera.images.get_subscription_count, self.camera.infos.get_subscription_count
        wait_for(lambda: all(count() for count in counts) and self.node._outputs.wanted() >= set(topics))

    def send_until(self, condition, **arguments):
        """Publish frames until the condition holds; gives its value."""

        def attempt():
            self.camera.send(**arguments)
            time.sleep(0.03)
            return condition()

        return wait_for(attempt, what=self.camera.diagnostics())

    def counted(self, key):
        return int(self.camera.diagnostics().get(key, 0))

    def says(self, words, whole=False):
        """Wait until the message of diagnostics holds ``words``, or is them; gives it."""

        def said():
            message = self.camera.diagnostics().get("message", "")
            return message if message == words or (words in message and not whole) else ""

        try:
            return wait_for(said)
        except AssertionError:
            raise AssertionError(f"not said: {words!r}, but {self.camera.diagnostics()}") from None

    def settle(self, topic):
        """Wait until no frame is on its way any more: until one that was sent after all others is answered."""

        def attempt():
            stamp = self.camera.send()
            end = time.monotonic() + 2.0
            while time.monotonic() < end and not self.answered(topic, stamp):
                time.sleep(0.01)
            return self.answered(topic, stamp)

        wait_for(attempt)

    def answered(self, topic, stamp):
        """Whether a message of a topic has a stamp."""
        return any(message.header.stamp == stamp for message in self.got(topic))


@contextmanager
def started(load, *topics, active=True, remappings=(), **settings):
    """A spinning bench whose camera reads ``topics``, active where not told otherwise."""
    bench = Bench(load, settings, remappings)
    with spinning(bench.node), spinning(bench.camera.node):
        bench.collect(*topics)
        if active:
            bench.start(*topics)
        yield bench


def stand_in(folder, perceiver=None):
    """A model folder's path for ``model``, and a loader that gives the stand-in perceiver whatever is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    made = perceiver or QuickPerceiver()
    return str(folder), lambda *_: made


def save_tiny_model(folder):
    """Save the smallest network that has every part, with random weights; a step takes milliseconds."""
    torch.manual_seed(0)
    backbone = BackboneConfig(depths=(1, 1, 1, 1), stem=8, widths=(8, 8, 16, 16))
    config = NetworkConfig(
        backbone=backbone,
        width=32,
        heads=2,
        encoder_layers=1,
        encoder_feedforward=16,
        queries=4,
        decoder_layers=1,
        feedforward=16,
    )
    save(build(config), folder, Config(input=InputConfig(32 * 64)))
    return folder

"""The perception node with two networks of transformers, and with what is no such network."""

import json
from contextlib import contextmanager

import numpy as np
from node_helpers import HEIGHT, WIDTH, Camera, spinning, wait_for
from pair_models import MAX_DEPTH, save_depth, save_segmentation
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import String

from dvps_ros.labels import CITYSCAPES
from dvps_ros.nodes.perception_node import PerceptionNode

TOPICS = {"panoptic": Image, "depth": Image, "points": PointCloud2}


@contextmanager
def configured(**settings):
    """The node after configuring it, its camera, and what came of it."""
    values = {"model": "pair", "device": "cpu", "diagnostics_rate": 20.0, **settings}
    node = PerceptionNode(parameter_overrides=[Parameter(name, value=value) for name, value in values.items()])
    camera = Camera()
    result = node.trigger_configure()
    with spinning(node), spinning(camera.node):
        yield node, camera, result


def test_from_images_to_clouds(tmp_path):
    save_segmentation(tmp_path / "segmentation")
    save_depth(tmp_path / "depth")
    networks = {name: str(tmp_path / name) for name in ("segmentation", "depth")}
    with configured(**networks) as (node, camera, result):
        assert result == TransitionCallbackReturn.SUCCESS
        for topic, kind in TOPICS.items():
            camera.collect(kind, f"/perception/{topic}")
        camera.collect(String, "/perception/labels", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS

        def all_there():
            camera.send()
            return all(camera.received[f"/perception/{topic}"] for topic in TOPICS)

        wait_for(all_there, what=camera.diagnostics())
        panoptic, depth, points = (camera.received[f"/perception/{topic}"][-1] for topic in TOPICS)
        assert (panoptic.width, panoptic.height, panoptic.encoding) == (WIDTH, HEIGHT, "32SC1")
        classes = np.frombuffer(panoptic.data, "<i4") // 1000
        assert set(classes) <= {*range(len(CITYSCAPES)), 255}
        metres = np.frombuffer(depth.data, "<f4")
        assert ((metres > 0) & (metres < MAX_DEPTH) | (classes == CITYSCAPES.index("sky"))).all()
        assert points.width <= WIDTH * HEIGHT
        told = json.loads(wait_for(lambda: camera.received["/perception/labels"])[-1].data)
        assert told["classes"][0]["name"] == "road"
        facts = wait_for(lambda: (said := camera.diagnostics()).get("model sha256") and said)
        assert facts["model"] == f"pair + {networks['segmentation']} + {networks['depth']}"
        assert len(facts["model sha256"]) == 64


def test_a_wrong_network_is_one_line_and_the_node_lives(tmp_path):
    save_segmentation(tmp_path / "segmentation")
    with configured(segmentation=str(tmp_path / "segmentation"), depth=str(tmp_path / "none")) as (_, camera, result):
        assert result == TransitionCallbackReturn.FAILURE
        message = wait_for(lambda: camera.diagnostics().get("message"))
        assert message == f"configuring failed: depth: no such folder: {tmp_path / 'none'}"

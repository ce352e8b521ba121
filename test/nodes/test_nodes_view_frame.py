"""The frame for viewers: upright, below the frame of the images, said once for each of these."""

from types import SimpleNamespace

import numpy as np
import pytest
from std_msgs.msg import Header

from dvps_ros.nodes import view_frame
from dvps_ros.nodes.transforms import rotation
from dvps_ros.nodes.view_frame import ViewFrame


class Node:
    """Notes what is published, as a lifecycle node's publisher sends it."""

    def __init__(self):
        self.sent, self.publishers = [], []

    def create_lifecycle_publisher(self, kind, topic, qos):
        self.publishers.append(SimpleNamespace(topic=topic, qos=qos, publish=self.sent.append))
        return self.publishers[-1]

    def destroy_lifecycle_publisher(self, publisher):
        self.publishers.remove(publisher)


@pytest.fixture
def node(monkeypatch):
    # tf2_msgs has no wheel
    monkeypatch.setattr(view_frame, "TFMessage", lambda transforms: transforms)
    return Node()


def test_it_is_upright_and_follows_the_frame_of_the_images(node):
    view = ViewFrame(node, "view")
    [publisher] = node.publishers
    assert publisher.topic == "/tf_static"
    assert publisher.qos.durability.name == "TRANSIENT_LOCAL"
    for frame in ("front", "front", "rear", "rear"):
        view.show(Header(frame_id=frame))
    assert [(sent[0].header.frame_id, sent[0].child_frame_id) for sent in node.sent] == [
        ("front", "view"),
        ("rear", "view"),
    ]
    turn = node.sent[0][0].transform.rotation
    upright = rotation(turn.x, turn.y, turn.z, turn.w)  # from the view's axes to the optical frame's
    np.testing.assert_allclose(upright @ (1, 0, 0), (0, 0, 1), atol=1e-12)  # ahead
    np.testing.assert_allclose(upright @ (0, 0, 1), (0, -1, 0), atol=1e-12)  # up
    view.destroy()
    assert node.publishers == []


def test_without_a_name_or_without_tf2_msgs_nothing_is_published(node, monkeypatch):
    ViewFrame(node, "").show(Header(frame_id="front"))
    monkeypatch.setattr(view_frame, "TFMessage", None)
    ViewFrame(node, "view").show(Header(frame_id="front"))
    assert (node.publishers, node.sent) == ([], [])

"""The simulated camera: what its messages say of rig, lens and depth."""

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from node_helpers import spinning, wait_for
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image

from dvps_ros.config import SimCameraConfig
from dvps_ros.nodes import transforms
from dvps_ros.nodes.sim_camera_node import SimCameraNode

SETTINGS = {
    "width": 96, "height": 64, "rate": 5.0, "distortion_model": "equidistant",
    "distortion": [0.02, -0.01, 0.0, 0.0], "min_focal": 0.36, "max_focal": 0.36, "min_height": 0.8, "max_height": 0.8,
    "lane": 0.0, "pavement": 1.0, "max_roll": 4.0,
}  # fmt: skip


def node_with(**settings):
    return SimCameraNode(parameter_overrides=[Parameter(name, value=value) for name, value in settings.items()])


def test_a_distorting_camera_on_the_pavement():
    node, received = node_with(**SETTINGS), {}
    topics = {"camera_info": CameraInfo, "sim_camera/pose": PoseStamped}
    topics |= dict.fromkeys(("image", "sim_camera/depth", "sim_camera/panoptic"), Image)
    for name, kind in topics.items():
        node.create_subscription(kind, name, lambda message, name=name: received.setdefault(name, message), 1)
    with spinning(node):
        wait_for(lambda: len(received) == len(topics), 60)
    node.destroy_node()
    info = received["camera_info"]
    assert (info.distortion_model, list(info.d)) == ("equidistant", SETTINGS["distortion"])
    assert info.k[0] == pytest.approx(0.36 * 96)
    depth = np.frombuffer(received["sim_camera/depth"].data, np.float32).reshape(64, 96)
    panoptic = np.frombuffer(received["sim_camera/panoptic"].data, np.int32).reshape(64, 96)
    # REP 117 and 118: +Inf in the sky and beyond range, NaN in the corners, which the lens does not show; never 0
    assert np.isnan(depth[0, 0])
    assert np.isposinf(depth[panoptic == 10000]).all()
    assert (panoptic == 10000).any()
    assert (panoptic[np.isnan(depth)] == 255000).all()
    finite = depth[np.isfinite(depth)]
    assert finite.size > 1000
    assert 0.2 < finite.min() < finite.max() <= 80.0
    pose = received["sim_camera/pose"]
    assert pose.header.frame_id == f"street_{SimCameraConfig().seed}"
    assert 0.8 < pose.pose.position.z < 1.0  # on the pavement, a kerb above the road
    q = pose.pose.orientation
    matrix = transforms.rotation(q.x, q.y, q.z, q.w)
    assert matrix[2, 1] < -0.9  # down in the picture is down in the street


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"min_height": 3.0}, "min_height is 3.0, must not exceed max_height"),
        ({"lane": 0.0}, "lane, cycle_lane and pavement are all 0"),
        (
            {"distortion_model": "plumb_bob", "distortion": [0.1]},
            "1 coefficients, plumb_bob takes 4 or 5",
        ),
    ],
)
def test_rig_parameters_that_contradict_each_other_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        node_with(**settings)

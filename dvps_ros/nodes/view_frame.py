"""A frame for viewers, at the camera with x ahead and z up: RViz shows z upwards, where an optical frame has y down."""

from __future__ import annotations

from geometry_msgs.msg import Quaternion, Transform, TransformStamped
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header

try:
    from tf2_msgs.msg import TFMessage
except ImportError:  # not among the ROS wheels; there is no RViz without it
    TFMessage = None

#: From an optical frame (x right, y down, z ahead; REP 103) to one with x ahead, y left, z up.
UPRIGHT = Quaternion(x=0.5, y=-0.5, z=0.5, w=0.5)


class ViewFrame:
    """Publishes a static transform from the frame of the images to a frame of another name.

    It adds a leaf to the tree of frames, so it contradicts no transform of the robot.

    Parameters
    ----------
    node : publishes on ``/tf_static`` while it is active.
    name : of the frame; empty: nothing is published.
    """

    def __init__(self, node: LifecycleNode, name: str) -> None:
        self._node, self._name, self._shown = node, name, ""
        self._publisher = None
        if name and TFMessage is not None:
            latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
            self._publisher = node.create_lifecycle_publisher(TFMessage, "/tf_static", latched)

    def show(self, header: Header) -> None:
        """Publish the transform from the frame of an image, where it is not the frame of the image before."""
        if self._publisher is None or header.frame_id == self._shown:
            return
        self._shown = header.frame_id
        leaf = TransformStamped(header=header, child_frame_id=self._name, transform=Transform(rotation=UPRIGHT))
        self._publisher.publish(TFMessage(transforms=[leaf]))

    def destroy(self) -> None:
        """Take back the publisher."""
        if self._publisher is not None:
            self._node.destroy_lifecycle_publisher(self._publisher)
            self._publisher = None

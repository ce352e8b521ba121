"""Transforms between frames, from tf2_ros if it is installed."""

from __future__ import annotations

import numpy as np
from rclpy.node import Node
from rclpy.time import Time

from dvps_ros.errors import joined

try:
    from tf2_ros import Buffer, TransformException, TransformListener
except ImportError:  # not on PyPI
    Buffer = None


class Transforms:
    """The newest transforms; without tf2_ros there are none, and ``problem`` says so.

    Parameters
    ----------
    node : subscribes to /tf and /tf_static.

    Attributes
    ----------
    problem : why the last look-up failed; empty if it succeeded.
    """

    def __init__(self, node: Node) -> None:
        self.problem = ""
        self._buffer = None if Buffer is None else Buffer()
        self._listener = None if Buffer is None else TransformListener(self._buffer, node)

    def latest(self, target: str, source: str) -> np.ndarray | None:
        """The pose of frame ``source`` in frame ``target``, (4, 4) float64; None where it is not known."""
        self.problem = ""
        if self._buffer is None:
            self.problem = f"no transform from {source!r} to {target!r}: tf2_ros is not installed"
            return None
        try:
            found = self._buffer.lookup_transform(target, source, Time()).transform
        except TransformException as error:
            self.problem = f"no transform from {source!r} to {target!r}: {joined(error)}"
            return None
        pose = np.eye(4)
        pose[:3, :3] = rotation(found.rotation.x, found.rotation.y, found.rotation.z, found.rotation.w)
        pose[:3, 3] = found.translation.x, found.translation.y, found.translation.z
        return pose

    def destroy(self) -> None:
        """End the subscriptions to transforms."""
        if self._listener is not None:
            self._listener.unregister()


def rotation(x: float, y: float, z: float, w: float) -> np.ndarray:
    """The rotation matrix (3, 3) of a quaternion of any length but 0."""
    x, y, z, w = np.array((x, y, z, w)) / np.linalg.norm((x, y, z, w))
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )

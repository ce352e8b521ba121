"""Transforms between frames, from tf2_ros if it is installed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time

from dvps_ros.errors import joined
from dvps_ros.nodes.messages import nanoseconds

try:
    from tf2_ros import Buffer, TransformException, TransformListener
except ImportError:  # not on PyPI
    Buffer = None


#: Transforms are received if the newest is at most this many nanoseconds older than the image.
_FLOWING = 1_000_000_000


class Transforms:
    """Transforms that were received; without tf2_ros there are none, and ``problem`` says so.

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
        return _pose(self._lookup(target, source, Time(), Duration()))

    def at(self, target: str, source: str, stamp: int, timeout: float = 0.0) -> np.ndarray | None:
        """As ``latest``, but at ``stamp`` (nanoseconds): (4, 4) float64; None where it is not known.

        It waits at most ``timeout`` seconds for a transform that comes late, if the newest one is not a second old.
        """
        time = Time(nanoseconds=stamp)
        found, problem = self._lookup(target, source, time, Duration()), self.problem
        if found is None and timeout > 0:
            newest = self._lookup(target, source, Time(), Duration())
            late = math.inf if newest is None else stamp - nanoseconds(newest.header.stamp)
            if 0 <= late < _FLOWING:
                found = self._lookup(target, source, time, Duration(seconds=timeout))
            elif newest is not None:
                old = f"the newest transform from {source!r} to {target!r} is over a second old"
                self.problem = old if late > 0 else problem
        return _pose(found)

    def forget(self) -> None:
        """Forget the transforms of the time before a jump back: they would count as the newest, and refuse later ones.

        Static transforms stay.
        """
        if self._buffer is not None:
            self._buffer.clear()

    def _lookup(self, target: str, source: str, time: Time, timeout: Duration) -> Any:
        """The ``TransformStamped``; None where it is not known."""
        self.problem = ""
        if self._buffer is None:
            self.problem = f"no transform from {source!r} to {target!r}: tf2_ros is not installed"
            return None
        try:
            return self._buffer.lookup_transform(target, source, time, timeout)
        except TransformException as error:
            self.problem = f"no transform from {source!r} to {target!r}: {joined(error)}"
            return None

    def destroy(self) -> None:
        """End the subscriptions to transforms."""
        if self._listener is not None:
            self._listener.unregister()


def _pose(found: Any) -> np.ndarray | None:
    """(4, 4) of a ``TransformStamped``; None of None."""
    if found is None:
        return None
    turn, shift = found.transform.rotation, found.transform.translation
    pose = np.eye(4)
    pose[:3, :3] = rotation(turn.x, turn.y, turn.z, turn.w)
    pose[:3, 3] = shift.x, shift.y, shift.z
    return pose


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

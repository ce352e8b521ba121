"""The TF tree of the demo: a base frame on the ground, and the camera's optical frame above it.

The ROS wheels lack tf2_msgs, whose only message is a sequence of geometry_msgs/TransformStamped.
"""

from __future__ import annotations

import struct

from geometry_msgs.msg import TransformStamped

from dvps_ros.demo.recording import Recording, definition
from dvps_ros.launch_arguments import BASE_FRAME, CAMERA_HEIGHT

#: Rotation from the base to an optical frame (x right, y down, z forward), as a quaternion x, y, z, w.
_OPTICAL = (-0.5, 0.5, -0.5, 0.5)
_TF_MESSAGE = "tf2_msgs/msg/TFMessage"


def record_camera_frame(recording: Recording, optical_frame: str, time: int) -> None:
    """Write the pose of the level camera to ``/tf_static``; ``time`` is in ns."""
    data = _tf_message(BASE_FRAME, optical_frame, (0.0, 0.0, CAMERA_HEIGHT), _OPTICAL, time)
    recording.write_as("/tf_static", _TF_MESSAGE, _tf_definition, data, time, latched=True)


def _tf_definition() -> str:
    name, line = "geometry_msgs/TransformStamped", "=" * 80
    return f"{name}[] transforms\n{line}\nMSG: {name}\n{definition(TransformStamped)}"


def _tf_message(parent: str, child: str, place: tuple[float, ...], turn: tuple[float, ...], time: int) -> bytes:
    """A TFMessage with one transform in little-endian CDR: strings end in a zero byte, doubles have alignment 8."""
    seconds, nanoseconds = divmod(time, 1_000_000_000)
    body = struct.pack("<IiI", 1, seconds, nanoseconds)
    for name in (parent, child):
        text = name.encode() + b"\0"
        body += bytes(-len(body) % 4) + struct.pack("<I", len(text)) + text
    body += bytes(-len(body) % 8) + struct.pack("<7d", *place, *turn)
    return b"\0\1\0\0" + body

"""Recordings for rosbag2 and Foxglove: MCAP with profile ``ros2``, CDR messages and ros2msg schemas.

The schemas are generated from the message classes, so that any installed type can be recorded, also with wheels without
.msg files. Format: the MCAP specification and the entries ``ros2``, ``cdr`` and ``ros2msg`` of its registry.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcap.well_known import MessageEncoding, Profile, SchemaEncoding
from mcap.writer import Writer

#: QoS with which rosbag2 plays a channel, in the numbers of rmw, which every version of rosbag2 supports.
_QOS = """- history: 1
  depth: {depth}
  reliability: 1
  durability: {durability}
  deadline: {{sec: 9223372036, nsec: 854775807}}
  lifespan: {{sec: 9223372036, nsec: 854775807}}
  liveliness: 1
  liveliness_lease_duration: {{sec: 9223372036, nsec: 854775807}}
  avoid_ros_namespace_conventions: false
"""
_IDL_TO_MSG = {"boolean": "bool", "octet": "byte", "float": "float32", "double": "float64"}
_SEQUENCE = re.compile(r"sequence<(?P<item>.+?)(?:, (?P<bound>\d+))?>")
_ARRAY = re.compile(r"(?P<item>.+)\[(?P<size>\d+)\]")
_BOUNDED_STRING = re.compile(r"(?P<kind>w?string)<(?P<bound>\d+)>")


class Recording:
    """An open recording and context manager; the file can be read only after it is closed.

    Parameters
    ----------
    path : the .mcap file. Its folder is created, and an older file is replaced.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._writer = Writer(self._file)
        self._writer.start(profile=Profile.ROS2, library="dvps_ros")
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self.messages = 0

    def write(self, topic: str, message_class: type, data: bytes, time: int, latched: bool = False) -> None:
        """Append a message at ``time`` in ns; ``data`` are its CDR bytes, as received or from ``serialize_message``.

        If the first message of a topic is ``latched``, the topic is played with durability transient local.
        """
        self.write_as(topic, type_name(message_class), lambda: definition(message_class), data, time, latched)

    def write_as(
        self, topic: str, name: str, text: Callable[[], str], data: bytes, time: int, latched: bool = False
    ) -> None:
        """Append a message of a type given by its full ``name`` and .msg ``text``; otherwise as ``write``."""
        if topic not in self._channels:
            qos = _QOS.format(depth=1 if latched else 10, durability=1 if latched else 2)
            self._channels[topic] = self._writer.register_channel(
                topic, MessageEncoding.CDR, self._schema(name, text), {"offered_qos_profiles": qos}
            )
        self._writer.add_message(self._channels[topic], log_time=time, publish_time=time, data=data)
        self.messages += 1

    def close(self) -> None:
        """Write the index and close the file. Further calls have no effect."""
        if not self._file.closed:
            self._writer.finish()
            self._file.close()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _schema(self, name: str, text: Callable[[], str]) -> int:
        if name not in self._schemas:
            self._schemas[name] = self._writer.register_schema(name, SchemaEncoding.ROS2, text().encode())
        return self._schemas[name]


def type_name(message_class: type) -> str:
    """Full name of a message class, such as ``sensor_msgs/msg/Image``."""
    return f"{message_class.__module__.partition('.')[0]}/msg/{message_class.__name__}"


def definition(message_class: type) -> str:
    """The .msg text of a message class, followed by those of all nested types, in the form of ``ros2msg``."""
    texts: dict[str, str] = {}
    _collect(message_class, texts)
    first, *inner = texts.items()
    return "".join([first[1], *(f"{'=' * 80}\nMSG: {name}\n{text}" for name, text in inner)])


def _collect(message_class: type, texts: dict[str, str]) -> None:
    name = type_name(message_class).replace("/msg/", "/")
    if name in texts:
        return
    generated: Any = message_class
    declared = generated.get_fields_and_field_types()
    texts[name] = "".join(f"{_msg_type(idl)} {field}\n" for field, idl in declared.items())
    for idl in declared.values():
        package, slash, inner = _item(idl).partition("/")
        if slash:
            _collect(getattr(importlib.import_module(f"{package}.msg"), inner), texts)


def _item(idl: str) -> str:
    """The element type of a sequence or array; any other type unchanged."""
    match = _SEQUENCE.fullmatch(idl) or _ARRAY.fullmatch(idl)
    return match["item"] if match else idl


def _msg_type(idl: str) -> str:
    """An IDL field type of rclpy's message classes in .msg notation."""
    if match := _SEQUENCE.fullmatch(idl):
        bound = f"<={match['bound']}" if match["bound"] else ""
        return f"{_msg_type(match['item'])}[{bound}]"
    if match := _ARRAY.fullmatch(idl):
        return f"{_msg_type(match['item'])}[{match['size']}]"
    if match := _BOUNDED_STRING.fullmatch(idl):
        return f"{match['kind']}<={match['bound']}"
    return _IDL_TO_MSG.get(idl, idl)

"""Recordings as rosbag2 and Foxglove read them: MCAP, profile ``ros2``, CDR messages, ros2msg schemas.

The schemas are made from the message classes themselves, so that any installed type can be recorded, also with wheels
that ship no .msg files. Format: the MCAP specification and its registry's entries ``ros2``, ``cdr`` and ``ros2msg``.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcap.well_known import MessageEncoding, Profile, SchemaEncoding
from mcap.writer import Writer

#: What rosbag2 plays a channel with: its publisher's QoS, in the numbers of rmw that every version of rosbag2 reads.
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
    """An open recording; a context manager, readable only once closed.

    Parameters
    ----------
    path : the .mcap file; its folder is made, an older file replaced.
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
        """Append a message at ``time`` in ns: its CDR bytes, as received or as ``serialize_message`` gives them.

        ``latched``, of the topic's first message, has the topic played with durability transient local.
        """
        self.write_as(topic, type_name(message_class), lambda: definition(message_class), data, time, latched)

    def write_as(
        self, topic: str, name: str, text: Callable[[], str], data: bytes, time: int, latched: bool = False
    ) -> None:
        """``write`` for a type that is known by its full ``name`` and its .msg ``text`` alone."""
        if topic not in self._channels:
            qos = _QOS.format(depth=1 if latched else 10, durability=1 if latched else 2)
            self._channels[topic] = self._writer.register_channel(
                topic, MessageEncoding.CDR, self._schema(name, text), {"offered_qos_profiles": qos}
            )
        self._writer.add_message(self._channels[topic], log_time=time, publish_time=time, data=data)
        self.messages += 1

    def close(self) -> None:
        """Write the index and close the file; doing it twice is no fault."""
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
    """The .msg text of a message class, followed by those of every type inside it, as ``ros2msg`` has them."""
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
    """The element type of a sequence or array, any other type as it is."""
    match = _SEQUENCE.fullmatch(idl) or _ARRAY.fullmatch(idl)
    return match["item"] if match else idl


def _msg_type(idl: str) -> str:
    """An IDL field type, as rclpy's message classes state it, in .msg notation."""
    if match := _SEQUENCE.fullmatch(idl):
        bound = f"<={match['bound']}" if match["bound"] else ""
        return f"{_msg_type(match['item'])}[{bound}]"
    if match := _ARRAY.fullmatch(idl):
        return f"{_msg_type(match['item'])}[{match['size']}]"
    if match := _BOUNDED_STRING.fullmatch(idl):
        return f"{match['kind']}<={match['bound']}"
    return _IDL_TO_MSG.get(idl, idl)

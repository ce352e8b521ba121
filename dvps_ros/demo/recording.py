"""Recordings as rosbag2 and Foxglove read them: MCAP, profile ``ros2``, CDR messages, ros2msg schemas.

The schemas are made from the message classes themselves, so that any installed type can be recorded, also with wheels
that ship no .msg files. Format: the MCAP specification and its registry's entries ``ros2``, ``cdr`` and ``ros2msg``.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from mcap.well_known import MessageEncoding, Profile, SchemaEncoding
from mcap.writer import Writer

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

    def write(self, topic: str, message_class: type, data: bytes, time: int) -> None:
        """Append a message at ``time`` in ns: its CDR bytes, as received or as ``serialize_message`` gives them."""
        if topic not in self._channels:
            self._channels[topic] = self._writer.register_channel(
                topic, MessageEncoding.CDR, self._schema(message_class)
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

    def _schema(self, message_class: type) -> int:
        name = type_name(message_class)
        if name not in self._schemas:
            text = definition(message_class).encode()
            self._schemas[name] = self._writer.register_schema(name, SchemaEncoding.ROS2, text)
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

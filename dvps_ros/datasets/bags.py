"""Recordings as files: ROS 2 bags (MCAP, SQLite, split, compressed) and ROS 1 bags, read by rosbags without any ROS.

A bag gives the messages of a topic in the order of their recording. Any error that a reader raises on a damaged file
becomes a ``ValueError`` of one line with the fault and its remedy.
"""

from __future__ import annotations

import logging
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dvps_ros.errors import joined

#: Suffixes of the files of recordings.
SUFFIXES = (".mcap", ".db3", ".bag")
_ZSTD = b"\x28\xb5\x2f\xfd"


class Bag:
    """An open recording.

    Attributes
    ----------
    path : its file or folder.
    types : message type of each topic that has messages, e.g. ``sensor_msgs/msg/Image``.
    """

    def __init__(self, path: Path, reader: Any) -> None:
        self.path = path
        self._reader = reader
        self.types: dict[str, str] = {name: info.msgtype for name, info in reader.topics.items() if info.msgcount}

    def serialized(self, topic: str) -> Iterator[tuple[int, bytes]]:
        """Time of recording (ns) and bytes of each message.

        Raises ``ValueError`` when the file holds fewer messages than its index states.
        """
        connections = [connection for connection in self._reader.connections if connection.topic == topic]
        rows = self._reader.messages(connections)
        stated, count = sum(connection.msgcount for connection in connections), 0
        while True:
            with _errors_in_one_line(self.path):
                row = next(rows, None)
                if row is None:
                    if count < stated:
                        raise ValueError(f"{count} of {stated} messages on {topic}")
                    return
                count += 1
                _, recorded, data = row
                if data.startswith(_ZSTD):  # compression_mode: message, in a bag whose metadata.yaml is missing
                    data = _decompressed(data)
            yield recorded, data

    def message(self, topic: str, data: bytes) -> Any:
        """The deserialized message; fields of ROS 1 messages get the names they have in ROS 2."""
        with _errors_in_one_line(self.path):
            message = self._reader.deserialize(data, self.types[topic])
        if self._reader.is2:
            return message
        return SimpleNamespace(**{name.lower(): value for name, value in vars(message).items()})

    def stamp(self, data: bytes) -> int:
        """The stamp (ns) in a serialized message that begins with a header; -1 if it is not a valid time."""
        if self._reader.is2:
            order = "<" if data[1] & 1 else ">"
            seconds, nanoseconds = struct.unpack_from(f"{order}iI", data, 4)  # after the encapsulation
        else:
            seconds, nanoseconds = struct.unpack_from("<II", data, 4)  # after the header's sequence number
        return seconds * 10**9 + nanoseconds if seconds >= 0 and nanoseconds < 10**9 else -1


@contextmanager
def open_bag(path: Path) -> Iterator[Bag]:
    """The recording of a file, or of a folder with ``metadata.yaml``.

    Raises ``ValueError`` with one line: why the recording cannot be read, and the remedy.
    """
    _check_files(path)
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise ValueError("rosbags, which reads recordings, is not installed: pip install rosbags") from None
    logging.getLogger("rosbags").setLevel(logging.ERROR)
    with _errors_in_one_line(path):
        # bags recorded before ROS 2 Iron carry no message definitions
        reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY))
        reader.open()
    try:
        yield Bag(path, reader)
    finally:
        reader.close()


def is_recording(path: Path) -> bool:
    """Whether a path names a recording: a recording's file, compressed or not, or a folder that holds such files."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or any(
            is_recording(file) for file in path.iterdir() if file.is_file()
        )
    return _suffix(path) in SUFFIXES


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".zstd")).suffix


def _check_files(path: Path) -> None:
    """Refuse a recording that is compressed as a whole or lacks ``metadata.yaml``, before any file is opened."""
    if path.is_file():
        if path.suffix.lower() == ".zstd":
            raise ValueError(f"recording {path} is compressed as a whole: unpack it with zstd -d {path}")
        return
    if (path / "metadata.yaml").is_file():
        return
    files = sorted(file.name for file in path.iterdir() if file.is_file() and _suffix(file) in SUFFIXES)
    packed = [name for name in files if name.lower().endswith(".zstd")]
    unpack = f"unpack {packed[0]}{' and others' * (len(packed) > 1)} with zstd -d, then " if packed else ""
    raise ValueError(
        f"recording {path} has no metadata.yaml: the recorder was killed, or the file was not copied; "
        f"{unpack}run ros2 bag reindex {path} to write it, or give {'the unpacked file' if packed else files[0]} itself"
    )


def _decompressed(data: bytes) -> bytes:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd.decompress(data)


@contextmanager
def _errors_in_one_line(path: Path) -> Iterator[None]:
    """Turn any error that a reader raises on a damaged file into a ``ValueError`` of one line."""
    try:
        yield
    except PermissionError:
        raise
    except Exception as error:  # rosbags passes on errors of struct, zstd, lz4, apsw and of its own parsers
        reason = joined(error)
        if "files are missing" in reason:
            raise ValueError(f"recording {path}: files listed in metadata.yaml are missing: {reason[:300]}") from error
        repairs = {".mcap": f"mcap recover {path}", ".bag": f"rosbag reindex {path}"}
        repair = repairs.get(path.suffix.lower(), f"ros2 bag reindex {path}")
        raise ValueError(
            f"recording {path} cannot be read; it may be truncated ({reason[:200]}); try {repair}"
        ) from error

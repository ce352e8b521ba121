"""ROS 2 recordings as sources of pictures: MCAP and SQLite bags, raw and compressed images with their camera_info.

Read by rosbags, without any ROS installation. An image topic's camera_info is the topic of that name beside it, as
image_transport lays them out: ``/camera/camera_info`` for ``/camera/image_raw`` and ``/camera/image_raw/compressed``.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dvps_ros.camera.calibration import intrinsics_of
from dvps_ros.camera.pixel_formats import FORMATS, check_image, to_rgb, view
from dvps_ros.datasets import pictures
from dvps_ros.datasets.sources import Given, Pace, Runs, Source, SourceFrame, check_camera
from dvps_ros.structures import CameraFrame, Intrinsics

RAW, COMPRESSED, INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/CameraInfo"
#: Larger pictures are taken for a torn header.
MAX_PIXELS = 2**28


def open_recording(path: Path, given: Given) -> list[Source]:
    """A source for each topic that ``given`` names, or for the one image topic that has a camera.

    Raises ``ValueError`` naming the recording and what is wrong: cut off, no such topic, several or none to choose
    from, no camera_info.
    """
    if path.is_dir() and not (path / "metadata.yaml").is_file():
        raise ValueError(f"recording {path} has no metadata.yaml: it was cut off; ros2 bag reindex {path} repairs it")
    with _open(path) as bag:
        types = {name: info.msgtype for name, info in bag.topics.items() if info.msgcount}
        topics = given.topics or (_choose(path, bag, types, given),)
        for topic in topics:
            if types.get(topic) not in (RAW, COMPRESSED):
                images = sorted(name for name, kind in types.items() if kind in (RAW, COMPRESSED))
                raise ValueError(f"recording {path} has no images on {topic}; it has {', '.join(images) or 'none'}")
        sources: list[Source] = []
        stem = path.name if path.is_dir() else path.stem
        for topic in topics:
            name = stem if len(topics) == 1 else f"{stem}_{topic.strip('/').replace('/', '_')}"
            sources.append(Recording(path, name, topic, _cameras(path, bag, types, topic, given), given))
        return sources


class Recording(Source):
    """The pictures of one image topic; ``infos`` are its stamped camera_info messages, by time, without repetitions."""

    def __init__(self, path: Path, name: str, topic: str, infos: list[tuple[int, Any]], given: Given) -> None:
        super().__init__(path, name)
        self._topic, self._infos, self._given = topic, infos, given

    def frames(self, every: float, max_gap: float) -> Iterator[SourceFrame]:
        """See ``Source``; times are the headers', or the recorder's where those are not set.

        Raises ``ValueError`` naming the recording, topic and time of a torn picture or a camera_info that does not fit.
        """
        runs, pace, last = Runs(), Pace(every, max_gap), None
        with _open(self.path) as bag:
            for stamp, message in _messages(self.path, bag, self._topic):
                if stamp == last:
                    continue
                last, gap = stamp, pace.gap(stamp)
                if not pace.keep(stamp):
                    continue
                try:
                    image = _image(message)
                    camera = self._camera(stamp, *image.shape[:2])
                except ValueError as error:
                    at = f"{stamp / 1e9 - pace.start:.1f} s after the start"
                    raise ValueError(f"recording {self.path}, {self._topic}, {at}: {error}") from error
                yield runs.add(CameraFrame(image, camera, stamp, message.header.frame_id), gap)

    def _camera(self, stamp: int, height: int, width: int) -> Intrinsics | None:
        """The camera last told before this time, before the first one the first."""
        if self._given.camera is not None or not self._infos:
            return self._given.intrinsics(height, width)
        position = bisect_right(self._infos, stamp, key=lambda row: row[0])
        return intrinsics_of(self._infos[max(position - 1, 0)][1], width, height)


def _choose(path: Path, bag: Any, types: dict[str, str], given: Given) -> str:
    """The one topic of color images; with a camera_info beside it where several are there."""
    images = [topic for topic, kind in types.items() if kind in (RAW, COMPRESSED) and _shows_color(path, bag, topic)]
    if not images:
        raise ValueError(f"recording {path} has no images")
    found = [topic for topic in images if _info_topic(types, topic, given)] or images
    bases = {topic.removesuffix("/compressed") for topic in found}
    if len(bases) > 1:
        raise ValueError(f"recording {path} has several image topics, choose with --topic: {', '.join(sorted(found))}")
    return min(found, key=len)  # raw rather than compressed


def _shows_color(path: Path, bag: Any, topic: str) -> bool:
    """Whether its first image is a picture for people, not a depth or label map."""
    _, message = next(_messages(path, bag, topic), (0, None))
    if message is None:
        return False
    if _is_compressed(message):
        return "compressedDepth" not in message.format
    return message.encoding in FORMATS and message.encoding != "mono16"


def _is_compressed(message: Any) -> bool:
    """Whether an image message is a compressed one, by its type's name."""
    return message.__msgtype__ == COMPRESSED


def _info_topic(types: dict[str, str], topic: str, given: Given) -> str:
    """The camera_info topic of an image topic, empty where there is none."""
    beside = topic.removesuffix("/compressed").rpartition("/")[0] + "/camera_info"
    name = given.info_topic or beside
    return name if types.get(name) == INFO else ""


def _cameras(path: Path, bag: Any, types: dict[str, str], topic: str, given: Given) -> list[tuple[int, Any]]:
    if given.camera is not None:
        return []
    name = _info_topic(types, topic, given)
    if not name:
        check_camera(given, f"recording {path} has no camera_info for {topic}")
        return []
    rows: list[tuple[int, Any]] = []
    last = None
    for stamp, info in _messages(path, bag, name):
        content = (info.width, info.height, *info.k, *info.d, *info.p, info.distortion_model, info.binning_x)
        if content != last:
            rows.append((stamp, info))
        last = content
    return sorted(rows, key=lambda row: row[0])


def _image(message: Any) -> Any:
    """(H, W, 3) uint8 RGB; ``ValueError`` for a torn message or an unknown encoding."""
    if _is_compressed(message):
        return pictures.decode(message.data)
    check_image(message, MAX_PIXELS)
    return to_rgb(view(message), message.encoding)


def _messages(path: Path, bag: Any, topic: str) -> Iterator[tuple[int, Any]]:
    """Stamps (ns) and messages of one topic, in order of recording; ``ValueError`` when fewer than its index states."""
    connections = [connection for connection in bag.connections if connection.topic == topic]
    rows = bag.messages(connections)
    stated, count = sum(connection.msgcount for connection in connections), 0
    while True:
        with _faults(path):
            row = next(rows, None)
            if row is None:
                if count < stated:
                    raise ValueError(f"{count} of {stated} messages on {topic}")
                return
            count += 1
            connection, recorded, data = row
            message = bag.deserialize(data, connection.msgtype)
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        yield stamp or recorded, message


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise ValueError("rosbags, which reads recordings, is not installed; pip install 'dvps_ros[train]'") from None
    logging.getLogger("rosbags").setLevel(logging.ERROR)
    with _faults(path):
        # bags from before Iron carry no message definitions
        bag = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY))
        bag.open()
    try:
        yield bag
    finally:
        bag.close()


@contextmanager
def _faults(path: Path) -> Iterator[None]:
    """Whatever a reader throws at a torn file, as one line."""
    try:
        yield
    except PermissionError:
        raise
    except Exception as error:  # rosbags lets the errors of struct, zstd, lz4, apsw and of its own parsing through
        reason = " ".join(str(error).split()) or type(error).__name__
        repair = f"mcap recover {path}" if path.suffix == ".mcap" else f"ros2 bag reindex {path}"
        raise ValueError(f"recording {path} cannot be read, was it cut off? ({reason[:200]}); try {repair}") from error

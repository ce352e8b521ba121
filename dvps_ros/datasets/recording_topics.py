"""Which topics of a recording hold pictures, and where their camera_info is.

An image topic's camera_info is the topic of that name beside it, as image_transport lays them out:
``/camera/camera_info`` for ``/camera/image_raw`` and ``/camera/image_raw/compressed``.
"""

from __future__ import annotations

from dvps_ros.camera.pixel_formats import FORMATS, MAYBE_DEPTH
from dvps_ros.camera.transport import read_format
from dvps_ros.datasets.bags import Bag
from dvps_ros.datasets.streams import Given

RAW, COMPRESSED, INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/CameraInfo"
#: Types of messages with pictures that are not read, by the names of their packages.
VIDEO_PACKAGES = ("theora_image_transport", "ffmpeg_image_transport_msgs", "foxglove_msgs")


def choose_topics(bag: Bag, given: Given) -> tuple[str, ...]:
    """The image topics that ``given`` names, or the one that shows pictures.

    Of several, the one with a camera_info beside it; of a raw and a compressed one of the same camera, the raw one.

    Raises ``ValueError`` naming the recording where a topic has no images, or there is none or more than one.
    """
    for topic in given.topics:
        if bag.types.get(topic) not in (RAW, COMPRESSED):
            images = sorted(name for name, kind in bag.types.items() if kind in (RAW, COMPRESSED))
            raise ValueError(f"recording {bag.path} has no images on {topic}; it has {', '.join(images) or 'none'}")
    return given.topics or (_only_topic(bag, given),)


def info_topic(bag: Bag, topic: str, given: Given) -> str:
    """The camera_info topic of an image topic, empty where there is none."""
    beside = topic.removesuffix("/compressed").rpartition("/")[0] + "/camera_info"
    name = given.info_topic or beside
    return name if bag.types.get(name) == INFO else ""


def _only_topic(bag: Bag, given: Given) -> str:
    images, others = [], []
    for topic, kind in sorted(bag.types.items()):
        reason = _no_picture(bag, topic, kind)
        if reason:
            others.append(f"{topic} ({reason})")
        elif kind in (RAW, COMPRESSED):
            images.append(topic)
    if not images:
        told = f": {', '.join(others)}; --topic reads one of 16 bits anyway" if others else ""
        raise ValueError(f"recording {bag.path} has no images that are pictures{told}")
    found = [topic for topic in images if info_topic(bag, topic, given)] or images
    bases = {topic.removesuffix("/compressed") for topic in found}
    if len(bases) > 1:
        raise ValueError(f"recording {bag.path} has several image topics, choose with --topic: {', '.join(found)}")
    return min(found, key=len)  # raw rather than compressed


def _no_picture(bag: Bag, topic: str, kind: str) -> str:
    """Why the messages of a topic are images but no pictures that can be read; empty where that is not so."""
    if kind.split("/")[0] in VIDEO_PACKAGES:
        return f"{kind} is not read"
    if kind not in (RAW, COMPRESSED):
        return ""
    _, data = next(bag.serialized(topic))
    message = bag.message(topic, data)
    if kind == COMPRESSED:
        try:
            return "16 bits, a depth map?" if read_format(message.format).encoding in MAYBE_DEPTH else ""
        except ValueError as error:
            return str(error)
    if message.encoding in MAYBE_DEPTH:
        return f"{message.encoding}, a depth map?"
    return "" if message.encoding in FORMATS else f"{message.encoding[:40]} is no pixel format of pictures"

"""Selection of the image topics of a recording, and of their camera_info topics.

The camera_info topic of an image topic has the same namespace, as in image_transport: ``/camera/camera_info`` for
``/camera/image_raw`` and ``/camera/image_raw/compressed``.
"""

from __future__ import annotations

from dvps_ros.camera.pixel_formats import FORMATS, MAYBE_DEPTH
from dvps_ros.camera.transport import read_format
from dvps_ros.datasets.bags import Bag
from dvps_ros.datasets.streams import Given

RAW, COMPRESSED, INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/CameraInfo"
#: Packages of message types with video, which is not supported.
VIDEO_PACKAGES = ("theora_image_transport", "ffmpeg_image_transport_msgs", "foxglove_msgs")


def choose_topics(bag: Bag, given: Given) -> tuple[str, ...]:
    """The image topics that ``given`` names, or the only one with camera images.

    Topics with a camera_info are preferred to those without, and a raw topic to the compressed one of the same camera.

    Raises ``ValueError`` naming the recording if a named topic has no images, or if none or several topics remain.
    """
    for topic in given.topics:
        if bag.types.get(topic) not in (RAW, COMPRESSED):
            images = sorted(name for name, kind in bag.types.items() if kind in (RAW, COMPRESSED))
            raise ValueError(f"recording {bag.path} has no images on {topic}; it has {', '.join(images) or 'none'}")
    return given.topics or (_only_topic(bag, given),)


def info_topic(bag: Bag, topic: str, given: Given) -> str:
    """The camera_info topic of an image topic; empty if there is none.

    Raises ``ValueError`` naming the recording if ``given`` names one that it does not have.
    """
    if given.info_topic and bag.types.get(given.info_topic) != INFO:
        infos = sorted(name for name, kind in bag.types.items() if kind == INFO)
        raise ValueError(
            f"recording {bag.path} has no camera_info on {given.info_topic}; it has {', '.join(infos) or 'none'}"
        )
    beside = topic.removesuffix("/compressed").rpartition("/")[0] + "/camera_info"
    name = given.info_topic or beside
    return name if bag.types.get(name) == INFO else ""


def _only_topic(bag: Bag, given: Given) -> str:
    images, others = [], []
    for topic, kind in sorted(bag.types.items()):
        reason = _rejection(bag, topic, kind)
        if reason:
            others.append(f"{topic} ({reason})")
        elif kind in (RAW, COMPRESSED):
            images.append(topic)
    if not images:
        rejected = f": {', '.join(others)}; --topic reads a 16-bit topic anyway" if others else ""
        raise ValueError(f"recording {bag.path} has no camera images{rejected}")
    found = [topic for topic in images if info_topic(bag, topic, given)] or images
    bases = {topic.removesuffix("/compressed") for topic in found}
    if len(bases) > 1:
        raise ValueError(f"recording {bag.path} has several image topics, choose with --topic: {', '.join(found)}")
    return min(found, key=len)  # raw rather than compressed


def _rejection(bag: Bag, topic: str, kind: str) -> str:
    """Why a topic's images are not camera images that can be read; empty if they are, or for another message type."""
    if kind.split("/")[0] in VIDEO_PACKAGES:
        return f"{kind} is not supported"
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
    return "" if message.encoding in FORMATS else f"pixel format {message.encoding[:40]} is not supported"

"""A frame's messages as picture and camera: what is odd about them is logged and counted, and costs no frame."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
from sensor_msgs.msg import Image

from dvps_ros.config import PerceptionConfig
from dvps_ros.nodes.frame_reader import FrameReader
from dvps_ros.nodes.health import Health
from dvps_ros.nodes.messages import info_of
from dvps_ros.structures import Intrinsics

H, W = 6, 8
CAMERA = Intrinsics(20.0, 20.0, 3.5, 2.5, W, H)


class Log:
    """A logger that keeps its lines."""

    def __init__(self):
        self.lines = []
        self.info = self.warning = self.lines.append


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def health(log):
    return Health(log)


def reader(log, health, topic="/cam/image_raw", **parameters):
    node = SimpleNamespace(resolve_topic_name=lambda _: topic, get_logger=lambda: log)
    return FrameReader(node, None, lambda: PerceptionConfig(**parameters), health)


def warned(health):
    return health.statistics.report(time.monotonic() + 1).warnings


def camera_info(**fields):
    message = info_of(CAMERA)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


P = [15.0, 0.0, 3.0, 0.0, 0.0, 15.0, 2.0, 0.0, 0.0, 0.0, 1.0, 0.0]
LENS = [-0.1, 0.0, 0.0, 0.0, 0.0]


def gray(value):
    message = Image(height=H, width=W, encoding="mono16", step=2 * W)
    message.data.frombytes(np.full((H, W), value, np.uint16).tobytes())
    return message


def test_a_topic_named_rectified_is_read_through_p(log, health):
    message = camera_info(p=P, d=LENS)
    raw = reader(log, health).camera(message, "", (H, W))
    assert (raw.fx, raw.distortion_model) == (20.0, "plumb_bob")
    assert log.lines == []
    straight = reader(log, health, "/cam/image_rect/compressed").camera(message, "", (H, W))
    assert (straight.fx, straight.distortion) == (15.0, ())
    assert log.lines == [
        "/cam/image_rect/compressed is taken for rectified, by its name: camera_info's P, without distortion"
    ]
    assert reader(log, health, rectified=True).camera(message, "", (H, W)) == straight
    assert health.camera == "ok"
    assert warned(health) == {}


def test_a_camera_info_that_contradicts_itself_is_told_and_used(log, health):
    found = reader(log, health).camera(camera_info(p=P), "", (H, W))
    assert found.fx == 15.0
    assert health.camera == "ok"
    [line] = log.lines
    assert line.startswith("camera_info's K and P contradict each other")
    assert warned(health) == {"camera_info contradicts itself": 1}


def test_a_camera_that_is_not_known_has_its_reason(log, health):
    frames = reader(log, health)
    assert frames.camera(None, "no camera_info", (H, W)) is None
    assert health.camera == "no camera_info"
    assert frames.camera(camera_info(), "", (H, 2 * W)) is None
    assert health.camera == "camera_info is for 8x6, the image is 16x6"


def test_bits_of_sixteen(log, health):
    assert reader(log, health).image(gray(2048))[0, 0, 0] == 8
    assert reader(log, health, bits=12).image(gray(2048))[0, 0, 0] == 128
    frames = reader(log, health)
    for _ in range(40):
        frames.image(gray(2048))
    assert warned(health) == {"pixel values": 1}
    assert log.lines[0].endswith("set bits to 12")


def test_a_malformed_image_is_dropped(log, health):
    message = gray(0)
    message.step = 3
    assert reader(log, health).image(message) is None
    assert log.lines == ["image dropped: image step 3 is shorter than 8 pixels of mono16"]
    assert health.statistics.report(time.monotonic() + 1).drops == {"malformed image": 1}

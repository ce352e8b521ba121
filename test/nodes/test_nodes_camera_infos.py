"""Which camera_info stands in for one that is late, and when publishers take turns."""

import pytest
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest

from dvps_ros.nodes.camera_infos import TAKING_TURNS, CameraInfos, Turns


def info(fx=500.0, frame_id="front", width=640, height=480, **fields):
    message = CameraInfo(width=width, height=height, k=[fx, 0.0, 320.0, 0.0, fx, 240.0, 0.0, 0.0, 1.0], **fields)
    message.header.frame_id = frame_id
    return message


def image(frame_id="front", width=640, height=480):
    message = Image(width=width, height=height)
    message.header.frame_id = frame_id
    return message


def seen(*messages):
    infos = CameraInfos()
    for moment, message in enumerate(messages):
        infos.add(message, float(moment))
    return infos


def test_the_last_one_of_the_frame_and_size_serves():
    last = info()
    infos = seen(info(), last)
    assert infos.stand_in(image()) is last
    assert infos.received == 1.0
    compressed = CompressedImage()
    compressed.header.frame_id = "front"
    assert infos.stand_in(compressed) is last


@pytest.mark.parametrize("other", [image("rear"), image(""), image(width=320), image(height=240)])
def test_none_serves_for_another_frame_or_size(other):
    assert seen(info()).stand_in(other) is None


def test_none_serves_before_the_first():
    assert seen().stand_in(image()) is None


def test_the_size_is_that_of_the_window_after_binning():
    window = RegionOfInterest(width=320, height=240)
    assert seen(info(roi=window, binning_x=2, binning_y=2)).stand_in(image(width=160, height=120)) is not None
    assert seen(info(roi=window)).stand_in(image()) is None
    beyond = RegionOfInterest(x_offset=600, width=320, height=240)
    assert seen(info(roi=beyond)).stand_in(image()) is None


def test_a_changed_one_serves_when_a_second_says_the_same():
    assert seen(info(500.0)).stand_in(image()) is not None  # one that is latched, and never comes again
    assert seen(info(500.0), info(600.0)).stand_in(image()) is None
    assert seen(info(500.0), info(600.0), info(600.0)).stand_in(image()).k[0] == 600.0
    zooming = [info(500.0 + step) for step in range(9)]
    assert seen(*zooming).stand_in(image()) is None


def test_turns():
    turns = Turns()
    for moment, content in enumerate("AABB"):
        turns.add(content, 0.1 * moment)
    assert not turns.taken(0.4)  # one has replaced the other for good
    turns.add("A", 0.5)
    assert turns.taken(0.5)
    assert not turns.taken(0.6 + TAKING_TURNS)
    turns.add("B", 10.0)
    assert not turns.taken(10.0)

"""What a recording shows is what the node sees of the same messages: one picture, one camera."""

import array
from dataclasses import replace

import cv2
import numpy as np
import pytest
from bag_writing import CAMERA, START, TYPES, H, W, camera_info, drive, header, picture, raw, record
from oriented_jpeg import oriented_jpeg
from source_reading import FREE, PLAIN, frames, one_line

from dvps_ros.datasets.sources import open_sources
from dvps_ros.datasets.streams import Given

LENS = replace(CAMERA, distortion_model="plumb_bob", distortion=(-0.3, 0.1, 0.0, 0.0, 0.0))
P = (30.0, 31.0, 14.0, 10.0)


def remarks(path, given=PLAIN):
    (source,) = open_sources([path], given)
    list(source.frames(0, 2))
    return source.remarks


def pair(stamp, image, topic="/cam/image_raw", **info):
    return [(topic, image), ("/cam/camera_info", camera_info(stamp, **info))]


def compressed(data, format):
    return TYPES["sensor_msgs/msg/CompressedImage"](
        header=header(START), format=format, data=np.frombuffer(data, np.uint8)
    )


def mosaic():
    """What a camera with an RGGB filter sees of a red wall."""
    return np.tile(np.array([[200, 60], [60, 20]], np.uint8), (H // 2, W // 2))


MESSAGES = {
    "orientation 3": compressed(oriented_jpeg(picture(0), 3), "jpeg"),
    "orientation 6": compressed(oriented_jpeg(picture(0), 6), "jpeg"),
    "bayer jpeg": compressed(cv2.imencode(".jpg", mosaic())[1].tobytes(), "bayer_rggb8; jpeg compressed "),
    "bayer png": compressed(cv2.imencode(".png", mosaic())[1].tobytes(), "bayer_rggb8; png compressed "),
    "red first": compressed(cv2.imencode(".png", picture(1))[1].tobytes(), "rgb8; png compressed rgb8"),
    "16 bit png": compressed(
        cv2.imencode(".png", picture(1).astype(np.uint16) * 16)[1].tobytes(), "rgb16; png compressed bgr16"
    ),
    "bayer raw": raw(START, mosaic(), "bayer_rggb8"),
    "12 bits raw": raw(START, mosaic().astype(np.uint16) * 16, "bayer_rggb16"),
    "rgb16": raw(START, picture(2).astype(np.uint16) * 16, "rgb16"),
    "bgr8": raw(START, picture(3), "bgr8"),
}


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize("bits", [0, 12])
def test_a_message_is_one_picture_in_a_recording_and_in_the_node(name, bits, tmp_path):
    sensor_msgs = pytest.importorskip("sensor_msgs.msg")
    from dvps_ros.nodes.image_conversion import select_bridge
    from dvps_ros.nodes.messages import image_to_rgb

    message = MESSAGES[name]
    kind = message.__msgtype__.rpartition("/")[2]
    live = getattr(sensor_msgs, kind)()
    for field in set(live.get_fields_and_field_types()) - {"header", "data"}:
        setattr(live, field, getattr(message, field))
    live.data = array.array("B", message.data.tobytes())
    topic = "/cam/image_raw" + "/compressed" * (kind == "CompressedImage")
    [item] = frames(record(tmp_path / "bag", pair(START, message, topic)), Given(bits=bits))
    node = image_to_rgb(live, select_bridge()[0], 10**6, bits)
    np.testing.assert_array_equal(item.frame.image, node)
    if name.startswith("bayer") and not bits:
        assert np.abs(node[H // 2, W // 2].astype(int) - (200, 60, 20)).max() <= 4


def test_the_window_changes(tmp_path):
    rows = []
    for number, (x, width) in enumerate([(0, 16), (0, 16), (8, 16), (8, 24), (0, 16)]):
        stamp = START + number * 10**8
        rows += pair(stamp, raw(stamp, picture(number)[:, :width]), roi=(x, 0, width, H))
    found = frames(record(tmp_path / "bag", rows))
    assert [item.frame.intrinsics.cx for item in found] == [15, 15, 7, 7, 15]
    assert [item.frame.intrinsics.width for item in found] == [16, 16, 16, 24, 16]
    assert [item.run for item in found] == [0, 0, 1, 2, 3]
    assert found[2].break_reason == "the camera's intrinsics change"
    assert found[3].break_reason == "pictures change from 16x24 to 24x24"


def test_a_camera_info_that_comes_a_moment_after_the_size_has_changed(tmp_path):
    small = CAMERA.resized(16, 12)
    rows = []
    for number in range(6):
        stamp = START + number * 10**8
        rows.append(("/cam/image_raw", raw(stamp, picture(number)[:12, :16] if number >= 3 else picture(number))))
        rows.append(("/cam/camera_info", camera_info(stamp + 10**7, small if number >= 3 else CAMERA)))
    found = frames(record(tmp_path / "bag", rows))
    assert [item.frame.intrinsics for item in found] == [CAMERA] * 3 + [small] * 3
    assert [item.run for item in found] == [0] * 3 + [1] * 3


def test_rectified_images_are_read_through_p(tmp_path):
    image = raw(START, picture(0))
    named = record(tmp_path / "named", pair(START, image, "/cam/image_rect_color", camera=LENS, p=P))
    camera = frames(named)[0].frame.intrinsics
    assert (camera.fx, camera.fy, camera.cx, camera.cy, camera.distortion) == (*P, ())
    assert remarks(named) == ["the images are assumed to be rectified: camera_info's P is used, without distortion"]
    other = record(tmp_path / "other", pair(START, image, camera=LENS, p=P))
    assert frames(other)[0].frame.intrinsics == LENS
    assert remarks(other) == []
    assert frames(other, Given(rectified=True))[0].frame.intrinsics == camera


def test_a_camera_info_that_contradicts_itself_is_told_with_the_number_of_pictures(tmp_path):
    rows = [row for k in range(3) for row in pair(START + k * 10**8, raw(START + k * 10**8, picture(k)), p=P)]
    bag = record(tmp_path / "bag", rows)
    assert frames(bag)[0].frame.intrinsics.fx == 30.0
    [line] = remarks(bag)
    assert line.startswith("camera_info's K and P contradict each other, without any distortion (fx 40 and 30, ")
    assert line.endswith(": P is used (3 pictures)")


def test_a_camera_info_that_cannot_be_used_is_an_error_or_no_camera(tmp_path):
    rows = pair(START, raw(START, picture(0)), camera=replace(CAMERA, fx=0.0))
    rows += pair(START + 10**8, raw(START + 10**8, picture(1)))
    bag = record(tmp_path / "bag", rows)
    with pytest.raises(ValueError, match=r"0\.0 s after the start: camera_info is uncalibrated") as error:
        frames(bag)
    one_line(error)
    assert [item.frame.intrinsics for item in frames(bag, FREE)] == [None, CAMERA]
    assert remarks(bag, FREE) == ["no depth in metres: camera_info is uncalibrated (K[0] is 0) (1 pictures)"]


def test_stamps_that_are_no_times(tmp_path):
    rows = []
    for number in range(5):
        image, info = raw(0, picture(number)), camera_info(0)
        received = START + number * 5 * 10**8
        rows += [("/cam/image_raw", image, received), ("/cam/camera_info", info, received)]
    bag = record(tmp_path / "zero", rows)
    found = frames(bag)
    assert [item.frame.stamp - START for item in found] == [k * 5 * 10**8 for k in range(5)]
    assert len(frames(bag, every=1.0)) == 3
    assert "zero or not a valid time: 5 of 5 messages): the times of recording are used" in remarks(bag)[0]
    equal = [(topic, raw(START, picture(k)), START + k * 10**8) for k, (topic, *_) in enumerate(rows[::2])]
    bag = record(tmp_path / "equal", equal)
    assert len(frames(bag, FREE)) == 5
    assert len({item.frame.stamp for item in frames(bag, FREE)}) == 5


def test_what_is_left_out_is_counted(tmp_path):
    rows = drive(6)
    bag = record(tmp_path / "bag", [*rows[:2], rows[0], *rows[2:]])
    (source,) = open_sources([bag], PLAIN)
    assert len(list(source.frames(0.2, 2.0))) == 3
    assert source.remarks == [
        "1 of 7 messages repeat the one before them and are left out",
        "3 of 6 pictures are used, one every 0.2 s",
    ]


def test_dark_pictures_of_twelve_bits_are_told(tmp_path):
    rows = drive(3, make=lambda stamp, rgb: raw(stamp, rgb.astype(np.uint16) * 16, "rgb16"))
    bag = record(tmp_path / "bag", rows)
    assert "set bits to 12" in remarks(bag)[0]
    assert remarks(bag, Given(bits=12)) == []
    assert np.abs(frames(bag, Given(bits=12))[0].frame.image.astype(int) - picture(0)).max() <= 1

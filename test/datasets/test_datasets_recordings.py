"""Pictures from recordings, videos and folders: what was recorded comes out; each fault is one line."""

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from dvps_ros.datasets.sources import Given, Pace, open_sources
from dvps_ros.structures import Intrinsics

STORE = get_typestore(Stores.ROS2_JAZZY)
TYPES = STORE.types
H, W = 24, 32
CAMERA = Intrinsics(40.0, 41.0, 15.0, 11.0, W, H)
START = 1_700_000_000_000_000_000
PLUGINS = {"mcap": StoragePlugin.MCAP, "db3": StoragePlugin.SQLITE3}
FREE = Given(need_camera=False)
PLAIN = Given()


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (H, W, 3), dtype=np.uint8)


def header(stamp):
    time = TYPES["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
    return TYPES["std_msgs/msg/Header"](stamp=time, frame_id="camera_optical")


def raw(stamp, rgb, encoding="rgb8"):
    data = rgb if encoding == "rgb8" else cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    return TYPES["sensor_msgs/msg/Image"](
        header=header(stamp),
        height=rgb.shape[0],
        width=rgb.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=rgb.shape[1] * 3,
        data=data.reshape(-1),
    )


def compressed(stamp, rgb, suffix=".png"):
    done, data = cv2.imencode(suffix, rgb[..., ::-1])
    assert done
    return TYPES["sensor_msgs/msg/CompressedImage"](header=header(stamp), format=suffix[1:], data=data.reshape(-1))


def camera_info(stamp, camera=CAMERA):
    k = np.array([camera.fx, 0, camera.cx, 0, camera.fy, camera.cy, 0, 0, 1], float)
    roi = TYPES["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return TYPES["sensor_msgs/msg/CameraInfo"](
        header=header(stamp),
        height=camera.height,
        width=camera.width,
        distortion_model=camera.distortion_model or "plumb_bob",
        d=np.array(camera.distortion or [0.0] * 5),
        k=k,
        r=np.eye(3).reshape(-1),
        p=np.zeros(12),
        binning_x=0,
        binning_y=0,
        roi=roi,
    )


def record(path, messages, plugin="mcap"):
    """A bag of (topic, message) pairs; returns its folder."""
    with Writer(path, version=9, storage_plugin=PLUGINS[plugin]) as writer:
        connections = {}
        for topic, message in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, message.__msgtype__, typestore=STORE)
            stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            writer.write(connections[topic], stamp or START, STORE.serialize_cdr(message, message.__msgtype__))
    return path


def drive(count=10, rate=10, make=raw, topic="/camera/image_raw"):
    """Pictures at ``rate`` Hz, each with its camera_info."""
    rows = []
    for number in range(count):
        stamp = START + number * 10**9 // rate
        rows += [(topic, make(stamp, picture(number))), ("/camera/camera_info", camera_info(stamp))]
    return rows


def frames(path, given=PLAIN, every=0.0, max_gap=2.0):
    (source,) = open_sources([path], given)
    return list(source.frames(every, max_gap))


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("plugin", ["mcap", "db3"])
@pytest.mark.parametrize(
    ("make", "topic"),
    [
        (raw, "/camera/image_raw"),
        (lambda stamp, rgb: raw(stamp, rgb, "bgr8"), "/camera/image_raw"),
        (compressed, "/camera/image_raw/compressed"),
    ],
)
def test_a_recording_gives_back_its_pictures_and_camera(plugin, make, topic, tmp_path):
    bag = record(tmp_path / "bag", drive(6, make=make, topic=topic), plugin)
    (file,) = bag.glob(f"*.{plugin}")
    for path in (bag, file):
        found = frames(path)
        assert [item.frame.stamp for item in found] == [START + k * 10**8 for k in range(6)]
        assert {item.run for item in found} == {0}
        for number, item in enumerate(found):
            np.testing.assert_array_equal(item.frame.image, picture(number))
            assert item.frame.intrinsics == CAMERA
            assert item.frame.frame_id == "camera_optical"


def test_thinning_and_reading_twice(tmp_path):
    bag = record(tmp_path / "bag", drive(21, rate=10))
    (source,) = open_sources([bag], Given())
    for _ in range(2):
        stamps = [item.frame.stamp - START for item in source.frames(0.5, 2.0)]
        assert stamps == [0, 500_000_000, 1_000_000_000, 1_500_000_000, 2_000_000_000]


def test_pace_keeps_the_beat_despite_jitter_and_notices_gaps():
    rng = np.random.default_rng(0)
    stamps = (np.arange(600) * 0.1 + rng.uniform(-0.01, 0.01, 600) + 5) * 1e9
    pace = Pace(0.5, 2.0)
    kept = [stamp for stamp in stamps.astype(int).tolist() if pace.keep(stamp)]
    assert 115 <= len(kept) <= 121
    last = int(stamps[-1])
    assert pace.gap(last + 3 * 10**9).startswith("no picture for 3.0 s")
    assert "jumps back" in pace.gap(last - 10**9)
    assert pace.keep(last - 10**9)


def test_a_gap_begins_a_new_run(tmp_path):
    rows = drive(40, rate=10)
    bag = record(tmp_path / "bag", [row for k, row in enumerate(rows) if not 20 <= k < 70])  # 1.0 s to 3.4 s
    found = frames(bag)
    assert [item.run for item in found] == [0] * 10 + [1] * 5
    assert found[10].news == "no picture for 2.6 s, 0.9 s after the start"
    assert not any(item.news for k, item in enumerate(found) if k != 10)
    assert len({item.run for item in frames(bag, max_gap=3.0)}) == 1


def test_another_camera_begins_a_new_run(tmp_path):
    rows = drive(4)
    other = replace(CAMERA, fx=55.0, fy=55.0)
    later = START + 10**9
    rows += [("/camera/camera_info", camera_info(later, other)), ("/camera/image_raw", raw(later, picture(9)))]
    found = frames(record(tmp_path / "bag", rows))
    assert [item.run for item in found] == [0, 0, 0, 0, 1]
    assert found[4].frame.intrinsics == other
    assert "intrinsics change" in found[4].news


def test_pictures_before_the_first_camera_info_have_that_one(tmp_path):
    rows = [("/camera/image_raw", raw(START + k * 10**8, picture(k))) for k in range(3)]
    rows += [("/camera/camera_info", camera_info(START + 150_000_000))]
    assert [item.frame.intrinsics for item in frames(record(tmp_path / "bag", rows))] == [CAMERA] * 3


def test_the_topic_is_chosen_by_its_camera_or_by_the_user(tmp_path):
    labels = raw(START, picture(0))
    labels.encoding, labels.data = "32SC1", np.zeros(H * W * 4, np.uint8)
    rows = [("/perception/overlay", raw(START, picture(5))), ("/camera/labels", labels)]
    rows += [*drive(2), *drive(2, make=compressed, topic="/camera/image_raw/compressed")]
    bag = record(tmp_path / "bag", rows)
    np.testing.assert_array_equal(frames(bag)[1].frame.image, picture(1))
    both = open_sources([bag], Given(topics=("/camera/image_raw", "/perception/overlay"), need_camera=False))
    assert [source.name for source in both] == ["bag_camera_image_raw", "bag_perception_overlay"]
    assert next(both[1].frames(0, 2)).frame.intrinsics is None
    named = Given(topics=("/perception/overlay",), info_topic="/camera/camera_info")
    assert frames(bag, named)[0].frame.intrinsics == CAMERA
    with pytest.raises(ValueError, match="no images on /none; it has /camera/image_raw,") as error:
        open_sources([bag], Given(topics=("/none",)))
    one_line(error)
    second = [("/rear/image_raw", raw(START, picture(0))), ("/rear/camera_info", camera_info(START))]
    several = record(tmp_path / "several", [*drive(1), *second])
    with pytest.raises(ValueError, match="several image topics, choose with --topic: /camera/image_raw, /rear/"):
        open_sources([several], Given())


def test_a_recording_without_camera_info(tmp_path):
    bag = record(tmp_path / "bag", [row for row in drive(3) if "info" not in row[0]])
    with pytest.raises(ValueError, match=r"no camera_info for /camera/image_raw.*--fx") as error:
        open_sources([bag], Given())
    assert str(bag) in one_line(error)
    assert frames(bag, FREE)[0].frame.intrinsics is None
    given = frames(bag, Given(camera=(30.0, None, None, 9.0)))[0].frame.intrinsics
    assert given == Intrinsics(30.0, 30.0, (W - 1) / 2, 9.0, W, H)


def test_a_camera_info_of_another_size_is_named(tmp_path):
    rows = [("/camera/image_raw", raw(START, picture(0)))]
    rows += [("/camera/camera_info", camera_info(START, CAMERA.resized(64, 48)))]
    with pytest.raises(
        ValueError, match=r"/camera/image_raw, 0.0 s after the start: camera_info is for 64x48"
    ) as error:
        frames(record(tmp_path / "bag", rows))
    one_line(error)


@pytest.mark.parametrize("plugin", ["mcap", "db3"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.4, 0.7, 0.97])
def test_a_recording_cut_off_in_the_middle(plugin, share, tmp_path):
    bag = record(tmp_path / "bag", drive(30), plugin)
    (file,) = bag.glob(f"*.{plugin}")
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    for path in (bag, file):
        with pytest.raises(ValueError) as error:
            frames(path)
        assert str(path) in one_line(error)
        assert "cut off" in str(error.value) or "has no images" in str(error.value)


def test_damage_inside_a_recording(tmp_path):
    bag = record(tmp_path / "bag", drive(30))
    (file,) = bag.glob("*.mcap")
    data = bytearray(file.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 10_000] = bytes(10_000)  # several messages, their headers too
    file.write_bytes(data)
    with pytest.raises(ValueError, match="cannot be read") as error:
        frames(file)
    one_line(error)


def test_a_bag_whose_metadata_was_never_written(tmp_path):
    bag = record(tmp_path / "bag", drive(3))
    (bag / "metadata.yaml").unlink()
    with pytest.raises(ValueError, match=r"no metadata\.yaml: it was cut off") as error:
        open_sources([bag], Given())
    one_line(error)


def test_torn_pictures_in_a_recording_are_named(tmp_path):
    jpeg = compressed(START, picture(0), ".jpg")
    jpeg.data = jpeg.data[: len(jpeg.data) // 2]
    short = raw(START, picture(0))
    short.data = short.data[:-5]
    for name, message, fault in (("jpeg", jpeg, "truncated"), ("raw", short, "bytes of data")):
        bag = record(tmp_path / name, [("/camera/image_raw", message)])
        with pytest.raises(ValueError, match=fault) as error:
            frames(bag, FREE)
        assert "/camera/image_raw" in one_line(error)


# --- videos and pictures ---------------------------------------------------------------------------------------------


def video(path, count, rate=10):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, (64, 48))
    assert writer.isOpened()
    for number in range(count):
        writer.write(np.full((48, 64, 3), (number * 4, 0, 255 - number * 4), np.uint8))
    writer.release()
    return path


def test_a_video_gives_its_frames_in_time(tmp_path):
    given = Given(camera=(50.0, None, None, None))
    found = frames(video(tmp_path / "drive.avi", 31), given, every=0.5)
    assert [round(item.frame.stamp / 1e8) for item in found] == [0, 5, 10, 15, 20, 25, 30]
    for item in found:
        number = round(item.frame.stamp / 1e8)
        r, g, b = item.frame.image[24, 32].astype(int)
        assert abs(r - (255 - number * 4)) < 12
        assert g < 12
        assert abs(b - number * 4) < 12
        assert item.frame.intrinsics.fx == 50.0


def test_broken_videos_are_named(tmp_path):
    whole = video(tmp_path / "whole.avi", 60)
    empty, text = tmp_path / "empty.avi", tmp_path / "text.mp4"
    empty.touch()
    text.write_text("not a video")
    none = video(tmp_path / "none.avi", 0)
    half = tmp_path / "half.avi"
    data = whole.read_bytes()
    half.write_bytes(data[: len(data) // 2])
    for path, message in (
        (empty, "not a video"),
        (text, "not a video"),
        (none, "zero frames|not a video"),
        (half, "cut off"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            frames(path, FREE)
        assert str(path) in one_line(error)
    with pytest.raises(ValueError, match="a video has no camera"):
        open_sources([whole], Given())


def test_pictures_by_name(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in (2, 0, 1):
        cv2.imwrite(str(folder / f"{number}.png"), picture(number)[..., ::-1])
    (folder / "notes.txt").touch()
    found = frames(folder, FREE, every=5.0)  # pictures have no time: none is left out
    assert [item.run for item in found] == [0, 0, 0]
    for number, item in enumerate(found):
        np.testing.assert_array_equal(item.frame.image, picture(number))
    single = frames(folder / "2.png", FREE)
    np.testing.assert_array_equal(single[0].frame.image, picture(2))
    cv2.imwrite(str(folder / "3.png"), np.zeros((8, 9, 3), np.uint8))
    assert [item.run for item in frames(folder, FREE)] == [0, 0, 0, 1]


def test_what_is_no_source_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    shutil.copy(__file__, tmp_path / "code.py")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (broken / "b.jpg").write_text("text")
    for path, kind, message in (
        (tmp_path / "none", FileNotFoundError, "no such file"),
        (tmp_path / "empty", ValueError, "holds no pictures"),
        (tmp_path / "code.py", ValueError, "neither a folder of pictures"),
        (broken, ValueError, "a.png: truncated"),
        (broken / "b.jpg", ValueError, "b.jpg: not a readable picture"),
    ):
        with pytest.raises(kind, match=message) as error:
            frames(path, FREE)
        assert str(Path(path)) in one_line(error)

"""Recordings as files: every form is read, or refused with what is true of it and what to do."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from backports import zstd
from bag_writing import CAMERA, START, compressed, drive, picture, raw, record
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionMode
from rosbags.typesys import Stores, get_typestore
from source_reading import FREE, PLAIN, frames, one_line

from dvps_ros.datasets.bags import is_recording
from dvps_ros.datasets.sources import open_sources

COUNT = 6


def check(found):
    """Asserts that the pictures of ``drive(COUNT)`` came out, with their camera and times."""
    assert [item.frame.stamp for item in found] == [START + k * 10**8 for k in range(COUNT)]
    assert {item.frame.intrinsics for item in found} == {CAMERA}
    for number, item in enumerate(found):
        np.testing.assert_array_equal(item.frame.image, picture(number))


@pytest.mark.parametrize("plugin", ["mcap", "db3"])
@pytest.mark.parametrize("mode", [CompressionMode.MESSAGE, CompressionMode.FILE])
def test_compressed_bags_in_their_folder(plugin, mode, tmp_path):
    check(frames(record(tmp_path / "bag", drive(COUNT), plugin, mode)))


@pytest.mark.parametrize("plugin", ["mcap", "db3"])
def test_a_bag_of_compressed_messages_out_of_its_folder(plugin, tmp_path):
    bag = record(tmp_path / "bag", drive(COUNT), plugin, CompressionMode.MESSAGE)
    (file,) = bag.glob(f"*.{plugin}")
    check(frames(shutil.move(file, tmp_path / f"alone.{plugin}")))


def test_files_that_are_compressed_as_a_whole_need_their_metadata(tmp_path):
    bag = record(tmp_path / "bag", drive(COUNT), "mcap", CompressionMode.FILE)
    (file,) = bag.glob("*.mcap.zstd")
    with pytest.raises(ValueError, match=r"bag\.mcap\.zstd is compressed as a whole: unpack it with zstd -d") as error:
        open_sources([file], PLAIN)
    one_line(error)
    (bag / "metadata.yaml").unlink()
    with pytest.raises(
        ValueError, match=r"no metadata\.yaml.*unpack bag\.mcap\.zstd with zstd -d, then run ros2 bag"
    ) as error:
        open_sources([bag], PLAIN)
    one_line(error)
    (bag / "bag.mcap").write_bytes(zstd.decompress(file.read_bytes()))  # what the line asks for
    check(frames(bag / "bag.mcap"))


def test_a_split_bag_and_one_of_its_files(tmp_path):
    whole = record(tmp_path / "first", drive(COUNT)[:6])
    rest = record(tmp_path / "second", drive(COUNT)[6:])
    (file,) = rest.glob("*.mcap")
    shutil.copy(file, whole / "second.mcap")
    metadata = yaml.safe_load((whole / "metadata.yaml").read_text())
    information = metadata["rosbag2_bagfile_information"]
    other = yaml.safe_load((rest / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    information["relative_file_paths"] += ["second.mcap"]
    information["message_count"] += other["message_count"]
    for topic, more in zip(information["topics_with_message_count"], other["topics_with_message_count"], strict=True):
        topic["message_count"] += more["message_count"]
    (whole / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    check(frames(whole))
    assert len(frames(whole / "second.mcap")) == 3
    (whole / "second.mcap").unlink()
    with pytest.raises(ValueError, match=r"files listed in metadata\.yaml are missing: .*second\.mcap") as error:
        open_sources([whole], PLAIN)
    assert "truncated" not in one_line(error)


def test_a_ros_1_bag(tmp_path):
    store = get_typestore(Stores.ROS1_NOETIC)
    types = store.types
    path = tmp_path / "drive.bag"
    with Writer1(path) as writer:
        kinds = {name: f"sensor_msgs/msg/{name}" for name in ("Image", "CameraInfo")}
        images, infos = (
            writer.add_connection(f"/cam/{topic}", kinds[kind], typestore=store)
            for topic, kind in (("image_raw", "Image"), ("camera_info", "CameraInfo"))
        )
        k = np.array([CAMERA.fx, 0, CAMERA.cx, 0, CAMERA.fy, CAMERA.cy, 0, 0, 1])
        for number in range(COUNT):
            stamp = START + number * 10**8
            time = types["builtin_interfaces/msg/Time"](stamp // 10**9, stamp % 10**9)
            header = types["std_msgs/msg/Header"](number, time, "camera_optical")
            rgb = picture(number)
            image = types[kinds["Image"]](header, *rgb.shape[:2], "rgb8", 0, rgb[0].nbytes, rgb.reshape(-1))
            window = types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
            info = types[kinds["CameraInfo"]](
                header, *rgb.shape[:2], "plumb_bob", np.zeros(5), k, np.eye(3).reshape(-1), np.zeros(12), 0, 0, window
            )
            writer.write(infos, stamp, store.serialize_ros1(info, info.__msgtype__))
            writer.write(images, stamp, store.serialize_ros1(image, image.__msgtype__))
    check(frames(path))
    assert frames(path)[0].frame.frame_id == "camera_optical"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(
        ValueError, match=r"drive\.bag cannot be read; it may be truncated.*try rosbag reindex"
    ) as error:
        frames(path)
    one_line(error)


def test_what_looks_like_a_recording(tmp_path):
    for name in ("a.mcap", "b.db3", "c.bag", "d.mcap.zstd", "E.MCAP"):
        (tmp_path / name).touch()
        assert is_recording(tmp_path / name)
    assert is_recording(tmp_path)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").touch()
    assert not is_recording(tmp_path / "pictures")
    assert not is_recording(tmp_path / "pictures" / "a.png")


def test_recordings_without_pictures_are_named_with_what_they_have(tmp_path):
    depth = raw(START, np.zeros((24, 32), np.uint16), "16UC1")
    labels = raw(START, np.zeros((24, 32), np.int32), "32SC1")
    packed = compressed(START, picture(0))
    packed.format = "16UC1; compressedDepth png"
    rows = [("/depth", depth), ("/labels", labels), ("/depth/compressedDepth", packed)]
    with pytest.raises(ValueError, match="has no camera images") as error:
        open_sources([record(tmp_path / "bag", rows)], FREE)
    line = one_line(error)
    assert "/depth (16UC1, a depth map?)" in line
    assert "/labels (pixel format 32SC1 is not supported)" in line
    assert "/depth/compressedDepth (compressedDepth is a depth map, not a picture)" in line


def test_importing_the_reader_needs_no_ros():
    code = "import sys, dvps_ros.datasets.sources; print('rclpy' in sys.modules, 'sensor_msgs' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]

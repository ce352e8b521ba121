"""Pictures from recordings: what was recorded comes out with its camera; each fault is one line."""

from dataclasses import replace

import numpy as np
import pytest
from bag_writing import CAMERA, START, H, W, camera_info, compressed, drive, picture, raw, record
from source_reading import FREE, frames, one_line

from dvps_ros.datasets.sources import open_sources
from dvps_ros.datasets.streams import Given
from dvps_ros.structures import Intrinsics


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


def test_a_gap_begins_a_new_run(tmp_path):
    rows = drive(40, rate=10)
    bag = record(tmp_path / "bag", [row for k, row in enumerate(rows) if not 20 <= k < 70])  # 1.0 s to 3.4 s
    found = frames(bag)
    assert [item.run for item in found] == [0] * 10 + [1] * 5
    assert found[10].break_reason == "no picture for 2.6 s, 0.9 s after the start"
    assert not any(item.break_reason for k, item in enumerate(found) if k != 10)
    assert len({item.run for item in frames(bag, max_gap=3.0)}) == 1


def test_another_camera_begins_a_new_run(tmp_path):
    rows = drive(4)
    other = replace(CAMERA, fx=55.0, fy=55.0)
    later = START + 10**9
    rows += [("/camera/camera_info", camera_info(later, other)), ("/camera/image_raw", raw(later, picture(9)))]
    found = frames(record(tmp_path / "bag", rows))
    assert [item.run for item in found] == [0, 0, 0, 0, 1]
    assert found[4].frame.intrinsics == other
    assert "intrinsics change" in found[4].break_reason


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
    for wrong in ("/camera/typo", "camera/camera_info"):
        with pytest.raises(ValueError, match=f"no camera_info on {wrong}; it has /camera/camera_info") as error:
            open_sources([bag], Given(topics=("/camera/image_raw",), info_topic=wrong, need_camera=False))
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
        assert "truncated" in str(error.value) or "has no images" in str(error.value)


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
    with pytest.raises(
        ValueError,
        match=r"no metadata\.yaml.*bag reindex .* or give bag\.mcap itself",
    ) as error:
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

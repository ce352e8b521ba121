"""Pictures from videos, folders and files: each in its order; each fault is one line, what is odd a remark."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_writing import picture
from oriented_jpeg import oriented_jpeg
from source_reading import FREE, frames, one_line

from dvps_ros.datasets.sources import open_sources
from dvps_ros.datasets.streams import Given


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
        (none, "without frames|not a video"),
        (half, "truncated"),
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
        (tmp_path / "empty", ValueError, "has no pictures"),
        (tmp_path / "code.py", ValueError, "neither a folder of pictures"),
        (broken, ValueError, "a.png: truncated"),
        (broken / "b.jpg", ValueError, "b.jpg: not a readable picture"),
    ):
        with pytest.raises(kind, match=message) as error:
            frames(path, FREE)
        assert str(Path(path)) in one_line(error)


def remarks(paths, together=False):
    """Of the only source of some paths, after it was read."""
    (source,) = open_sources(paths, FREE, together)
    names = [item.name for item in source.frames(0.0, 2.0)]
    return names, source.remarks


def write(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / name), picture(0))
    return [folder / name for name in names]


def test_numbers_in_names_count_as_numbers(tmp_path):
    write(tmp_path / "a", "frame_10.png", "frame_2.png", "frame_1.jpg")
    assert remarks([tmp_path / "a"]) == (["frame_1", "frame_2", "frame_10"], [])


def test_names_without_numbers_and_what_is_left_out_are_told(tmp_path):
    write(tmp_path / "a", "cat.png", "dog.png", "cow_1.png", ".hidden.png")
    (tmp_path / "a" / "notes.txt").touch()
    (tmp_path / "a" / "more").mkdir()
    names, told = remarks([tmp_path / "a"])
    assert names == ["cat", "cow_1", "dog"]
    assert told == [
        "1 subfolder(s) left out",
        "1 file(s) that are not pictures left out",
        "2 of 3 names have no number: the pictures are in alphabetical order",
    ]


def test_pictures_given_one_by_one_keep_their_order_and_say_when_it_is_odd(tmp_path):
    first, second, tenth = write(tmp_path / "a", "f1.png", "f2.png", "f10.png")
    assert len(open_sources([first, second], FREE)) == 2
    assert remarks([first, second, tenth], together=True) == (["f1", "f2", "f10"], [])
    names, told = remarks([first, tenth, second], together=True)  # as a shell writes f*.png
    assert names == ["f1", "f10", "f2"]
    assert told == ["pictures are used in the order given, which is not the order of their names"]


def test_a_given_camera_is_that_of_the_upright_picture(tmp_path):
    (tmp_path / "a.jpg").write_bytes(oriented_jpeg(np.zeros((24, 32, 3), np.uint8), 6))
    [item] = frames(tmp_path / "a.jpg", Given(camera=(50.0, None, None, None)))
    assert item.frame.image.shape == (32, 24, 3)
    assert (item.frame.intrinsics.width, item.frame.intrinsics.height, item.frame.intrinsics.cx) == (24, 32, 11.5)


def test_pictures_of_twelve_bits(tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), np.full((8, 8), 2048, np.uint16))
    assert frames(tmp_path / "1.png", FREE)[0].frame.image[0, 0, 0] == 8
    assert frames(tmp_path / "1.png", Given(need_camera=False, bits=12))[0].frame.image[0, 0, 0] == 128
    assert "set bits to 12" in remarks([tmp_path / "1.png"])[1][0]


def test_frames_of_a_video_that_are_not_taken_are_counted(tmp_path):
    (source,) = open_sources([video(tmp_path / "drive.avi", 31)], FREE)
    assert [item.name for item in source.frames(1.0, 2.0)] == [f"drive_{k:06d}" for k in range(4)]
    assert source.remarks == ["4 of 31 frames are used, one every 1 s"]
    assert source.timed

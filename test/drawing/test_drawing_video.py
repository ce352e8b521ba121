"""Videos: what was added comes back in its order, size and rate; a file appears when it is complete."""

import cv2
import numpy as np
import pytest

from dvps_ros.drawing.video import VideoFile, VideoFiles


def flat(level, height=48, width=64):
    return np.full((height, width, 3), (level, 0, 255 - level), np.uint8)


def read(path):
    """Frames per second and the RGB in the middle of each frame."""
    capture = cv2.VideoCapture(str(path))
    found = []
    while True:
        done, bgr = capture.read()
        if not done:
            return capture.get(cv2.CAP_PROP_FPS), found
        found.append(bgr[bgr.shape[0] // 2, bgr.shape[1] // 2, ::-1].astype(int))


def test_pictures_come_back_at_the_rate_of_their_stamps(tmp_path):
    videos = VideoFiles(tmp_path / "drive.mp4", 10.0)
    for number in range(14):
        videos.add(flat(number * 15), number * 250_000_000)
    assert not (tmp_path / "drive.mp4").exists()
    videos.close()
    assert [path.name for path in tmp_path.iterdir()] == ["drive.mp4"]
    rate, colors = read(tmp_path / "drive.mp4")
    assert rate == 4.0
    assert np.abs(np.array(colors) - [(k * 15, 0, 255 - k * 15) for k in range(14)]).max() < 12


@pytest.mark.parametrize("stamps", [(0, 0, 0), (None, None, None), (5,)])
def test_without_times_the_rate_is_the_given_one(stamps, tmp_path):
    videos = VideoFiles(tmp_path / "drive.mp4", 12.5)
    for stamp in stamps:
        videos.add(flat(100), stamp)
    videos.close()
    rate, colors = read(tmp_path / "drive.mp4")
    assert rate == 12.5
    assert len(colors) == len(stamps)


def test_another_size_begins_another_video(tmp_path):
    videos = VideoFiles(tmp_path / "drive.mp4", 10.0)
    for picture in (flat(0), flat(50), flat(100, 33, 47), flat(150)):
        videos.add(picture, 0)
    videos.close()
    assert [path.name for path in videos.paths] == ["drive.mp4", "drive_2.mp4", "drive_3.mp4"]
    assert [len(read(path)[1]) for path in videos.paths] == [2, 1, 1]


def test_an_older_video_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "drive.mp4"
    path.write_bytes(b"older")
    video = VideoFile(path, 10.0)
    video.add(flat(10))
    assert path.read_bytes() == b"older"
    with pytest.raises(ValueError, match="64x48, a picture 32x48"):
        video.add(flat(10, 48, 32))
    video.close()
    assert len(read(path)[1]) == 1


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "drive").write_text("a file")
    with pytest.raises((ValueError, OSError), match="drive"):
        VideoFile(tmp_path / "drive" / "a.mp4", 10.0).add(flat(1))

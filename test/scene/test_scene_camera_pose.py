"""Where the camera is: poses that are given, a camera whose motion is not known for a while, a change of scale."""

import numpy as np
import pytest

from dvps_ros.config import TrackConfig
from dvps_ros.labels import CITYSCAPES
from dvps_ros.scene.camera_pose import CameraPose
from dvps_ros.scene.ego_motion import exponential


def driven(seconds=0.5, speed=4.0):
    """A camera that has gone ahead (z) and turned about y since its first frame at 0 s, by poses of 10 Hz."""
    camera = CameraPose(CITYSCAPES, TrackConfig())
    for step in range(round(10 * seconds) + 1):
        now = step / 10
        assert camera.update(now, 0.1 if step else 0.0, None, exponential(np.array([0, 0, 0, 0, 0, speed * now])))
    return camera


def test_given_poses_add_up():
    camera = driven()
    assert camera.pose == pytest.approx(exponential(np.array([0, 0, 0, 0, 0, 2.0])), abs=1e-9)
    assert camera.motion.source == "given"
    assert not camera.relative


def test_a_camera_goes_on_for_some_seconds_when_its_motion_is_not_known():
    camera = driven()
    camera.update(0.75, 0.25, None, None)
    assert camera.pose[:3, 3] == pytest.approx([0, 0, 3.0], abs=1e-9)  # 2 m, and a quarter of a second at 4 m/s
    camera.update(3.5, 2.75, None, None)
    assert camera.pose[:3, 3] == pytest.approx([0, 0, 14.0], abs=1e-9)
    assert not camera.relative  # three seconds, not more
    camera.update(3.6, 0.1, None, None)
    assert camera.relative
    assert camera.pose[:3, 3] == pytest.approx([0, 0, 14.0], abs=1e-9)  # it stays where it is


def test_a_change_of_scale_stretches_the_way_and_the_speed():
    camera = driven()
    camera.rescale(1.5)
    assert camera.pose[:3, 3] == pytest.approx([0, 0, 3.0], abs=1e-9)
    assert camera.pose[3].tolist() == [0, 0, 0, 1]
    camera.update(0.75, 0.25, None, None)
    assert camera.pose[:3, 3] == pytest.approx([0, 0, 4.5], abs=1e-9)


def test_frames_of_one_time_tell_no_speed():
    camera = driven()
    camera.update(0.5, 0.0, None, exponential(np.array([0, 0, 0, 0, 0, 2.0])))
    camera.update(0.75, 0.25, None, None)
    assert camera.pose[:3, 3] == pytest.approx([0, 0, 3.0], abs=1e-9)

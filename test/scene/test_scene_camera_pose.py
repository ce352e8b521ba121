"""Where the camera is: poses that are given, a camera whose motion is not known for a while, a change of scale."""

import numpy as np
import pytest

from dvps_ros.config import TrackConfig
from dvps_ros.labels import CITYSCAPES
from dvps_ros.scene.camera_pose import CameraPose
from dvps_ros.scene.ego_motion import exponential
from dvps_ros.scene.view import View
from dvps_ros.structures import Intrinsics

GREY = np.zeros((64, 128), np.uint8)


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


def test_a_given_pose_after_a_gap_does_not_repeat_the_steps_taken_meanwhile():
    """The camera coasts over a frame without a pose; the next pose corrects what coasting got wrong."""
    camera = driven()
    camera.update(0.6, 0.1, None, None)
    assert camera.pose[:3, 3] == pytest.approx([0, 0, 2.4], abs=1e-9)
    camera.update(0.7, 0.1, None, exponential(np.array([0, 0, 0, 0, 0, 3.1])))
    assert camera.pose[:3, 3] == pytest.approx([0, 0, 3.1], abs=1e-9)
    assert camera.motion.matrix[:3, 3] == pytest.approx([0, 0, -0.7], abs=1e-9)


def test_a_pose_that_jumps_is_no_motion():
    """Localisation may jump; the camera then goes on as it did, and the next pose counts from where it jumped to."""
    camera = driven()
    camera.update(0.6, 0.1, None, exponential(np.array([0, 0, 0, 50.0, 0, 2.4])))
    assert camera.motion.matrix is None
    assert camera.motion.problem == "the camera would have moved 50.0 m"
    assert camera.pose[:3, 3] == pytest.approx([0, 0, 2.4], abs=1e-9)
    camera.update(0.7, 0.1, None, exponential(np.array([0, 0, 0, 50.0, 0, 2.8])))
    assert camera.motion.source == "given"
    assert camera.pose[:3, 3] == pytest.approx([0, 0, 2.8], abs=1e-9)


def test_a_picture_is_not_compared_with_one_from_before_poses_were_given():
    """After frames with poses the estimation from pictures begins anew."""
    camera, view = driven(), View(GREY, *np.zeros((2, 64, 128), np.int32), Intrinsics(100, 100, 64, 32, 128, 64))
    camera.update(0.6, 0.1, view, None)
    camera.update(0.7, 0.1, None, exponential(np.array([0, 0, 0, 0, 0, 2.8])))
    camera.update(0.8, 0.1, view, None)
    assert camera.motion.problem == "no frame before"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_pose_that_is_not_finite_is_one_that_is_missing(value):
    camera = driven(0.5)
    assert camera.update(0.6, 0.1, None, np.full((4, 4), value))
    assert camera.motion.matrix is None
    assert camera.motion.problem == "the pose is not finite"
    camera.update(0.7, 0.1, None, exponential(np.array([0, 0, 0, 0, 0, 2.8])))
    assert camera.pose == pytest.approx(exponential(np.array([0, 0, 0, 0, 0, 2.8])), abs=1e-9)

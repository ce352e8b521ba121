"""Where the camera is: poses that are given, a camera whose motion is not known for a while, a change of scale."""

import cv2
import numpy as np
import pytest

from dvps_ros.config import TrackConfig
from dvps_ros.labels import CITYSCAPES
from dvps_ros.scene.camera_pose import CameraPose
from dvps_ros.scene.ego_motion import exponential
from dvps_ros.scene.view import View
from dvps_ros.structures import Intrinsics


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


def test_a_given_pose_after_a_gap_moves_the_camera_by_one_frame_only():
    """Tracks were placed from the camera that coasted, so its error stays; it is no motion of this frame."""
    camera = driven()
    camera.update(0.6, 0.1, None, None)
    assert camera.pose[:3, 3] == pytest.approx([0, 0, 2.4], abs=1e-9)
    camera.update(0.7, 0.1, None, exponential(np.array([0, 0, 0, 0, 0, 3.0])))  # a meter in two frames
    assert camera.motion.matrix[:3, 3] == pytest.approx([0, 0, -0.5], abs=1e-9)
    assert camera.pose[:3, 3] == pytest.approx([0, 0, 2.9], abs=1e-9)
    camera.update(0.8, 0.1, None, None)  # goes on at 5 m/s
    assert camera.pose[:3, 3] == pytest.approx([0, 0, 3.4], abs=1e-9)


def test_a_long_gap_is_judged_by_its_whole_time():
    """Ten metres in two seconds are no jump, but those after more seconds than a camera coasts for tell nothing."""
    camera, ahead = driven(), exponential(np.array([0, 0, 0, 0, 0, 12.0]))
    camera.update(2.4, 1.9, None, None)
    camera.update(2.5, 0.1, None, ahead)
    assert camera.motion.matrix[:3, 3] == pytest.approx([0, 0, -0.5], abs=1e-9)
    camera.update(6.5, 4.0, None, None)
    camera.update(6.6, 0.1, None, exponential(np.array([0, 0, 0, 0, 0, 40.0])))
    assert camera.motion.problem == "no frame before"
    camera.update(6.7, 0.1, None, exponential(np.array([0, 0, 0, 0, 0, 40.5])))
    assert camera.motion.matrix[:3, 3] == pytest.approx([0, 0, -0.5], abs=1e-9)


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


TEXTURE = cv2.resize(np.random.default_rng(0).integers(0, 256, (120, 240)).astype(np.uint8), (1920, 960))


def wall(ahead, seed=None):
    """The view of a wall 12 m ahead of where the camera began; ``seed`` gives another texture."""
    texture = TEXTURE if seed is None else np.random.default_rng(seed).permutation(TEXTURE)
    camera, distance = Intrinsics(128.0, 128.0, 127.5, 63.5, 256, 128), 12.0 - ahead
    zoom = distance / 128.0 * 60  # texture pixels for each of the picture's
    warp = np.array([[zoom, 0, 960 - zoom * 127.5], [0, zoom, 480 - zoom * 63.5]])
    grey = cv2.warpAffine(texture, warp, (256, 128), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    building = np.full(grey.shape, CITYSCAPES.index("building") * 1000, np.int32)
    return View(grey, building, np.full(grey.shape, distance, np.float32), camera)


def ahead(metres):
    return exponential(np.array([0, 0, 0, 0, 0, metres]))


@pytest.mark.parametrize(
    "given", [lambda k: k % 2 == 0, lambda k: k < 4, lambda k: k > 4], ids=["half", "lost", "late"]
)
def test_pictures_tell_the_motion_where_poses_are_missing(given):
    camera = CameraPose(CITYSCAPES, TrackConfig())
    for k in range(10):
        camera.update(0.1 * k, 0.1 if k else 0.0, wall(0.3 * k), ahead(0.3 * k) if given(k) else None)
        if k:
            assert camera.motion.source == ("given" if given(k) and given(k - 1) else "picture"), k
        assert camera.pose[:3, 3] == pytest.approx([0, 0, 0.3 * k], abs=0.1)


def test_a_frame_without_picture_is_no_frame_before():
    camera = driven()
    camera.update(0.6, 0.1, wall(0), None)
    camera.update(0.7, 0.1, None, ahead(2.8))
    camera.update(0.8, 0.1, wall(0), None)
    assert camera.motion.problem == "no frame before"


def test_poses_that_jump_to_another_place_begin_anew_and_those_of_a_reset_do_not():
    """Where odometry is reset the picture goes on; where a recording jumps, it does not."""
    for seed, new in ((None, False), (1, True)):
        camera = CameraPose(CITYSCAPES, TrackConfig())
        for k in range(3):
            camera.update(0.1 * k, 0.1 if k else 0.0, wall(0.3 * k), ahead(0.3 * k))
        assert camera.update(0.3, 0.1, wall(0.9, seed), ahead(500.0)) is not new
        assert camera.motion.source == ("" if new else "picture")
        assert camera.update(0.4, 0.1, wall(1.2, seed), ahead(500.3))
        assert camera.motion.source == "given"
        assert camera.motion.matrix[:3, 3] == pytest.approx([0, 0, -0.3], abs=1e-9)


def test_a_motion_that_poses_tell_is_no_cut_whatever_the_picture_shows():
    """After one missed transform the picture is looked at, too; it may show another side of the same place."""
    camera = CameraPose(CITYSCAPES, TrackConfig())
    for k, seed in enumerate((None, None, None, 1)):
        pose = None if k == 2 else ahead(0.3 * k)
        assert camera.update(0.1 * k, 0.1 if k else 0.0, wall(0.3 * k, seed), pose)
    assert camera.motion.source == "given"
    assert camera.pose[:3, 3] == pytest.approx([0, 0, 0.9], abs=0.05)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_pose_that_is_not_finite_is_one_that_is_missing(value):
    camera = driven(0.5)
    assert camera.update(0.6, 0.1, None, np.full((4, 4), value))
    assert camera.motion.matrix is None
    assert camera.motion.problem == "the pose is not finite"
    camera.update(0.7, 0.1, None, ahead(2.8))
    assert camera.pose == pytest.approx(ahead(2.8), abs=1e-9)

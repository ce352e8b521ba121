"""The made-up drive on which tracking is timed: what there is to follow is followed."""

from dvps_ros.benchmarks import tracker_cost
from dvps_ros.config import TrackConfig
from dvps_ros.labels import CITYSCAPES
from dvps_ros.scene.track import Tracker


def test_the_things_keep_their_numbers_and_the_camera_moves_ahead():
    tracker, numbers = Tracker(CITYSCAPES, TrackConfig()), []
    for count, (scene, view) in enumerate(tracker_cost.synthetic_drive((256, 512), CITYSCAPES, 30, 6)):
        scene = tracker.update(scene, view.camera, tracker_cost.PERIOD * count, view)
        numbers.append({s.instance for s in scene.segments if CITYSCAPES.is_thing[s.class_id]})
    assert 20 <= len(numbers[-1]) <= 30  # near ones hide some that are far
    assert len(numbers[-1] & numbers[-2]) >= 0.9 * len(numbers[-1])
    assert scene.motion.problem == ""
    assert -0.8 < scene.motion.matrix[2, 3] < -0.2  # the wall comes half a metre nearer


def test_each_frame_is_timed():
    times = tracker_cost.tracker_seconds((64, 128), CITYSCAPES, TrackConfig(), things=3, frames=4)
    assert len(times) == 4
    assert min(times) > 0

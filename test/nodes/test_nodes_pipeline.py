"""What the pipeline tells the perceiver about a frame, without ROS around it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dvps_ros.labels import CITYSCAPES
from dvps_ros.nodes.mounting import Mount
from dvps_ros.nodes.pipeline import FramePipeline, Job
from dvps_ros.scene.anchor import GroundAnchor
from dvps_ros.scene.track import Tracker
from dvps_ros.structures import Scene


@pytest.fixture
def pipeline():
    class Perceiver:
        labels = CITYSCAPES

        def __init__(self):
            self.tracker, self.anchor = Tracker(CITYSCAPES), GroundAnchor(CITYSCAPES)
            self.times, self.fails = [], False

        def step(self, image, intrinsics, stamp, pose):
            if self.fails:
                raise RuntimeError
            scene = Scene(torch.zeros(32, 64, dtype=torch.int32), torch.ones(32, 64), torch.ones(32, 64), ())
            scene = self.tracker.update(scene, None, stamp)
            self.times.append(self.tracker.clock.now)
            return scene

    class Mounting:
        pose_problem = ""

        def __init__(self):
            self.begun = []

        def begin(self, stamp):
            self.begun.append(stamp)

        def of(self, frame_id):
            return Mount()

    pipeline = FramePipeline(None, None, Perceiver(), None, Mounting(), None, SimpleNamespace(), None)
    yield pipeline
    assert pipeline.stop(5.0)


def perceive(pipeline, received, stamp=0.0):
    header = Header(stamp=Time(sec=int(stamp), nanosec=round(stamp % 1 * 1e9)))
    pipeline._perceive(Job(Image(header=header), None, "", received, 1), np.zeros((32, 64, 3), np.uint8), None)


def test_frames_without_stamps_are_as_far_apart_as_they_arrive(pipeline):
    perceiver = pipeline._perceiver
    for received in (100.0, 100.25, 100.5, 101.5):
        perceive(pipeline, received)
    assert np.diff(perceiver.times) == pytest.approx([0.25, 0.25, 1.0])
    perceiver.fails = True
    with pytest.raises(RuntimeError):
        perceive(pipeline, 101.75)
    perceiver.fails = False
    perceive(pipeline, 102.0)
    assert perceiver.times[-1] - perceiver.times[-2] == pytest.approx(0.5)


def test_stamps_tell_the_time_where_there_are_any(pipeline):
    for received, stamp in ((100.0, 7.0), (100.9, 7.1), (101.0, 7.2)):
        perceive(pipeline, received, stamp)
    assert pipeline._perceiver.times == pytest.approx([7.0, 7.1, 7.2])
    assert pipeline._mounting.begun == [7_000_000_000, 7_100_000_000, 7_200_000_000]

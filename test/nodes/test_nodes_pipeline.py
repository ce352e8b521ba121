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
from dvps_ros.structures import Scene


@pytest.fixture
def pipeline():
    class Perceiver:
        labels = CITYSCAPES

        frame_period = None

        def __init__(self):
            self.periods, self.stamps, self.fails = [], [], False

        def step(self, image, intrinsics, stamp, pose):
            if self.fails:
                raise RuntimeError
            self.periods.append(self.frame_period)
            self.stamps.append(stamp)
            return Scene(torch.zeros(32, 64, dtype=torch.int32), torch.ones(32, 64), torch.ones(32, 64), ())

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


def test_frames_are_as_far_apart_as_they_arrive_unless_stamps_tell(pipeline):
    perceiver = pipeline._perceiver
    for received, stamp in ((100.0, 0.0), (100.25, 0.0), (100.5, 7.0)):
        perceive(pipeline, received, stamp)
    assert perceiver.periods == [None, 0.25, 0.25]
    assert perceiver.stamps == [None, None, 7.0]
    assert pipeline._mounting.begun == [0, 0, 7_000_000_000]
    perceiver.fails = True
    with pytest.raises(RuntimeError):
        perceive(pipeline, 100.75)
    perceiver.fails = False
    perceive(pipeline, 101.0)  # the one that failed has not moved the perceiver's time
    assert perceiver.periods[-1] == 0.5

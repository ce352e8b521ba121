"""The whole trip on a CUDA device: the scene of the CPU, in half precision too, and memory that comes back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dvps_ros import checkpoints
from dvps_ros.benchmarks.gpu import recovery
from dvps_ros.config import MergeConfig
from dvps_ros.labels import CITYSCAPES
from dvps_ros.runtime import Perceiver
from dvps_ros.runtime.agreement import tiles
from dvps_ros.scene.boxes import instances
from dvps_ros.scene.clouds import obstacle_cloud, scene_cloud
from dvps_ros.structures import Intrinsics

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

# A trained network: the scores of random weights are equal to the last digit, and so is the order of their segments.
MODEL = Path(__file__).resolve().parents[2] / "models" / "street"
CAMERA = Intrinsics(360.0, 360.0, 255.5, 127.5, 512, 256)


PICTURE = tiles(256, 512)


def perceiver(device, precision, runtime="torch"):
    config = checkpoints.load_model_config(MODEL)
    everything = replace(config, merge=MergeConfig(score_threshold=0.0, overlap_threshold=0.0))
    return Perceiver(checkpoints.load(MODEL, "cpu"), everything, device, precision, runtime=runtime)


def scenes(precision, runtime="torch"):
    """The scene of the CPU in float32, and that of the device."""
    here = perceiver("cpu", "32").step(PICTURE, CAMERA)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # TF32 has the digits of float16
        return here, perceiver("cuda", precision, runtime).step(PICTURE, CAMERA)


@pytest.mark.parametrize(
    ("precision", "runtime", "share", "tolerance"),
    [
        ("32", "torch", 0.999, 1e-3),
        ("16", "torch", 0.99, 2e-2),
        ("bf16", "torch", 0.95, 1e-1),  # eight bits: too coarse for depth, so the node's default is 16
        ("32", "cudagraph", 0.999, 1e-3),
        ("16", "cudagraph", 0.99, 2e-2),
        ("32", "compile", 0.999, 1e-3),
        ("16", "compile", 0.99, 2e-2),
    ],
)
def test_the_device_gives_the_scene_of_the_cpu(precision, runtime, share, tolerance):
    here, there = scenes(precision, runtime)
    assert {x.device.type for x in (there.panoptic, there.depth, there.confidence)} == {"cuda"}
    there = there.cpu()
    assert (here.panoptic == there.panoptic).float().mean() >= share
    assert ((here.depth - there.depth).abs() <= tolerance * here.depth).float().mean() >= share


def test_clouds_are_made_on_the_device():
    _, scene = scenes("32")
    for cloud, same in (
        (scene_cloud(scene, PICTURE, CAMERA, CITYSCAPES), scene_cloud(scene.cpu(), PICTURE, CAMERA, CITYSCAPES)),
        (
            obstacle_cloud(scene, PICTURE, CAMERA, CITYSCAPES, 0.1, edge_threshold=0.1),
            obstacle_cloud(scene.cpu(), PICTURE, CAMERA, CITYSCAPES, 0.1, edge_threshold=0.1),
        ),
    ):
        assert cloud.xyz.device.type == "cuda"
        assert len(cloud) == len(same)
        torch.testing.assert_close(cloud.xyz.cpu(), same.xyz, rtol=1e-5, atol=1e-5)
        assert len(instances(cloud)[1]) == len(instances(same)[1])


def test_a_frame_without_memory_is_lost_and_the_next_one_works():
    small = perceiver("cuda", "16")
    small.step(np.zeros((64, 96, 3), np.uint8))
    assert recovery(small, (4096, 8192)) == {"reported": True, "works again": True}

"""The whole trip on a CUDA device: the scene of the CPU, in half precision too, and memory that comes back."""

import numpy as np
import pytest
import torch
from test_runtime_export import CAMERA, CONFIG, PICTURE, network

from dvps_ros.benchmarks.gpu import recovery
from dvps_ros.labels import CITYSCAPES
from dvps_ros.runtime import Perceiver
from dvps_ros.scene.boxes import instances
from dvps_ros.scene.clouds import obstacle_cloud, scene_cloud

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def scenes(precision, runtime="torch"):
    """The scene of the CPU in float32, and that of the device."""
    here = Perceiver(network(), CONFIG, "cpu", "32").step(PICTURE, CAMERA)
    return here, Perceiver(network(), CONFIG, "cuda", precision, runtime=runtime).step(PICTURE, CAMERA)


@pytest.mark.parametrize(
    ("precision", "runtime", "share", "tolerance"),
    [
        ("32", "torch", 0.999, 1e-3),
        ("16", "torch", 0.99, 2e-2),
        ("bf16", "torch", 0.99, 2e-2),
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
    perceiver = Perceiver(network(), CONFIG, "cuda", "16")
    perceiver.step(np.zeros((64, 96, 3), np.uint8))
    assert recovery(perceiver, (4096, 8192)) == {"reported": True, "works again": True}

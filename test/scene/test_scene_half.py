"""Merging and clouds of a network that answers in half precision, against the same numbers in float32."""

from dataclasses import fields, replace

import pytest
import torch
from test_scene_merge import random_prediction

from dvps_ros.config import MergeConfig
from dvps_ros.labels import CITYSCAPES
from dvps_ros.scene.clouds import obstacle_cloud
from dvps_ros.scene.merge import merge
from dvps_ros.structures import Intrinsics

CAMERA = Intrinsics(40.0, 40.0, 24.5, 18.0, 50, 37)
DTYPES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])


def cast(prediction, dtype):
    tensors = {f.name: getattr(prediction, f.name) for f in fields(prediction)}
    return replace(prediction, **{n: t.to(dtype) for n, t in tensors.items() if isinstance(t, torch.Tensor)})


@DTYPES
def test_merging_half_precision_answers(dtype):
    """What was rounded already is merged as the same numbers in float32 are: ids on 99 %, depth to 1e-6."""
    config = MergeConfig(score_threshold=0.3, overlap_threshold=0.2)
    for seed in range(4):
        half = cast(random_prediction(seed=seed), dtype)
        ours, theirs = (merge(p, 0, (37, 50), None, CITYSCAPES, config) for p in (cast(half, torch.float32), half))
        same = ours.panoptic == theirs.panoptic
        assert same.float().mean() >= 0.99
        assert theirs.depth.dtype == theirs.confidence.dtype == torch.float32
        torch.testing.assert_close(ours.depth[same], theirs.depth[same], rtol=1e-6, atol=1e-6)
        clouds = [obstacle_cloud(s, torch.zeros(37, 50, 3).byte(), CAMERA, CITYSCAPES, 0.1) for s in (ours, theirs)]
        assert abs(len(clouds[0]) - len(clouds[1])) <= 0.01 * len(clouds[0])


@DTYPES
def test_depth_has_no_steps_of_the_arithmetic(dtype):
    """Beyond 32 m float16 has steps of 3 cm and bfloat16 of 25 cm; depth is off by less than a millimetre."""
    half = cast(random_prediction(queries=40), dtype)
    exact = (
        half.max_depth
        * torch.einsum("bqc,bchw->bqhw", half.depth_embedding.double(), half.depth_features.double()).sigmoid()
    )
    far = exact > 32
    assert far.sum() > 1000
    assert (half.depth - exact)[far].abs().max() < 1e-3
    coarse = half.max_depth * torch.einsum("bqc,bchw->bqhw", half.depth_embedding, half.depth_features).sigmoid()
    assert (coarse - exact)[far].abs().max() > 0.03

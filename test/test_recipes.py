"""The paper's two-stage recipes: every combination ships, loads, lasts as many epochs as it says, and fits together."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dvps_ros import network
from dvps_ros.config import Config, load_config

CONFIG = Path(__file__).resolve().parents[1] / "config"
#: Training frames (Qiao et al., ViP-DeepLab, CVPR 2021), full resolution in the network's multiples of 32.
FRAMES = {"cityscapes": 2400, "semkitti": 19130}
FULL = {"cityscapes": (1024, 2048), "semkitti": (384, 1280)}
CROPS = {"cityscapes": (512, 1024), "semkitti": (384, 1280)}


def recipe(size: str, data: str, stage: int) -> Config:
    return load_config(CONFIG / f"deepdps_{size}_{data}_stage{stage}.yaml")


@pytest.mark.parametrize("data", FRAMES)
@pytest.mark.parametrize("size", ["r50", "swin_t", "swin_b"])
def test_the_recipes_are_the_papers(size, data):
    first, second = recipe(size, data, 1), recipe(size, data, 2)
    plain = load_config(CONFIG / f"deepdps_{size}.yaml").network
    for stage, epochs in ((first, 50), (second, 10)):
        assert stage.labels == data
        assert stage.data.format == f"{data}_dvps"
        assert stage.training.max_steps == epochs * (FRAMES[data] // stage.training.batch_size)
        assert stage.training.max_steps % stage.training.validate_every == 0
        assert (stage.data.min_scale, stage.data.max_scale, stage.data.flip) == (0.5, 2.0, 0.5)
        assert (stage.optimizer.learning_rate, stage.optimizer.clip_norm) == (1e-4, 0.01)
    assert (first.data.labels, second.data.labels) == ("panoptic", "both")
    assert (first.data.crop_height, first.data.crop_width) == CROPS[data]
    assert (second.data.crop_height, second.data.crop_width) == FULL[data]
    assert (first.loss.semantic_to_depth_weight, first.loss.depth_to_semantic_weight) == (0, 0)
    assert (second.loss.semantic_to_depth_weight, second.loss.depth_to_semantic_weight) == (0.1, 0.1)
    # the second stage starts from the first one's weights, not from a hub
    assert first.network.backbone.pretrained
    assert second.network == plain


@pytest.mark.parametrize("size", ["r50", "swin_b"])
def test_the_first_stages_weights_fit_the_second(size):
    def weights(stage: int) -> dict[str, torch.Size]:
        sizes = recipe(size, "cityscapes", stage).network
        with torch.device("meta"):
            net = network.build(replace(sizes, backbone=replace(sizes.backbone, pretrained="")))
        return {name: value.shape for name, value in net.state_dict().items()}

    assert weights(1) == weights(2)

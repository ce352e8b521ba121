"""The paper's two-stage recipes: every combination ships, loads, lasts as many epochs as it says, and fits together."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from dvps_ros import network
from dvps_ros.camera.resizing import to_budget
from dvps_ros.config import Config, apply_overrides, load_config
from dvps_ros.config.crops import crop_size
from dvps_ros.datasets.transforms import random_window
from dvps_ros.structures import Intrinsics

CONFIG = Path(__file__).resolve().parents[1] / "config"
#: Training frames (Qiao et al., ViP-DeepLab, CVPR 2021), full resolution in the network's multiples of 32.
FRAMES = {"cityscapes": 2400, "semkitti": 19130}
FULL = {"cityscapes": (1024, 2048), "semkitti": (384, 1280)}
CROPS = {"cityscapes": (512, 1024), "semkitti": (384, 1280)}


def recipe(size: str, data: str, stage: int) -> Config:
    return load_config([CONFIG / f"deepdps_{size}.yaml", CONFIG / "recipes" / f"{data}_stage{stage}.yaml"])


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
    assert first.network == second.network == plain


@pytest.mark.parametrize("size", ["r50", "swin_t", "swin_b"])
def test_each_network_names_its_imagenet_weights(size):
    text = (CONFIG / f"deepdps_{size}.yaml").read_text()
    [assignment] = re.findall(r"`(network\.backbone\.pretrained=[\w./-]+)`", text)
    chosen = apply_overrides(recipe(size, "cityscapes", 1), [assignment]).network.backbone.pretrained
    assert chosen.startswith("microsoft/")


@pytest.mark.parametrize(
    ("data", "frame", "focal"),
    [("cityscapes", (1024, 2048), (2262.52, 2265.3018)), ("semkitti", (375, 1242), (721.5377, 721.5377))],
)
def test_frames_and_crops_have_the_papers_sizes(data, frame, focal):
    """Evaluation sees whole frames as they are, training what ``data`` says of crops at 0.5 to 2 of that."""
    camera = Intrinsics(*focal, (frame[1] - 1) / 2, (frame[0] - 1) / 2, frame[1], frame[0])
    for stage, crops in ((1, CROPS), (2, FULL)):
        config = recipe("r50", data, stage)
        seen = to_budget(frame, config.input.pixels, camera)
        assert (seen.size, seen.scale_x, seen.scale_y) == (frame, 1.0, 1.0)
        rng = np.random.default_rng(0)
        windows = [random_window(seen, crop_size(config.data, rng.random()), config.data, rng) for _ in range(200)]
        assert {(window.height, window.width) for window in windows} == {crops[data]}
        assert all(0.5 <= window.scale_x == window.scale_y <= 2.0 for window in windows)


@pytest.mark.parametrize("size", ["r50", "swin_b"])
def test_the_first_stages_weights_fit_the_second(size):
    def weights(stage: int) -> dict[str, torch.Size]:
        sizes = recipe(size, "cityscapes", stage).network
        with torch.device("meta"):
            net = network.build(sizes)
        return {name: value.shape for name, value in net.state_dict().items()}

    assert weights(1) == weights(2)

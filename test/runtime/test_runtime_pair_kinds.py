"""Pairs of other networks than Mask2Former and Depth Anything: each says what transformers' own class says."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pair_kinds import SEGMENTATIONS, SQUARE, save_depth_pro, save_segmentation_of, save_zoedepth
from pair_models import save_depth, save_segmentation
from torch.nn import functional as F
from transformers import AutoTokenizer

from dvps_ros.camera.resizing import resize
from dvps_ros.config import PairConfig
from dvps_ros.labels import CITYSCAPES
from dvps_ros.runtime import load_perceiver
from dvps_ros.runtime.pair import PairPerceiver
from dvps_ros.runtime.pair_depth import depth_grid, depth_input_size, metres
from dvps_ros.runtime.pair_segmentation import PanopticNetwork, task_tokens
from dvps_ros.scene.merge import win_pixels
from dvps_ros.structures import Intrinsics

SIZE = 50, 90
CAMERA = Intrinsics(80.0, 80.0, 44.5, 24.5, 90, 50)
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a network of each kind."""
    folder = tmp_path_factory.mktemp("kinds")
    for kind in SEGMENTATIONS:
        save_segmentation_of(kind, folder / kind)
    save_segmentation(folder / "mask2former")
    save_depth(folder / "depth")
    save_depth_pro(folder / "depth_pro")
    return folder


@pytest.fixture
def picture():
    smooth = np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    return np.kron(smooth, np.ones((10, 10, 1), np.uint8))


def pair(home, segmentation="mask2former", depth="depth", **settings):
    return PairPerceiver.of(PairConfig(str(home / segmentation), str(home / depth), **settings), None, "cpu", "32")


@pytest.mark.parametrize("kind", SEGMENTATIONS)
def test_every_kind_sees_the_picture_as_its_own_preprocessor_shows_it(home, picture, kind):
    """Queries are those of transformers' class, asked directly; masks lie on the picture."""
    perceiver = load_perceiver("pair", "cpu", "32", str(home / kind), str(home / "depth"))
    how = perceiver.resizing(SIZE, CAMERA)
    square = kind.startswith("eomt")  # the longer side becomes that of the square; the rest of it is padding
    assert how.canvas == ((SQUARE, SQUARE) if square else SIZE)
    assert how.size == ((math.floor(SIZE[0] * SQUARE / SIZE[1]), SQUARE) if square else SIZE)
    pixels = (resize(torch.from_numpy(picture).permute(2, 0, 1)[None], how) / 255 - MEAN) / STD
    padded = F.pad(pixels, (0, -pixels.shape[3] % 32, 0, -pixels.shape[2] % 32))
    more = {}
    if kind == "oneformer":
        given = AutoTokenizer.from_pretrained(home / kind)("the task is panoptic", padding="max_length", max_length=77)
        more["task_inputs"] = torch.tensor([given["input_ids"]]) * torch.tensor([given["attention_mask"]])
        assert int((more["task_inputs"] > 0).sum()) >= 4
    network = perceiver.network.segmentation.network
    with torch.inference_mode():
        expected = network(pixel_values=padded, **more)
        seen = []
        hook = perceiver.network.segmentation.register_forward_hook(lambda *given: seen.append(given[-1]))
        scene = perceiver.step(picture, CAMERA)
        hook.remove()
    torch.testing.assert_close(seen[0].class_logits, expected.class_queries_logits[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(seen[0].mask_logits, expected.masks_queries_logits[0], rtol=1e-4, atol=1e-4)
    assert seen[0].mask_logits.shape[-2:] == tuple(side // 4 for side in padded.shape[-2:])
    scores, classes = seen[0].class_logits.softmax(-1).max(-1)
    sure = (classes < len(CITYSCAPES)) & (scores > perceiver.merge_config.score_threshold)
    assert sure.any()
    assert {s.class_id for s in scene.segments} <= set(classes[sure].tolist())
    assert scene.panoptic.shape == scene.depth.shape == SIZE
    assert win_pixels(seen[0].mask_logits[sure], scores[sure], how.size, perceiver.merge_config)[0].shape == how.size


def test_masks_of_another_stride_are_resampled():
    """EoMT with patches of 8 pixels has masks at half the picture's size."""

    class Halves(torch.nn.Module):
        def forward(self, pixel_values):
            masks = F.interpolate(pixel_values[:, :1], scale_factor=0.5, mode="area")
            return type("Output", (), {"class_queries_logits": torch.zeros(1, 1, 20), "masks_queries_logits": masks})

    ramp = torch.arange(64.0).expand(1, 3, 64, 64)
    masks = PanopticNetwork(Halves())(ramp).mask_logits
    assert masks.shape == (1, 16, 16)
    assert masks[0, 8, 8] == pytest.approx(float(ramp[0, 0, 0, 32:36].mean()), abs=0.5)


def test_oneformer_without_a_tokenizer_is_refused_in_one_line(home, tmp_path):
    network = save_segmentation_of("oneformer", tmp_path / "whole")
    network.save_pretrained(tmp_path / "bare")
    with pytest.raises(ValueError, match=r"segmentation: .*bare has no tokenizer") as error:
        load_perceiver("pair", "cpu", "32", str(tmp_path / "bare"), str(home / "depth"))
    assert "\n" not in str(error.value)
    assert task_tokens(network.config, tmp_path / "whole").shape == (1, 77)


def test_depth_pro_gives_metres_by_the_camera_s_focal_length(home, picture):
    """As transformers' post-processing has it, with the camera's focal length for the estimated one."""
    perceiver = pair(home, depth="depth_pro")
    seen = []
    perceiver.network.depth.register_forward_hook(lambda *given: seen.append(given[-1]))
    scene = perceiver.step(picture, CAMERA)
    assert seen[0].predicted_depth.shape == (1, 256, 256)
    inverse = F.interpolate(seen[0].predicted_depth[None], SIZE, mode="bilinear", align_corners=False)[0, 0]
    expected = 1 / (inverse * CAMERA.width / CAMERA.fx).clamp(1e-4, 1e4)
    torch.testing.assert_close(scene.depth, expected)
    assert scene.metric
    unknown = perceiver.step(picture)
    widths = 0.5 / math.tan(math.radians(float(seen[1].field_of_view)) / 2)
    torch.testing.assert_close(unknown.depth, 1 / (inverse / widths).clamp(1e-4, 1e4))
    assert not unknown.metric


def test_depth_pro_sees_a_square(home):
    settings = pair(home, depth="depth_pro").network.depth.config
    assert depth_grid(settings) == (128, 128)
    assert depth_input_size(settings, (480, 640), 128, 128) == (128, 128)
    assert depth_input_size(settings, (480, 640), 300, 128) == (256, 256)


def test_depth_pro_without_an_estimate_is_relative_to_a_focal_length_of_one_width(home):
    settings = pair(home, depth="depth_pro").network.depth.config
    depth = torch.full((4, 8), 0.1)
    torch.testing.assert_close(metres(settings, depth, (8, 16)), torch.full((8, 16), 10.0))
    torch.testing.assert_close(metres(settings, depth, (8, 16), 0.5), torch.full((8, 16), 5.0))


def test_metres_of_a_canonical_camera_are_scaled_by_the_camera_s_focal_length(home, picture):
    plain, scaled = pair(home), pair(home, depth_focal=30.0)
    expected = plain.step(picture, CAMERA).depth
    _, width = depth_input_size(plain.network.depth.config, SIZE, *depth_grid(plain.network.depth.config))
    torch.testing.assert_close(scaled.step(picture, CAMERA).depth, expected * (80.0 * width / 90.0 / 30.0))
    assert scaled.step(picture, replace(CAMERA, fx=160.0, fy=160.0)).depth.mean() > 1.9 * expected.mean()
    torch.testing.assert_close(scaled.step(picture).depth, plain.step(picture).depth)  # nothing to scale by


def test_zoedepth_gives_what_transformers_own_class_gives(tmp_path, home, picture):
    network = save_zoedepth(tmp_path / "zoe")
    perceiver = pair(home, depth=str(tmp_path / "zoe"), depth_size=64)
    seen = []
    perceiver.network.depth.register_forward_hook(
        lambda module, given, named, output: seen.append((named["pixel_values"], output)), with_kwargs=True
    )
    scene = perceiver.step(picture, CAMERA)
    [(pixels, output)] = seen
    assert pixels.shape == (1, 3, 64, 128)  # 50 x 90 at the scale that changes it least, in multiples of 32
    with torch.no_grad():
        torch.testing.assert_close(output.predicted_depth, network(pixel_values=pixels).predicted_depth)
    expected = F.interpolate(output.predicted_depth[None], SIZE, mode="bilinear", align_corners=False)[0, 0]
    torch.testing.assert_close(scene.depth, expected.clamp(min=0))

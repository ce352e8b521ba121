"""Backbones that only transformers knows: their maps, training from them, and models that need their source no more."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from pair_models import save_preprocessor
from torch.nn import functional as F
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    ConvNextV2Config,
    ConvNextV2ForImageClassification,
    Dinov2Config,
    Dinov2Model,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    FocalNetConfig,
    FocalNetForImageClassification,
    HieraConfig,
    HieraForImageClassification,
    PvtV2Config,
    PvtV2ForImageClassification,
    Swinv2Config,
    Swinv2ForImageClassification,
    TimmBackboneConfig,
)

from dvps_ros import checkpoints
from dvps_ros.config import BackboneConfig, Config, NetworkConfig, OptimizerConfig
from dvps_ros.network import build
from dvps_ros.network.backbones import expected_pixels
from dvps_ros.runtime import Perceiver
from dvps_ros.training.optimizer import parameter_groups

NETWORK = NetworkConfig(width=32, heads=4, encoder_layers=1, encoder_feedforward=24, queries=4, decoder_layers=1)
VIT = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
STAGED = {
    "convnext": (ConvNextForImageClassification, ConvNextConfig(hidden_sizes=[8, 16, 32, 64], depths=[1, 1, 1, 1])),
    "convnextv2": (
        ConvNextV2ForImageClassification,
        ConvNextV2Config(hidden_sizes=[8, 16, 32, 64], depths=[1, 1, 1, 1]),
    ),
    "swinv2": (
        Swinv2ForImageClassification,
        Swinv2Config(embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4], window_size=4),
    ),
    "focalnet": (FocalNetForImageClassification, FocalNetConfig(embed_dim=8, depths=[1, 1, 1, 1])),
    "pvt_v2": (
        PvtV2ForImageClassification,
        PvtV2Config(hidden_sizes=[8, 16, 32, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2]),
    ),
}
PLAIN = {
    "dinov2": (Dinov2Model, Dinov2Config(image_size=56, patch_size=14, **VIT)),
    "dinov3_vit": (DINOv3ViTModel, DINOv3ViTConfig(intermediate_size=64, **VIT)),
}
MAPS = ("stride4", "stride8", "stride16", "stride32")


def saved(kind, folder):
    """A model of a kind with random weights, as transformers saves it."""
    torch.manual_seed(0)
    made, config = (STAGED | PLAIN)[kind]
    model = made(config)
    model.save_pretrained(folder)
    return model.eval()


def configured(source, **settings):
    return checkpoints.with_architecture(
        replace(NETWORK, backbone=BackboneConfig(kind="auto", pretrained=str(source), **settings))
    )


def started(source):
    net = build(configured(source))
    checkpoints.load_pretrained(net)
    return net.eval()


@pytest.mark.parametrize("kind", STAGED)
def test_maps_of_four_strides_are_those_of_transformers(tmp_path, kind):
    saved(kind, tmp_path)
    names = ["stage1", "stage2", "stage3", "stage4"]
    if kind == "focalnet":  # its stage 1 has stride 8 already, and its last two have stride 32
        names = ["stem", "stage1", "stage2", "stage4"]
    net = started(tmp_path)
    theirs = type(net.backbone.model).from_pretrained(tmp_path, out_features=names).eval()
    images = torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found, expected = net.backbone(images), theirs(images).feature_maps
    for stride, name, maps in zip((4, 8, 16, 32), MAPS, expected, strict=True):
        assert getattr(found, name).shape[-2:] == (96 // stride, 160 // stride)
        torch.testing.assert_close(getattr(found, name), maps, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", PLAIN)
def test_a_plain_transformer_s_last_map_gets_a_pyramid(tmp_path, kind):
    """A patch is 16 pixels of the picture, whatever its own size; the map is that of transformers."""
    model = saved(kind, tmp_path)
    backbone, seen = started(tmp_path).backbone, []
    backbone.model.register_forward_hook(lambda *given: seen.append(given[-1].feature_maps))
    images = torch.randn(1, 3, 96, 160, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = backbone(images)
        patch = model.config.patch_size
        size = (6 * patch, 10 * patch)
        resized = images if patch == 16 else F.interpolate(images, size, mode="bilinear", antialias=True)
        tokens = model(pixel_values=resized).last_hidden_state[:, -60:]
    [[last]] = seen
    torch.testing.assert_close(last, tokens.transpose(1, 2).reshape(1, -1, 6, 10), rtol=1e-5, atol=1e-5)
    for stride, name in zip((4, 8, 16, 32), MAPS, strict=True):
        assert getattr(found, name).shape == (1, 256, 96 // stride, 160 // stride)


def test_a_pyramid_lies_on_the_picture(tmp_path):
    """A spot in the last map moves what lies there in every level, and nothing far away."""
    saved("dinov2", tmp_path)
    backbone = started(tmp_path).backbone
    plain = torch.zeros(1, 32, 6, 10)
    spot = plain.clone()
    spot[0, :, 4, 7] = torch.randn(32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for stride, level in zip((4, 8, 16, 32), backbone.pyramid, strict=True):
            changed = (level(spot) - level(plain)).abs().sum(1)[0] > 1e-6
            rows, columns = (torch.nonzero(changed.any(axis))[:, 0] for axis in (1, 0))
            assert rows.float().mean() * stride + stride / 2 == pytest.approx(4.5 * 16, abs=stride)
            assert columns.float().mean() * stride + stride / 2 == pytest.approx(7.5 * 16, abs=stride)


@pytest.mark.parametrize("kind", ["convnext", "dinov2"])
def test_a_trained_model_needs_its_source_no_more(tmp_path, kind):
    source, folder = tmp_path / "source", tmp_path / "model"
    saved(kind, source)
    save_preprocessor(source, [0.5, 0.4, 0.3], [0.2, 0.2, 0.1])
    network = configured(source)
    assert expected_pixels(network.backbone) == ((127500, 102000, 76500), (51000, 51000, 25500))
    assert "id2label" not in network.backbone.settings
    net = build(network)
    checkpoints.load_pretrained(net)
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    optimizer = torch.optim.SGD(net.parameters(), 1e-3)
    for _ in range(2):
        prediction = net(images, layers=False)
        loss = prediction.class_logits.square().mean() + prediction.mask_features.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    checkpoints.save(net, folder, Config(network=network))
    shutil.rmtree(source)
    again = checkpoints.load(folder)
    with torch.no_grad():
        expected, found = net.eval()(images, layers=False), again(images, layers=False)
    torch.testing.assert_close(found.class_logits, expected.class_logits, rtol=2e-2, atol=2e-2)  # half precision
    scene = Perceiver.load(folder, "cpu", "32", "torch").step(np.zeros((50, 90, 3), np.uint8))
    assert scene.panoptic.shape == (50, 90)


def test_a_model_folder_gives_its_backbone_and_architecture(tmp_path):
    saved("dinov2", tmp_path / "source")
    net = started(tmp_path / "source")
    checkpoints.save(net, tmp_path / "model", Config(network=net.config))
    again = started(tmp_path / "model")
    assert again.config.backbone.settings == net.config.backbone.settings
    for name, value in net.backbone.model.state_dict().items():
        torch.testing.assert_close(again.backbone.model.state_dict()[name], value, rtol=1e-3, atol=1e-3)


def test_the_pyramid_learns_at_the_full_rate(tmp_path):
    saved("dinov2", tmp_path)
    net = started(tmp_path)
    rates = {}
    for group in parameter_groups(net, OptimizerConfig(learning_rate=1.0, backbone_factor=0.1)):
        rates |= {id(parameter): group["lr"] for parameter in group["params"]}
    assert {rates[id(p)] for p in net.backbone.model.parameters()} == {0.1}
    assert {rates[id(p)] for p in net.backbone.pyramid.parameters()} == {1.0}


def test_mistakes_are_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"network\.backbone\.pretrained is empty: a backbone of kind auto"):
        configured("")
    with pytest.raises(ValueError, match=r"no architecture at .*nowhere"):
        configured(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"network\.backbone\.settings has no model_type"):
        build(replace(NETWORK, backbone=BackboneConfig(kind="auto")))
    for settings, words in (
        ({"model_type": "bert"}, "bert"),
        ({"model_type": "nonsense"}, "transformers takes no such settings of 'nonsense'"),
        ({"model_type": TimmBackboneConfig.model_type}, "needs another package and is not supported"),
        ({"model_type": "hiera", "image_size": [64, 64]}, "hiera gives no maps"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            build(replace(NETWORK, backbone=BackboneConfig(kind="auto", settings=settings)))
        assert "\n" not in str(error.value)
    HieraForImageClassification(HieraConfig(embed_dim=8, depths=[1] * 4, num_heads=[1] * 4)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="hiera gives no maps"):
        started(tmp_path)

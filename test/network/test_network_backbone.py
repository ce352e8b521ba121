from dataclasses import replace

import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification, SwinConfig, SwinForImageClassification

from dvps_ros.config import BackboneConfig
from dvps_ros.network.backbone import build_backbone, canonical_name

SMALL = {
    "resnet": BackboneConfig(depths=(1, 1, 1, 1), stem=8, widths=(16, 32, 32, 64)),
    "basic": BackboneConfig(block="basic", depths=(2, 1, 1, 1), stem=8, widths=(8, 16, 24, 32)),
    "swin": BackboneConfig(kind="swin", depths=(2, 1, 1, 1), embedding=8, heads=(1, 2, 2, 4), window=3),
}


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("size", [(32, 32), (96, 160)])
def test_maps_have_the_promised_strides_and_channels(kind, size):
    backbone = build_backbone(SMALL[kind]).eval()
    features = backbone(torch.randn(2, 3, *size))
    maps = (features.stride4, features.stride8, features.stride16, features.stride32)
    for stride, channels, feature in zip((4, 8, 16, 32), backbone.channels, maps, strict=True):
        assert feature.shape == (2, channels, size[0] // stride, size[1] // stride)


def test_resnet_takes_its_stride_in_the_three_by_three():
    block = build_backbone(SMALL["resnet"]).model.encoder.stages[1].layers[0].layer
    assert [part.convolution.stride for part in block] == [(1, 1), (2, 2), (1, 1)]


def test_resnet50_is_the_default():
    assert build_backbone(BackboneConfig()).channels == (256, 512, 1024, 2048)


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
    backbone = build_backbone(chosen)
    assert all(module.training for module in backbone.modules())  # batch norms move, stochastic depth works
    started = backbone.model.state_dict()
    source = getattr(trained, kind).state_dict()
    copied = 0
    for name, value in started.items():
        if not name.startswith("hidden_states_norms."):
            torch.testing.assert_close(value, source[name.removeprefix("swin.")])
            copied += 1
    assert copied > 40
    with pytest.raises(ValueError, match=r"lacks .*weights in all"):
        build_backbone(replace(chosen, depths=(2, 1, 1, 2)))


def test_missing_pretrained_weights_are_one_clear_line(tmp_path):
    with pytest.raises(ValueError, match="no usable weights at") as caught:
        build_backbone(BackboneConfig(pretrained=str(tmp_path / "nothing")))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (BackboneConfig(depths=(1, 1, 1)), "depths needs four stages, got 3"),
        (BackboneConfig(widths=(64, 128)), "widths needs four stages, got 2"),
        (BackboneConfig(kind="swin", heads=(1, 2, 3)), "heads needs four stages, got 3"),
        (BackboneConfig(kind="swin", embedding=10, heads=(3, 5, 5, 5)), r"heads\[0\] is 3, must divide 10"),
    ],
)
def test_sizes_that_do_not_fit_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        build_backbone(config)


def test_weights_of_older_transformers_load():
    backbone = build_backbone(SMALL["swin"])
    older = {}
    for name, value in backbone.state_dict().items():
        name = name.replace("model.swin.", "model.").replace("attention.o_proj.", "attention.output.dense.")
        for new, old in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
            name = name.replace(f"attention.{new}.", f"attention.self.{old}.")
        name = name.replace("attention.relative_position_bias.relative", "attention.self.relative")
        name = name.replace("mlp.fc1.", "intermediate.dense.").replace("mlp.fc2.", "output.dense.")
        older[name] = value + 1
    assert set(older) != set(backbone.state_dict())
    expected = {name: value + 1 for name, value in backbone.state_dict().items()}
    backbone.load_state_dict(older)
    for name, value in backbone.state_dict().items():
        torch.testing.assert_close(value, expected[name])


def test_canonical_names_stay_as_they_are():
    for kind in SMALL:
        for name in build_backbone(SMALL[kind]).model.state_dict():
            assert canonical_name(canonical_name(name)) == canonical_name(name)

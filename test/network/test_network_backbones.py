from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from dvps_ros.config import BackboneConfig, NetworkConfig
from dvps_ros.network import build
from dvps_ros.network.backbones import Backbone, build_backbone, canonical_name
from dvps_ros.network.backbones.efficientnet import ConvNorm, EfficientNetLite0

SMALL = {
    "resnet": BackboneConfig(depths=(1, 1, 1, 1), stem=8, widths=(16, 32, 32, 64)),
    "basic": BackboneConfig(block="basic", depths=(2, 1, 1, 1), stem=8, widths=(8, 16, 24, 32)),
    "swin": BackboneConfig(kind="swin", depths=(2, 1, 1, 1), embedding=8, heads=(1, 2, 2, 4), window=3),
    "efficientnet_lite0": BackboneConfig(kind="efficientnet_lite0"),
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
    for kind in ("resnet", "basic", "swin"):
        for name in build_backbone(SMALL[kind]).model.state_dict():
            assert canonical_name(canonical_name(name)) == canonical_name(name)


# --- EfficientNet-Lite0 -------------------------------------------------------------------------------------------


def test_efficientnet_lite0_has_the_published_size():
    model = EfficientNetLite0()
    assert model.channels == (24, 40, 112, 320)
    classifier = 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000  # a 1x1 convolution with its norm, and a linear layer
    assert sum(p.numel() for p in model.parameters()) == 4_652_008 - classifier
    assert [block.residual for block in model.blocks].count(True) == 9


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 2)])
@pytest.mark.parametrize("training", [False, True])
def test_convolutions_are_padded_as_tensorflow_does_and_normalised(kernel, stride, training):
    layer = ConvNorm(4, 4, kernel, stride, groups=4).train(training)
    torch.nn.init.normal_(layer.norm.weight)
    torch.nn.init.normal_(layer.norm.bias)
    layer.norm.running_mean.normal_()
    layer.norm.running_var.uniform_(0.5, 2.0)
    maps = torch.randn(2, 4, 8, 12)
    total = max(kernel - stride, 0)  # "same": ceil(size / stride) results, the odd pixel of padding at the end
    before = total // 2
    padded = F.pad(maps, (before, total - before, before, total - before))
    convolved = F.conv2d(padded, layer.conv.weight, stride=stride, groups=4)
    norm = layer.norm
    mean = convolved.mean((0, 2, 3)) if training else norm.running_mean
    variance = convolved.var((0, 2, 3), correction=0) if training else norm.running_var
    scale = norm.weight / (variance + 1e-3).sqrt()
    expected = (convolved - mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(layer(maps), expected.clamp(0, 6), atol=1e-5, rtol=1e-5)


def test_efficientnet_sees_pictures_as_its_weights_were_trained():
    """The network's own normalisation is ImageNet's; these weights want (x - 127) / 128, padded with 127."""
    net = build(
        NetworkConfig(backbone=SMALL["efficientnet_lite0"], width=32, encoder_layers=1, decoder_layers=1)
    ).eval()
    picture = torch.randint(0, 256, (1, 3, 40, 64), dtype=torch.uint8)
    padded = F.pad((picture.float() - 127) / 128, (0, 0, 0, 24))
    with torch.no_grad():
        found, expected = net.backbone_features(picture), net.backbone(padded)
    for ours, theirs in zip(vars(found).values(), vars(expected).values(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


# --- frozen batch norms -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["resnet", "efficientnet_lite0"])
def test_frozen_batch_norms_keep_their_statistics_and_learn_scale_and_shift(kind):
    for frozen in (True, False):
        backbone = build_backbone(replace(SMALL[kind], freeze_norms=frozen)).train()
        before = {name: value.clone() for name, value in backbone.named_buffers() if "running" in name}
        sum(feature.square().mean() for feature in vars(backbone(torch.randn(2, 3, 64, 64))).values()).backward()
        moved = [
            name for name, value in backbone.named_buffers() if "running" in name and (value != before[name]).any()
        ]
        assert moved == ([] if frozen else list(before))
        norms = [m for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        assert all(norm.training is not frozen for norm in norms)
        assert all(norm.weight.grad.abs().sum() > 0 for norm in norms)
    assert all(module.training for module in backbone.eval().train().modules())


def test_norms_are_frozen_from_the_start():
    """Lightning trains a module in the mode that it finds."""
    backbone = build_backbone(replace(SMALL["efficientnet_lite0"], freeze_norms=True))
    assert not any(m.training for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d))


# --- frozen parts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("count", [0, 2, 5])
def test_frozen_parts_learn_nothing(kind, count):
    torch.manual_seed(0)
    backbone = build_backbone(replace(SMALL[kind], freeze=count, drop_path=0.0)).train()
    frozen = {id(value) for part in backbone._parts[:count] for m in part for value in (*m.parameters(), *m.buffers())}
    assert (len(frozen) > 0) is (count > 0)
    before = {name: value.clone() for name, value in backbone.named_buffers() if "running" in name}
    maps = [m for m in vars(backbone(torch.randn(2, 3, 64, 64))).values() if m.requires_grad]
    if maps:
        sum(m.square().mean() for m in maps).backward()
    still = {id(value) for value in backbone.parameters() if value.grad is None}
    still |= {id(v) for name, v in backbone.named_buffers() if name in before and torch.equal(v, before[name])}
    of_interest = {id(v) for v in backbone.parameters()} | {
        id(v) for name, v in backbone.named_buffers() if name in before
    }
    assert still == frozen & of_interest


def test_freezing_can_be_taken_back():
    backbone = build_backbone(replace(SMALL["resnet"], freeze=5))
    backbone.freeze(0)
    assert all(value.requires_grad for value in backbone.parameters())
    assert all(module.training for module in backbone.modules())


def test_a_frozen_part_has_no_stochastic_depth():
    backbone = build_backbone(replace(SMALL["swin"], freeze=5, drop_path=0.9)).train()
    image = torch.randn(1, 3, 64, 64)
    one, other = (vars(backbone(image)).values() for _ in range(2))
    assert all(map(torch.equal, one, other))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_depthwise_convolutions_have_the_precision_of_their_weights(dtype):
    model = EfficientNetLite0().to(dtype).eval()
    assert all(m.dtype == dtype and m.requires_grad for m in model(torch.rand(1, 3, 32, 32, dtype=dtype)))


def test_other_backbones_do_not_freeze_parts():
    with pytest.raises(ValueError, match=r"network.backbone.freeze is 1: this kind of backbone cannot freeze parts"):
        Backbone(torch.nn.Identity(), (1, 1, 1, 1)).freeze(1)


def test_depthwise_gradients_under_bf16_are_those_of_float32():
    torch.manual_seed(0)
    layer = ConvNorm(8, 8, 5, groups=8).eval()
    maps = torch.rand(2, 8, 9, 12)
    layer(maps).square().sum().backward()
    expected, layer.conv.weight.grad = layer.conv.weight.grad, None
    with torch.autocast("cpu", torch.bfloat16):
        layer(maps).square().sum().backward()
    torch.testing.assert_close(layer.conv.weight.grad, expected, atol=1e-4, rtol=1e-4)

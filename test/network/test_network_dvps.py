from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from dvps_ros.config import BackboneConfig, NetworkConfig, load_config
from dvps_ros.network import DvpsNet, build
from dvps_ros.network.dvps import resized_levels
from dvps_ros.network.query_decoder import attention_mask
from dvps_ros.structures import Features, Prediction

CONFIGURATIONS = Path(__file__).resolve().parents[2] / "config"

SMALL = NetworkConfig(
    backbone=BackboneConfig(block="basic", depths=(1, 1, 1, 1), stem=8, widths=(8, 16, 24, 32)),
    classes=4,
    width=32,
    heads=4,
    encoder_layers=2,
    encoder_feedforward=24,
    queries=6,
    decoder_layers=4,
    feedforward=40,
    max_depth=50.0,
)
DENSE = replace(SMALL, depth_head="dense")
SHARED = replace(SMALL, depth_decoder="shared")
UNCERTAIN = replace(SMALL, uncertainty=True)


@pytest.fixture
def net() -> DvpsNet:
    torch.manual_seed(4)
    return build(SMALL).eval()


def pictures(batch=2, height=64, width=96):
    return torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8)


def features(batch=2, height=64, width=96, dtype=torch.float32):
    maps = [
        torch.randn(batch, c, height // s, width // s) for s, c in zip((4, 8, 16, 32), (8, 16, 24, 32), strict=True)
    ]
    return Features(*(m.to(dtype) for m in maps))


def all_layers(prediction: Prediction) -> tuple[Prediction, ...]:
    return (*prediction.layers, prediction)


# --- shapes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(64, 96), (33, 65), (1, 1), (70, 32)])
def test_any_size_is_padded_to_multiples_of_32(net, height, width):
    with torch.no_grad():
        prediction = net(pictures(2, height, width))
    h, w = -(-height // 32) * 8, -(-width // 32) * 8
    assert prediction.class_logits.shape == (2, 6, 5)
    assert prediction.mask_logits.shape == prediction.depth.shape == (2, 6, h, w)
    assert prediction.backup_depth.shape == (2, 1, h, w)
    assert prediction.layers == ()


def test_padding_is_right_and_below_and_black_to_the_network(net):
    small = pictures(1, 40, 50)
    mean = torch.tensor([123.675, 116.28, 103.53])[:, None, None].expand(1, 3, 64, 64).clone()
    mean[..., :40, :50] = small
    with torch.no_grad():
        padded, whole = net.backbone_features(small), net.backbone_features(mean)
    torch.testing.assert_close(padded.stride32, whole.stride32)


def test_bytes_and_floats_are_the_same_picture(net):
    images = pictures()
    with torch.no_grad():
        assert torch.equal(net(images).class_logits, net(images.float()).class_logits)


def test_images_in_a_batch_do_not_touch_each_other(net):
    images = pictures(3)
    with torch.no_grad():
        together, alone = net(images), net(images[1:2])
    torch.testing.assert_close(together.class_logits[1:2], alone.class_logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(together.depth[1:2], alone.depth, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64), (1, 64, 64, 3)])
def test_what_is_no_batch_of_pictures_is_refused(net, shape):
    with pytest.raises(ValueError, match=r"images must be \(B, 3, H, W\)"):
        net(torch.zeros(shape))


@pytest.mark.parametrize(("config", "channels"), [(SMALL, 32), (DENSE, 1)])
def test_layers_in_training_and_on_request(config, channels):
    net = build(config)
    assert len(net.train()(pictures()).layers) == 4  # initial queries and layers 1..3
    assert len(net.eval()(pictures(), layers=True).layers) == 4
    assert net.train()(pictures(), layers=False).layers == ()
    prediction = net.eval()(pictures(), layers=True)
    for layer in all_layers(prediction):
        assert layer.class_logits.shape == (2, 6, 5)
        assert layer.mask_logits.shape == (2, 6, 16, 24)
        assert layer.depth_features.shape == (2, channels, 16, 24)
    assert all(layer.layers == () for layer in prediction.layers)
    initial, *later = all_layers(prediction)
    assert initial.depth.shape == initial.backup_depth.shape == (2, 0, 16, 24)
    for layer in later:
        assert layer.depth_embedding.shape == (2, 6, channels)
        assert layer.backup_embedding.shape == (2, 1, channels)


@pytest.mark.parametrize("config", [SMALL, DENSE])
def test_asking_for_the_layers_changes_nothing_in_the_last(config):
    net, given = build(config).eval(), features()
    with torch.no_grad():
        last, every = net.decode(given), net.decode(given, layers=True)
    for name in ("class_logits", "mask_logits", "depth", "backup_depth"):
        torch.testing.assert_close(getattr(last, name), getattr(every, name))
    assert not torch.equal(every.layers[-1].depth, every.depth) or config is DENSE


def test_forward_is_the_backbone_and_decode(net):
    images = pictures()
    with torch.no_grad():
        assert torch.equal(net(images).mask_logits, net.decode(net.backbone_features(images)).mask_logits)


# --- what depth means -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [SMALL, DENSE])
def test_depth_lies_between_zero_and_the_largest(config):
    prediction = build(config).eval().decode(features())
    for depth in (prediction.depth, prediction.backup_depth):
        assert depth.min() >= 0
        assert depth.max() <= 50
        assert depth.std() > 0


def test_the_dense_head_gives_all_segments_one_map():
    prediction = build(DENSE).eval().decode(features())
    assert torch.equal(prediction.depth, prediction.backup_depth.expand(-1, 6, -1, -1))
    assert not any(name.startswith(("geometry.decoder", "geometry.backup")) for name in build(DENSE).state_dict())


def test_segments_do_not_depend_on_depth(net):
    given = features()
    with torch.no_grad():
        before = net.decode(given)
        for module in (net.depth_decoder, net.geometry):
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter))
        after = net.decode(given)
    assert torch.equal(before.mask_logits, after.mask_logits)
    assert not torch.allclose(before.depth, after.depth)


def test_a_shared_decoder_has_an_embedding_of_its_own_for_depth():
    torch.manual_seed(2)
    net, given = build(SHARED).eval(), features()
    own, shared = (set(build(config).state_dict()) for config in (SMALL, SHARED))
    assert shared < own  # a trained network with two decoders can hand its weights over
    assert {name for name in shared if name.startswith("depth_decoder.")} == {
        "depth_decoder.embed.weight",
        "depth_decoder.embed.bias",
    }
    with torch.no_grad():
        both = net.decode(given, layers=True)
        net.depth_decoder.embed.load_state_dict(net.semantic_decoder.embed.state_dict())
        same = net.decode(given, layers=True)
    assert not torch.allclose(both.depth_features, both.mask_features)
    assert torch.equal(same.depth_features, same.mask_features)
    for stride in ("stride8", "stride16", "stride32"):
        assert torch.equal(getattr(both.depth_maps, stride), getattr(both.semantic_maps, stride))


def test_uncertainty_is_a_second_product_and_changes_nothing_else():
    torch.manual_seed(8)
    plain, given = build(SMALL).eval(), features()
    net = build(UNCERTAIN).eval()
    assert {name for name in net.state_dict() if name not in plain.state_dict()} == {
        name for name in net.state_dict() if name.startswith("geometry.spread.")
    }
    net.load_state_dict(plain.state_dict(), strict=False)
    with torch.no_grad():
        before, start = plain.decode(given, layers=True), net.decode(given, layers=True)
        torch.nn.init.normal_(net.geometry.spread.spread.layers[-1].weight)
        told = net.decode(given)
    assert before.deviation is before.backup_deviation is None
    for name in ("class_logits", "mask_logits", "depth", "backup_depth"):
        assert torch.equal(getattr(before, name), getattr(start, name))
    # untrained, the same share of depth everywhere: 1.148 (68.3 % of a Laplace distribution) times sqrt(0.002)
    assert start.deviation.shape == told.deviation.shape == before.depth.shape
    torch.testing.assert_close(start.deviation, torch.full_like(before.depth, 0.05134), atol=1e-4, rtol=0)
    assert all(layer.spread_embedding is None for layer in start.layers)
    assert told.deviation.std() > 0
    assert told.backup_deviation.min() >= 1.147 * 0.002
    assert told.backup_deviation.max() <= 1.149


# --- attention masks ------------------------------------------------------------------------------------------------


def test_a_query_attends_inside_its_mask():
    embedding = torch.tensor([[[1.0, 0.0], [0.0, -1.0]]])
    level = torch.tensor([[[1.0, -1.0, 0.0], [1.0, -2.0, 3.0]]])
    keep = attention_mask(embedding, level)
    assert keep.tolist() == [[[[True, False, True], [False, True, False]]]]


def test_a_query_that_blocks_every_key_blocks_none():
    keep = attention_mask(torch.tensor([[[1.0], [-1.0]]]), torch.tensor([[[2.0, 3.0, 4.0]]]))
    assert keep.tolist() == [[[[True] * 3, [True] * 3]]]


def test_masks_of_nothing_still_give_numbers(net):
    with torch.no_grad():
        net.segment_head.mask.layers[2].weight.zero_()
        net.segment_head.mask.layers[2].bias.fill_(-1)
        net.semantic_decoder.embed.weight.zero_()
        net.semantic_decoder.embed.bias.fill_(1)
        prediction = net.decode(features())
    assert (prediction.mask_logits < 0).all()
    assert prediction.class_logits.isfinite().all()
    assert prediction.depth.isfinite().all()


def test_resizing_the_embedding_is_resizing_the_masks():
    embedding, queries = torch.randn(2, 8, 24, 40), torch.randn(2, 5, 8)
    masks = torch.einsum("bqc,bchw->bqhw", queries, embedding)
    for size, level in zip(
        [(3, 5), (6, 10), (12, 20)], resized_levels(embedding, [(3, 5), (6, 10), (12, 20)]), strict=True
    ):
        expected = F.interpolate(masks, size, mode="bilinear", align_corners=False)
        torch.testing.assert_close(torch.bmm(queries, level).unflatten(-1, size), expected)


def test_masks_carry_no_gradient():
    embedding = torch.randn(1, 8, 24, 40, requires_grad=True)
    level = resized_levels(embedding, [(3, 5)])[0]
    assert not level.requires_grad
    assert not attention_mask(torch.randn(1, 4, 8, requires_grad=True), level).requires_grad


# --- training and precision -----------------------------------------------------------------------------------------


def total(prediction: Prediction) -> torch.Tensor:
    """Something that depends on everything predicted."""
    return sum(
        (layer.class_logits * torch.randn_like(layer.class_logits)).sum()
        + (layer.mask_logits * torch.randn_like(layer.mask_logits)).sum()
        + (layer.depth * torch.randn_like(layer.depth)).sum()
        + (layer.backup_depth * torch.randn_like(layer.backup_depth)).sum()
        for layer in all_layers(prediction)
    )


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        DENSE,
        SHARED,
        UNCERTAIN,
        replace(
            SMALL, backbone=BackboneConfig(kind="swin", depths=(1, 2, 1, 1), embedding=8, heads=(1, 2, 2, 4), window=3)
        ),
    ],
    ids=["segment", "dense", "shared", "uncertain", "swin"],
)
def test_gradient_reaches_every_parameter(config):
    torch.manual_seed(6)
    net = build(config).train()
    decoders = [net.semantic_decoder] if config.depth_decoder == "shared" else [net.semantic_decoder, net.depth_decoder]
    for decoder in decoders:
        for layer in decoder.encoder:  # zero at the start, which stops the gradient towards their input
            torch.nn.init.normal_(layer.attention.offsets.weight, std=0.02)
            torch.nn.init.normal_(layer.attention.weights.weight, std=0.02)
    spread = 0.0
    if config.uncertainty:  # its last layer is zero at the start
        torch.nn.init.normal_(net.geometry.spread.spread.layers[-1].weight)
    prediction = net(pictures())
    if config.uncertainty:
        spread = (
            prediction.deviation * torch.rand_like(prediction.deviation)
        ).sum() + prediction.backup_deviation.sum()
    (total(prediction) + spread).backward()
    lost = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # Softmax ignores a shift of all its logits, and a bias of the keys is one.
    lost = [name for name in lost if not name.endswith(("key.bias", "k_proj.bias"))]
    assert not lost
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_the_last_layer_alone_trains_too(net):
    net.train()(pictures(), layers=False).backup_depth.sum().backward()
    assert net.geometry.backup.content.grad.abs().sum() > 0
    assert net.depth_decoder.embed.weight.grad.abs().sum() > 0


def test_bf16_autocast_trains():
    net = build(SMALL).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = total(net(pictures())).float()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("config", [SMALL, DENSE])
def test_float64_agrees_with_float32(config):
    net, given = build(config).eval(), features()
    double = Features(given.stride4.double(), given.stride8.double(), given.stride16.double(), given.stride32.double())
    with torch.no_grad():
        single = net.decode(given)
        exact = net.double().decode(double)
    assert exact.class_logits.dtype == exact.depth.dtype == torch.float64
    torch.testing.assert_close(single.class_logits, exact.class_logits.float(), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(single.depth, exact.depth.float(), atol=1e-2, rtol=1e-3)


def test_bf16_weights_decode(net):
    given = features()
    with torch.no_grad():
        expected = net.decode(given)
        low = net.bfloat16().decode(Features(*(m.bfloat16() for m in vars(given).values())))
    assert low.class_logits.dtype == torch.bfloat16
    assert low.depth.isfinite().all()
    # attention masks flip where a mask is nearly zero, so only the whole agrees, not each number
    difference = (low.class_logits.float() - expected.class_logits).abs().mean()
    assert difference < 0.3 * expected.class_logits.std()


def test_half_precision_keeps_the_normalisation_exact(net):
    images = torch.tensor([123.675, 116.28, 103.53])[:, None, None].expand(1, 3, 32, 32)
    with torch.no_grad():
        low = net.bfloat16().backbone_features(images)
        zero = net.backbone(torch.zeros(1, 3, 32, 32, dtype=torch.bfloat16))
    torch.testing.assert_close(low.stride4, zero.stride4, atol=1e-5, rtol=0)


def test_the_same_seed_builds_the_same_network():
    def made():
        torch.manual_seed(9)
        return build(SMALL).state_dict()

    first, second = made(), made()
    assert all(torch.equal(first[name], second[name]) for name in first)


# --- configurations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 48}, "network.width is 48, must be a multiple of 32"),
        (
            {"depth_head": "dense", "uncertainty": True},
            "network.uncertainty needs network.depth_head segment, not dense",
        ),
        ({"heads": 5}, r"network.width is 32, must be a multiple of 32 and of heads \(5\)"),
    ],
)
def test_sizes_that_do_not_fit_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        build(replace(SMALL, **change))


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("deepdps_r50", (256, 512, 1024, 2048)),
        ("deepdps_swin_t", (96, 192, 384, 768)),
        ("deepdps_swin_b", (128, 256, 512, 1024)),
    ],
)
def test_the_papers_networks_build(name, channels):
    network = load_config(CONFIGURATIONS / f"{name}.yaml").network
    with torch.device("meta"):
        net = build(network)
    assert net.backbone.channels == channels
    assert len(net.query_decoder.layers) == len(net.geometry.decoder.layers) == 9
    assert net.query_decoder.content.shape == (100, 256)


def test_the_street_network_is_small_enough_to_ship():
    net = build(load_config(CONFIGURATIONS / "street.yaml").network)
    assert sum(p.numel() for p in net.parameters()) < 12_500_000  # 25 MB in half precision


def calls(module: torch.nn.Module, method: str = "forward") -> list[int]:
    """A list that grows by one entry with each call of a module's method."""
    made, original = [], getattr(module, method)

    def counted(*args, **kwargs):
        made.append(1)
        return original(*args, **kwargs)

    setattr(module, method, counted)
    return made


def test_at_run_time_only_the_last_layer_is_classified_and_given_depth(net):
    classified, depths = calls(net.segment_head, "class_logits"), calls(net.geometry.head)
    enhanced = [calls(layer, "enhance") for layer in net.geometry.decoder.layers]
    with torch.no_grad():
        net(pictures())
    assert len(classified) == 1
    assert len(depths) == 2  # segments and backup
    assert [len(made) for made in enhanced] == [0, 0, 0, 1]
    with torch.no_grad():
        net(pictures(), layers=True)
    assert len(classified) == 1 + 5
    assert [len(made) for made in enhanced] == [1, 1, 1, 2]

"""The network's forms against independent ones: transformers' Mask2Former with the same weights."""

from dataclasses import replace

import pytest
import torch
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, ResNetConfig, SwinConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention,
    Mask2FormerSinePositionEmbedding,
)

from dvps_ros.checkpoints import from_transformers
from dvps_ros.config import BackboneConfig, NetworkConfig
from dvps_ros.network import build
from dvps_ros.network.deformable import DeformableAttention, reference_points
from dvps_ros.network.layers import sine_position

STAGES = ["stage1", "stage2", "stage3", "stage4"]
SWIN = BackboneConfig(kind="swin", depths=(1, 2, 1, 2), embedding=16, heads=(1, 2, 2, 4), window=4)
RESNET = BackboneConfig(depths=(1, 2, 1, 1), stem=16, widths=(32, 64, 64, 128))
NETWORK = NetworkConfig(
    classes=5,
    width=64,
    heads=4,
    encoder_layers=2,
    encoder_feedforward=48,
    queries=12,
    decoder_layers=5,
    feedforward=80,
)
HUGGING = {
    "swin": SwinConfig(
        depths=[1, 2, 1, 2],
        embed_dim=16,
        num_heads=[1, 2, 2, 4],
        window_size=4,
        drop_path_rate=0.0,
        out_features=STAGES,
    ),
    "resnet": ResNetConfig(depths=[1, 2, 1, 1], embedding_size=16, hidden_sizes=[32, 64, 64, 128], out_features=STAGES),
}


def mask2former(backbone) -> Mask2FormerForUniversalSegmentation:
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=64,
        mask_feature_size=64,
        hidden_dim=64,
        encoder_layers=2,
        encoder_feedforward_dim=48,
        dim_feedforward=80,
        num_attention_heads=4,
        num_queries=12,
        decoder_layers=6,
        num_labels=5,
    )
    model = Mask2FormerForUniversalSegmentation(config).eval()
    # Freshly made, several of its weights are zero or alike, which would hide mistakes.
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        for name, buffer in model.named_buffers():
            if name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
            if name.endswith("running_mean"):
                buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
    return model


@pytest.mark.parametrize("kind", ["swin", "resnet"])
@pytest.mark.parametrize("size", [(64, 96), (96, 160)])
def test_segments_agree_with_transformers_mask2former(kind, size):
    torch.manual_seed(1)
    reference = mask2former(HUGGING[kind])
    net = build(replace(NETWORK, backbone=SWIN if kind == "swin" else RESNET)).eval()
    missing, unexpected = net.load_state_dict(from_transformers(reference.state_dict()), strict=False)
    assert not unexpected
    assert all(name.startswith(("depth_decoder.", "geometry.")) for name in missing)

    images = torch.rand(2, 3, *size) * 255
    mean, deviation = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    normalised = (images - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    with torch.no_grad():
        expected = reference(normalised, output_auxiliary_logits=True)
        prediction = net(images, layers=True)

    torch.testing.assert_close(prediction.class_logits, expected.class_queries_logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(prediction.mask_logits, expected.masks_queries_logits, atol=1e-4, rtol=0)
    assert len(prediction.layers) == len(expected.auxiliary_logits) == 5
    for ours, theirs in zip(prediction.layers, expected.auxiliary_logits, strict=True):
        torch.testing.assert_close(ours.class_logits, theirs["class_queries_logits"], atol=1e-4, rtol=0)
        torch.testing.assert_close(ours.mask_logits, theirs["masks_queries_logits"], atol=1e-4, rtol=0)
    assert expected.masks_queries_logits.std() > 0.1  # not agreement of zeros


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_deformable_attention_agrees_with_transformers(dtype):
    torch.manual_seed(2)
    theirs = Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention(32, num_heads=4, n_levels=3, n_points=4)
    ours = DeformableAttention(32, heads=4, levels=3, points=4)
    names = {
        "sampling_offsets": "offsets",
        "attention_weights": "weights",
        "value_proj": "value",
        "output_proj": "output",
    }
    with torch.no_grad():
        for parameter in theirs.parameters():
            torch.nn.init.normal_(parameter, std=0.5)  # offsets of several pixels, also out of the map
    ours.load_state_dict({f"{names[(k := name.split('.'))[0]]}.{k[1]}": v for name, v in theirs.state_dict().items()})
    theirs, ours = theirs.to(dtype), ours.to(dtype)

    sizes = [(3, 5), (6, 10), (11, 20)]
    total = sum(height * width for height, width in sizes)
    query, value = torch.randn(2, total, 32, dtype=dtype), torch.randn(2, total, 32, dtype=dtype)
    reference = reference_points(sizes, "cpu", dtype)
    expected, _ = theirs(
        query,
        encoder_hidden_states=value,
        reference_points=reference[None, :, None].expand(2, -1, 3, -1),
        spatial_shapes_list=sizes,
    )
    tolerance = 1e-4 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(ours(query, value, reference, sizes), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(("height", "width"), [(3, 7), (16, 32)])
def test_position_code_agrees_with_transformers(height, width):
    theirs = Mask2FormerSinePositionEmbedding(num_position_features=16, normalize=True)
    expected = theirs(torch.Size((1, 32, height, width)), torch.device("cpu"), torch.float32)
    torch.testing.assert_close(sine_position(height, width, 32), expected.flatten(2).transpose(1, 2))

"""Small networks of transformers with random weights, saved as transformers saves them."""

import json

import torch
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    SwinConfig,
)

from dvps_ros.labels import CITYSCAPES

# Small tensors gain nothing from threads, and lose much where other processes want the cores.
torch.set_num_threads(1)

STAGES = ["stage1", "stage2", "stage3", "stage4"]
MAX_DEPTH = 80  # transformers wants a whole number


def small_swin():
    """The configuration of a Swin with maps of four strides."""
    return SwinConfig(embed_dim=16, depths=[1] * 4, num_heads=[1, 2, 2, 2], window_size=4, out_features=STAGES)


def save_segmentation(folder, names=CITYSCAPES.names, seed=0):
    """A Mask2Former of 8 queries for classes of these names."""
    torch.manual_seed(seed)
    config = Mask2FormerConfig(
        backbone_config=small_swin(),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=32,
        dim_feedforward=32,
        encoder_layers=1,
        decoder_layers=4,
        num_attention_heads=4,
        num_queries=8,
        id2label=dict(enumerate(names)),
    )
    network = Mask2FormerForUniversalSegmentation(config)
    with torch.no_grad():  # random weights are sure of nothing: make the classes differ
        network.class_predictor.weight.mul_(30)
        network.class_predictor.bias[-1] = -20.0
    network.save_pretrained(folder)
    return network.eval()


def save_depth(folder, kind="metric", seed=0):
    """A Depth Anything with metric head, up to MAX_DEPTH."""
    torch.manual_seed(seed)
    dino = Dinov2Config(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
        out_features=STAGES,
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=dino,
        reassemble_hidden_size=32,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=8,
        depth_estimation_type=kind,
        max_depth=MAX_DEPTH,
    )
    network = DepthAnythingForDepthEstimation(config)
    network.save_pretrained(folder)
    return network.eval()


def save_preprocessor(folder, mean, std):
    """The part of a preprocessor_config.json that says what pixels are."""
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": mean, "image_std": std}))

"""Small networks with random weights of each kind that a pair takes, saved as transformers saves them."""

import json

import torch
from pair_models import STAGES, small_swin
from transformers import (
    BeitConfig,
    CLIPTokenizer,
    DepthProConfig,
    DepthProForDepthEstimation,
    DetrConfig,
    EomtConfig,
    EomtDinov3Config,
    EomtDinov3ForUniversalSegmentation,
    EomtForUniversalSegmentation,
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
    OneFormerConfig,
    OneFormerForUniversalSegmentation,
    ZoeDepthConfig,
    ZoeDepthForDepthEstimation,
)

from dvps_ros.labels import CITYSCAPES

NAMES = dict(enumerate(CITYSCAPES.names))
#: Side of the square pictures of the networks that take no others.
SQUARE = 64
#: Sizes of both forms of EoMT.
EOMT = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": SQUARE,
    "patch_size": 16,
    "num_blocks": 1,
    "num_queries": 8,
    "num_register_tokens": 1,
    "id2label": NAMES,
}


def _maskformer():
    decoder = DetrConfig(
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_queries=8,
    )
    config = MaskFormerConfig(
        backbone_config=small_swin(), decoder_config=decoder, fpn_feature_size=32, mask_feature_size=32, id2label=NAMES
    )
    return MaskFormerForInstanceSegmentation(config)


def _oneformer():
    config = OneFormerConfig(
        backbone_config=small_swin(),
        id2label=NAMES,
        hidden_dim=32,
        conv_dim=32,
        mask_dim=32,
        num_queries=8,
        num_attention_heads=4,
        encoder_feedforward_dim=32,
        encoder_layers=1,
        decoder_layers=2,
        dim_feedforward=32,
        query_dec_layers=1,
        text_encoder_width=32,
        text_encoder_num_layers=1,
        text_encoder_vocab_size=99,
        is_training=False,
    )
    return OneFormerForUniversalSegmentation(config)


def _eomt():
    return EomtForUniversalSegmentation(EomtConfig(**EOMT))


def _eomt_dinov3():
    return EomtDinov3ForUniversalSegmentation(EomtDinov3Config(intermediate_size=64, **EOMT))


SEGMENTATIONS = {
    "maskformer": _maskformer,
    "oneformer": _oneformer,
    "eomt": _eomt,
    "eomt_dinov3": _eomt_dinov3,
}


def save_segmentation_of(kind, folder):
    """The network of a kind, whose queries differ in class; OneFormer's folder has a tokenizer of a few words."""
    torch.manual_seed(0)
    network = SEGMENTATIONS[kind]()
    with torch.no_grad():  # random weights are sure of nothing: make the classes differ
        [classifier] = [
            m for m in network.modules() if isinstance(m, torch.nn.Linear) and m.out_features == len(NAMES) + 1
        ]
        classifier.weight.mul_(100)
        classifier.bias[-1] = -20.0
    network.save_pretrained(folder)
    if kind == "oneformer":
        words = ["the", "task", "is", "panoptic"]
        vocabulary = [*(f"{word}</w>" for word in words), "<|startoftext|>", "<|endoftext|>"]
        pieces = sorted({letter for word in words for letter in word})
        tokens = [*pieces, *(f"{piece}</w>" for piece in pieces), *vocabulary]
        (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
        (folder / "merges.txt").write_text("#version: 0.2\n")
        CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    return network.eval()


def save_depth_pro(folder, tells_field_of_view=True):
    """A Depth Pro whose picture is a square of 128 pixels."""
    torch.manual_seed(0)
    vit = {
        "model_type": "dinov2",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
        "mlp_ratio": 1,
    }
    config = DepthProConfig(
        patch_size=32,
        fusion_hidden_size=16,
        intermediate_hook_ids=[1, 0],
        intermediate_feature_dims=[8, 8],
        scaled_images_ratios=[0.25, 0.5, 1.0],
        scaled_images_overlap_ratios=[0.0, 0.5, 0.25],
        scaled_images_feature_dims=[8, 8, 8],
        use_fov_model=tells_field_of_view,
        num_fov_head_layers=0,
        image_model_config=vit,
        patch_model_config=vit,
        fov_model_config=vit,
    )
    network = DepthProForDepthEstimation(config)
    network.save_pretrained(folder)
    return network.eval()


def save_zoedepth(folder):
    """A ZoeDepth of one range of depths."""
    torch.manual_seed(0)
    beit = BeitConfig(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=64,
        use_relative_position_bias=True,
        out_features=STAGES,
        reshape_hidden_states=False,
    )
    config = ZoeDepthConfig(
        backbone_config=beit,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        bottleneck_features=8,
        num_relative_features=8,
        bin_embedding_dim=8,
        num_attractors=[4, 2, 2, 1],
        bin_configurations=[{"n_bins": 8, "min_depth": 0.1, "max_depth": 80.0, "name": "street"}],
    )
    network = ZoeDepthForDepthEstimation(config)
    network.save_pretrained(folder)
    return network.eval()

"""The backbone: transformers' ResNet or Swin, giving maps at strides 4, 8, 16 and 32."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import AutoBackbone, PretrainedConfig, ResNetConfig, SwinConfig

from dvps_ros.config import BackboneConfig
from dvps_ros.structures import Features

_STAGES = ["stage1", "stage2", "stage3", "stage4"]


class Backbone(nn.Module):
    """A transformers backbone behind this project's vocabulary.

    Attributes: ``channels``, those of the maps at strides 4, 8, 16, 32.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.channels = tuple(model.channels)

    def forward(self, images: Tensor) -> Features:
        """Normalised images (B, 3, H, W), H and W multiples of 32 -> ``Features``."""
        return Features(*self.model(images.contiguous(memory_format=torch.channels_last)).feature_maps)


def build_backbone(config: BackboneConfig) -> Backbone:
    """A backbone of the configured sizes, with random weights or those that ``config.pretrained`` names.

    Raises
    ------
    ValueError : when sizes do not fit together, or the pretrained weights cannot be had or do not fit.
    """
    if len(config.depths) != 4:
        raise ValueError(f"network.backbone.depths needs four stages, got {len(config.depths)}")
    hugging = _resnet(config) if config.kind == "resnet" else _swin(config)
    model = _pretrained(config.pretrained, hugging) if config.pretrained else AutoBackbone.from_config(hugging)
    if config.kind == "swin":
        # SwinBackbone normalises each stage by itself and never uses this one's result.
        model.swin.layernorm = nn.Identity()
    return Backbone(model.to(memory_format=torch.channels_last))


def _resnet(config: BackboneConfig) -> ResNetConfig:
    if len(config.widths) != 4:
        raise ValueError(f"network.backbone.widths needs four stages, got {len(config.widths)}")
    return ResNetConfig(
        embedding_size=config.stem,
        hidden_sizes=list(config.widths),
        depths=list(config.depths),
        layer_type=config.block,
        downsample_in_bottleneck=False,
        out_features=_STAGES,
    )


def _swin(config: BackboneConfig) -> SwinConfig:
    if len(config.heads) != 4:
        raise ValueError(f"network.backbone.heads needs four stages, got {len(config.heads)}")
    return SwinConfig(
        embed_dim=config.embedding,
        depths=list(config.depths),
        num_heads=list(config.heads),
        window_size=config.window,
        drop_path_rate=config.drop_path,
        out_features=_STAGES,
    )


def _pretrained(name: str, hugging: PretrainedConfig) -> nn.Module:
    try:
        return AutoBackbone.from_pretrained(name, config=hugging)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"network.backbone.pretrained: no usable weights at {name!r} ({reason})") from error

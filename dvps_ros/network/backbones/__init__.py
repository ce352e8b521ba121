"""Backbones: from normalised images to maps at strides 4, 8, 16 and 32."""

from __future__ import annotations

from typing import Any

import torch

from dvps_ros.config import BackboneConfig
from dvps_ros.network.backbones.base import Backbone, is_derived
from dvps_ros.network.backbones.efficientnet import PIXELS, EfficientNetLite0
from dvps_ros.network.backbones.transformers_backbone import build_resnet, build_swin, canonical_name

__all__ = ["Backbone", "build_backbone", "canonical_name", "is_derived"]


def build_backbone(config: BackboneConfig) -> Backbone:
    """A backbone of the configured kind and sizes, randomly initialised.

    Raises ``ValueError`` when sizes do not fit together.
    """
    backbone: Any = _BUILD[config.kind](config)
    backbone.pixels = tuple(
        _thousandths(name, given) if (given := getattr(config, name)) else own
        for name, own in zip(("mean", "deviation"), backbone.pixels, strict=True)
    )
    return backbone.to(memory_format=torch.channels_last)  # which torch's types of Module.to do not know


def _thousandths(name: str, values: tuple[float, ...]) -> tuple[int, ...]:
    if len(values) != 3:
        raise ValueError(f"network.backbone.{name} must be three numbers (R, G, B), got {len(values)}")
    return tuple(round(1000 * value) for value in values)


def _build_efficientnet(config: BackboneConfig) -> Backbone:
    return Backbone(EfficientNetLite0(), EfficientNetLite0.channels, PIXELS, config.freeze_norms)


_BUILD = {"resnet": build_resnet, "swin": build_swin, "efficientnet_lite0": _build_efficientnet}

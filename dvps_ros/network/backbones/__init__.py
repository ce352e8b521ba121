"""Backbones: from normalised images to maps at strides 4, 8, 16 and 32."""

from __future__ import annotations

from typing import Any

import torch

from dvps_ros.config import BackboneConfig
from dvps_ros.network.backbones.auto_backbone import build_auto
from dvps_ros.network.backbones.base import IMAGENET, Backbone, Pixels, is_derived
from dvps_ros.network.backbones.efficientnet import PIXELS, EfficientNetLite0
from dvps_ros.network.backbones.transformers_backbone import build_resnet, build_swin, canonical_name

__all__ = ["Backbone", "build_backbone", "canonical_name", "expected_pixels", "is_derived"]


def build_backbone(config: BackboneConfig) -> Backbone:
    """A backbone of the configured kind and sizes, randomly initialised, in training mode.

    Raises ``ValueError`` when sizes do not fit together, or when parts are to be frozen of a kind that has none.
    """
    backbone: Any = _BUILD[config.kind](config)
    backbone.pixels = expected_pixels(config)
    backbone.freeze(config.freeze)
    return backbone.to(memory_format=torch.channels_last)  # which torch's types of Module.to do not know


def expected_pixels(config: BackboneConfig) -> Pixels:
    """Mean and deviation (R, G, B) of the pixels that a backbone expects, in thousandths of the 0..255 scale.

    Raises ``ValueError`` naming a setting that has not three numbers.
    """
    mean, deviation = _OWN_PIXELS.get(config.kind, IMAGENET)
    return (
        _thousandths("mean", config.mean) if config.mean else mean,
        _thousandths("deviation", config.deviation) if config.deviation else deviation,
    )


def _thousandths(name: str, values: tuple[float, ...]) -> tuple[int, ...]:
    if len(values) != 3:
        raise ValueError(f"network.backbone.{name} must be three numbers (R, G, B), got {len(values)}")
    return tuple(round(1000 * value) for value in values)


def _build_efficientnet(config: BackboneConfig) -> Backbone:
    model = EfficientNetLite0()
    return Backbone(model, EfficientNetLite0.channels, config.freeze_norms, model.parts())


#: Of the kinds whose published weights expect others than ImageNet's.
_OWN_PIXELS: dict[str, Pixels] = {"efficientnet_lite0": PIXELS}
_BUILD = {
    "resnet": build_resnet,
    "swin": build_swin,
    "efficientnet_lite0": _build_efficientnet,
    "auto": build_auto,
}

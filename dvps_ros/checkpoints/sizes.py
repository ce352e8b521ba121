"""Sizes of a network inferred from its weights, and comparison of two networks' sizes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from dvps_ros.config import BackboneConfig, NetworkConfig

_LEVELS = 3
#: Settings that do not depend on the shapes of weights.
_FREE = {"pretrained", "drop_path", "freeze_norms", "freeze", "mean", "deviation"}
#: What the network's depth means, which does not depend on shapes either.
_METRES = {"max_depth", "canonical_focal", "depth_head"}
#: Fields of the backbone that apply to one kind only.
_KINDS = {
    "stem": "resnet",
    "widths": "resnet",
    "block": "resnet",
    "embedding": "swin",
    "heads": "swin",
    "window": "swin",
    "settings": "auto",
}


def infer(weights: Mapping[str, Tensor], like: NetworkConfig) -> NetworkConfig:
    """Network configuration with the sizes of ``weights``, which have this project's names and their original shapes.

    It also shows whether depth has a pixel decoder of its own, and whether it has uncertainty. Settings that no shape
    determines are taken from ``like``: the number of attention heads, the range of depth, the kind of depth head.
    Raises ``ValueError`` naming a missing weight that every Mask2Former has.
    """
    queries, width = _shape(weights, "query_decoder.content", 2)
    encoder = "semantic_decoder.encoder"
    pairs = _shape(weights, f"{encoder}.0.attention.weights.weight", 2)[0] // _LEVELS
    if pairs % like.heads:
        raise ValueError(f"{pairs} attention heads x points are not a multiple of network.heads = {like.heads}")
    return replace(
        like,
        backbone=_backbone(weights, like.backbone),
        classes=_shape(weights, "segment_head.classify.weight", 2)[0] - 1,
        width=width,
        points=pairs // like.heads,
        encoder_layers=_count(weights, encoder),
        encoder_feedforward=_shape(weights, f"{encoder}.0.feedforward.expand.weight", 2)[0],
        **_depth(weights, like),
        queries=queries,
        decoder_layers=_count(weights, "query_decoder.layers"),
        feedforward=_shape(weights, "query_decoder.layers.0.feedforward.expand.weight", 2)[0],
    )


def difference(found: NetworkConfig, wanted: NetworkConfig, metres: bool = False) -> tuple[str, object, object] | None:
    """The first size in which the two differ: its configuration key, the value found and the value wanted; or None.

    With ``metres`` what their depth means must not differ either.
    """
    free = _FREE if metres else _FREE | _METRES
    if found.backbone.kind != wanted.backbone.kind:
        return "network.backbone.kind", found.backbone.kind, wanted.backbone.kind
    pairs = [("network.backbone", found.backbone, wanted.backbone), ("network", found, wanted)]
    for prefix, one, other in pairs:
        for name, value in vars(one).items():
            if name in free or name == "backbone":
                continue
            if prefix == "network.backbone" and _KINDS.get(name, found.backbone.kind) != found.backbone.kind:
                continue
            if value != getattr(other, name):
                return f"{prefix}.{name}", value, getattr(other, name)
    return None


def _backbone(weights: Mapping[str, Tensor], like: BackboneConfig) -> BackboneConfig:
    if like.kind == "auto":  # its weights say nothing that its settings do not
        return like
    model = "backbone.model"
    if f"{model}.swin.embeddings.patch_embeddings.projection.weight" in weights:
        layers = f"{model}.swin.encoder.layers"
        tables = [
            _shape(weights, f"{layers}.{i}.blocks.0.attention.relative_position_bias.relative_position_bias_table", 2)
            for i in range(4)
        ]
        return replace(
            like,
            kind="swin",
            depths=tuple(_count(weights, f"{layers}.{i}.blocks") for i in range(4)),
            embedding=_shape(weights, f"{model}.swin.embeddings.patch_embeddings.projection.weight", 4)[0],
            heads=tuple(heads for _, heads in tables),
            window=(math.isqrt(tables[0][0]) + 1) // 2,
        )
    stages = f"{model}.encoder.stages"
    bottleneck = f"{stages}.0.layers.0.layer.2.convolution.weight" in weights
    last = 2 if bottleneck else 1
    return replace(
        like,
        kind="resnet",
        block="bottleneck" if bottleneck else "basic",
        depths=tuple(_count(weights, f"{stages}.{i}.layers") for i in range(4)),
        stem=_shape(weights, f"{model}.embedder.embedder.convolution.weight", 4)[0],
        widths=tuple(_shape(weights, f"{stages}.{i}.layers.0.layer.{last}.convolution.weight", 4)[0] for i in range(4)),
    )


def _depth(weights: Mapping[str, Tensor], like: NetworkConfig) -> dict[str, Any]:
    """``depth_decoder`` and ``uncertainty``; those of ``like`` for weights without a depth half."""
    if not any(name.startswith("depth_decoder.") for name in weights):
        return {"depth_decoder": like.depth_decoder, "uncertainty": like.uncertainty}
    own = any(name.startswith("depth_decoder.encoder.") for name in weights)
    uncertainty = any(name.startswith("geometry.spread.") for name in weights)
    return {"depth_decoder": "own" if own else "shared", "uncertainty": uncertainty}


def _shape(weights: Mapping[str, Tensor], name: str, dimensions: int) -> tuple[int, ...]:
    value = weights.get(name)
    if value is None or value.ndim != dimensions:
        raise ValueError(f"another architecture: there is no {name} with {dimensions} dimensions")
    return tuple(value.shape)


def _count(weights: Mapping[str, Tensor], prefix: str) -> int:
    numbered = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    numbers = {int(match.group(1)) for name in weights if (match := numbered.match(name))}
    return max(numbers, default=-1) + 1

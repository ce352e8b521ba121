"""Predictions for the losses: one object per image, with all decoder layers stacked."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dvps_ros.structures import Prediction


@dataclass(frozen=True)
class Layers:
    """Predictions of all L layers for one image, first to last; depth from the first layer with geometry on.

    Attributes
    ----------
    class_logits : (L, Q, K+1).
    mask_embedding : (L, Q, C).
    mask_features : (C, h, w).
    depth_embedding : (L', Q, D), the last L' <= L layers.
    backup_embedding : (L', 1, D).
    depth_features : (D, h, w).
    max_depth : metres.
    spread_embedding, backup_spread_embedding : (Q, D) and (1, D) of the last layer; None without uncertainty.
    """

    class_logits: Tensor
    mask_embedding: Tensor
    mask_features: Tensor
    depth_embedding: Tensor
    backup_embedding: Tensor
    depth_features: Tensor
    max_depth: float
    spread_embedding: Tensor | None = None
    backup_spread_embedding: Tensor | None = None


def unbatch(prediction: Prediction) -> list[Layers]:
    """The images of a batch with all layers stacked, in full precision."""
    layers = (*prediction.layers, prediction)
    geometric = [layer for layer in layers if layer.depth_embedding.shape[1]]
    class_logits = torch.stack([full(layer.class_logits) for layer in layers], 1)
    mask_embedding = torch.stack([full(layer.mask_embedding) for layer in layers], 1)
    depth_embedding = torch.stack([full(layer.depth_embedding) for layer in geometric], 1)
    backup_embedding = torch.stack([full(layer.backup_embedding) for layer in geometric], 1)
    mask_features, depth_features = full(prediction.mask_features), full(prediction.depth_features)
    maps = (class_logits, mask_embedding, mask_features, depth_embedding, backup_embedding, depth_features)
    # the gradient of unbind is one stack; that of indexing would be a batch of zeros for each image
    images = [
        Layers(classes, masks, mask_maps, depths, backups, depth_maps, prediction.max_depth)
        for classes, masks, mask_maps, depths, backups, depth_maps in zip(*(m.unbind(0) for m in maps), strict=True)
    ]
    if prediction.spread_embedding is None or prediction.backup_spread_embedding is None:
        return images
    spreads = zip(full(prediction.spread_embedding), full(prediction.backup_spread_embedding), strict=True)
    return [
        replace(image, spread_embedding=segments, backup_spread_embedding=backup)
        for image, (segments, backup) in zip(images, spreads, strict=True)
    ]


def full(values: Tensor) -> Tensor:
    """``values`` of any shape, with half precision converted to float32 for sums over thousands of points."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def rows(embedding: Tensor, queries: Tensor) -> Tensor:
    """(L, Q, C) embeddings at (L, M) queries -> (L, M, C)."""
    return embedding.gather(1, queries[..., None].expand(-1, -1, embedding.shape[-1]))


def connected_zero(prediction: Prediction) -> Tensor:
    """The scalar 0, computed from every output of the network so that all parameters have a gradient."""
    outputs = [prediction.mask_features, prediction.depth_features]
    for layer in (*prediction.layers, prediction):
        outputs += [layer.class_logits, layer.mask_embedding, layer.depth_embedding, layer.backup_embedding]
    outputs += [m for m in (prediction.spread_embedding, prediction.backup_spread_embedding) if m is not None]
    return sum((full(output).sum() * 0 for output in outputs), outputs[0].new_zeros((), dtype=torch.float32))

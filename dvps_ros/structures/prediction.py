"""What the network says: feature maps, and queries with their masks and depths."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Features:
    """Backbone maps of one padded batch (H and W multiples of 32).

    Attributes: ``stride4`` (B, C4, H/4, W/4), ``stride8``, ``stride16``, ``stride32`` alike; floating point.
    """

    stride4: Tensor
    stride8: Tensor
    stride16: Tensor
    stride32: Tensor


#: Least and greatest scale of the Laplace distribution of ln depth that a network can tell.
SPREAD = (0.002, 1.0)
#: What a Laplace distribution of scale 1 has within one deviation of a normal one: 68.27 % of its mass.
DEVIATION = -math.log(1 - math.erf(math.sqrt(0.5)))


@dataclass(frozen=True)
class Prediction:
    """What the network says of one batch: per query a class, a mask and a depth map; and one backup depth map.

    Masks and depths are products of a small embedding per query and a feature map, and are multiplied out only when
    asked for: at run time a handful of the Q queries is kept, and only theirs are ever computed.

    Attributes
    ----------
    class_logits : (B, Q, K+1); the last column is "no object".
    mask_embedding : (B, Q, C).
    mask_features : (B, C, h, w), E_pixel of the paper.
    depth_embedding : (B, Q, D); D = C, or 1 for the dense-head ablation.
    backup_embedding : (B, 1, D).
    depth_features : (B, D, h, w), E_depth of the paper.
    max_depth : metres at sigmoid = 1.
    layers : the predictions of earlier decoder layers, first to last; empty unless asked for.
    semantic_maps, depth_maps : what the two pixel decoders gave at strides 4 (E_pixel, E_depth), 8, 16 and 32, all
        (B, C, H/s, W/s); None unless layers were asked for.
    spread_embedding, backup_spread_embedding : (B, Q, D) and (B, 1, D); their product with E_depth is the spread of ln
        depth. None where the network tells none, and in ``layers``.
    """

    class_logits: Tensor
    mask_embedding: Tensor
    mask_features: Tensor
    depth_embedding: Tensor
    backup_embedding: Tensor
    depth_features: Tensor
    max_depth: float
    layers: tuple[Prediction, ...] = ()
    semantic_maps: Features | None = None
    depth_maps: Features | None = None
    spread_embedding: Tensor | None = None
    backup_spread_embedding: Tensor | None = None

    @property
    def mask_logits(self) -> Tensor:
        """(B, Q, h, w) mask logits of every query."""
        return _product(self.mask_embedding, self.mask_features)

    @property
    def depth(self) -> Tensor:
        """(B, Q, h, w) float32 (or float64) depth of every query, in metres for the network's own focal length,
        0..max_depth."""
        return self.max_depth * _exact_product(self.depth_embedding, self.depth_features).sigmoid()

    @property
    def backup_depth(self) -> Tensor:
        """(B, 1, h, w) depth for pixels that no kept segment covers, as ``depth``."""
        return self.max_depth * _exact_product(self.backup_embedding, self.depth_features).sigmoid()

    @property
    def deviation(self) -> Tensor | None:
        """(B, Q, h, w) one standard deviation of every query's depth, as a share of that depth; None: not told."""
        return self._deviation(self.spread_embedding)

    @property
    def backup_deviation(self) -> Tensor | None:
        """(B, 1, h, w) that of ``backup_depth``."""
        return self._deviation(self.backup_spread_embedding)

    def _deviation(self, embedding: Tensor | None) -> Tensor | None:
        if embedding is None:
            return None
        return DEVIATION * log_spread(_exact_product(embedding, self.depth_features)).exp()

    def select(self, index: int, queries: Tensor) -> Prediction:
        """Only image ``index`` of the batch and its ``queries`` (N,) int64: a prediction with B = 1, Q = N."""
        spread, backup_spread = self.spread_embedding, self.backup_spread_embedding
        return Prediction(
            self.class_logits[index, queries][None],
            self.mask_embedding[index, queries][None],
            self.mask_features[index][None],
            self.depth_embedding[index, queries][None],
            self.backup_embedding[index][None],
            self.depth_features[index][None],
            self.max_depth,
            spread_embedding=None if spread is None else spread[index, queries][None],
            backup_spread_embedding=None if backup_spread is None else backup_spread[index][None],
        )


def log_spread(product: Tensor) -> Tensor:
    """ln of the Laplace scale of ln depth, within ``SPREAD``, from a product of any shape of embedding and features."""
    least, greatest = map(math.log, SPREAD)
    return least + (greatest - least) * product.sigmoid()


def _product(embedding: Tensor, features: Tensor) -> Tensor:
    return torch.einsum("bqc,bchw->bqhw", embedding, features)


def _exact_product(embedding: Tensor, features: Tensor) -> Tensor:
    """The product in float32 at least: what float16 tells apart at 0.5 of a sigmoid is 2 to 4 cm of 80 m."""
    working = torch.promote_types(embedding.dtype, torch.float32)
    with torch.autocast(embedding.device.type, enabled=False):
        return _product(embedding.to(working), features.to(working))

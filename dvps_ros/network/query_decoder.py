"""Segment queries: masked attention from learned queries to the semantic pixel features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dvps_ros.network.heads import SegmentHead
from dvps_ros.network.layers import AttentionBlock, FeedForward


@dataclass(frozen=True)
class SegmentQueries:
    """The queries after one decoder layer.

    Attributes: ``queries`` (B, Q, C), X_i of the paper; ``mask_embedding`` (B, Q, C), from which M_i is multiplied.
    """

    queries: Tensor
    mask_embedding: Tensor


class SegmentLayer(nn.Module):
    """Masked cross-attention, self-attention, feed-forward (Mask2Former's order)."""

    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.cross = AttentionBlock(width, heads)
        self.among = AttentionBlock(width, heads)
        self.feedforward = FeedForward(width, hidden)

    def forward(self, queries: Tensor, position: Tensor, key: Tensor, value: Tensor, keep: Tensor) -> Tensor:
        """Queries (B, Q, C) -> (B, Q, C); key, value (B, N, C) of one level, ``keep`` (B, 1, Q, N) bool."""
        queries = self.cross(queries, position, key, value, keep)
        queries = self.among.among(queries, position)
        return self.feedforward(queries)


class QueryDecoder(nn.Module):
    """Q learned contents and positions, refined layer by layer; layer i reads level i mod 3."""

    def __init__(self, queries: int, width: int, heads: int, layers: int, hidden: int, levels: int = 3):
        super().__init__()
        self.content = nn.Parameter(torch.randn(queries, width))
        self.position = nn.Parameter(torch.randn(queries, width))
        self.level = nn.Parameter(torch.randn(levels, width))
        self.layers = nn.ModuleList(SegmentLayer(width, heads, hidden) for _ in range(layers))

    def forward(
        self, levels: Sequence[Tensor], positions: Sequence[Tensor], mask_levels: Sequence[Tensor], head: SegmentHead
    ) -> list[SegmentQueries]:
        """Run all layers.

        Parameters
        ----------
        levels : semantic tokens (B, N_l, C) of strides 32, 16, 8.
        positions : their sine codes (1, N_l, C).
        mask_levels : E_pixel resized to each level, (B, C, N_l).
        head : gives the mask embeddings that steer the attention.

        Returns
        -------
        One entry for the initial queries and one for each layer.
        """
        values = [tokens + vector for tokens, vector in zip(levels, self.level, strict=True)]
        keys = [value + position for value, position in zip(values, positions, strict=True)]
        queries = self.content.expand(levels[0].shape[0], -1, -1)
        states = [SegmentQueries(queries, head.mask_embedding(queries))]
        for i, layer in enumerate(self.layers):
            level = i % len(levels)
            keep = attention_mask(states[-1].mask_embedding, mask_levels[level])
            queries = layer(queries, self.position, keys[level], values[level], keep)
            states.append(SegmentQueries(queries, head.mask_embedding(queries)))
        return states


@torch.no_grad()
def attention_mask(mask_embedding: Tensor, mask_level: Tensor) -> Tensor:
    """Which keys of a level each query may look at: those inside its own mask, or all where that is empty.

    Parameters
    ----------
    mask_embedding : (B, Q, C).
    mask_level : E_pixel resized to the level, (B, C, N). Bilinear resizing is linear, so this product equals the
        resized mask logits.

    Returns
    -------
    (B, 1, Q, N) bool, without gradient.
    """
    inside = torch.bmm(mask_embedding, mask_level) >= 0  # sigmoid >= 0.5
    return (inside | ~inside.any(dim=-1, keepdim=True))[:, None]

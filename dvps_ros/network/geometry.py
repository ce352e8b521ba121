"""Geometric query enhancement: latents that carry depth to the segment queries, and the backup query (section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from dvps_ros.network.heads import DenseDepthHead, DepthHead, SpreadHead
from dvps_ros.network.layers import AttentionBlock, FeedForward
from dvps_ros.network.pixel_decoder import PixelFeatures
from dvps_ros.network.query_decoder import SegmentQueries, attention_mask


@dataclass(frozen=True)
class DepthEmbeddings:
    """Depth as products: of ``features`` (B, D, h, w) with the embeddings of one or more layers, first to last.

    Attributes: ``segments``, each (B, Q, D); ``backups``, each (B, 1, D); ``spread`` (B, Q, D) and ``backup_spread``
    (B, 1, D) of the last layer, None where the network tells no spread.
    """

    features: Tensor
    segments: tuple[Tensor, ...]
    backups: tuple[Tensor, ...]
    spread: Tensor | None = None
    backup_spread: Tensor | None = None


class GeometryLayer(nn.Module):
    """Encode, process, decode, feed-forward of one decoder layer; ``latents`` and ``queries`` are (B, Q, C)."""

    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.encode = AttentionBlock(width, heads)
        self.process = AttentionBlock(width, heads)
        self.decode = AttentionBlock(width, heads)
        self.feedforward = FeedForward(width, hidden)

    def update(self, latents: Tensor, position: Tensor, key: Tensor, value: Tensor, keep: Tensor) -> Tensor:
        """Latents after reading one depth level (key, value (B, N, C)) inside their queries' masks, and each other."""
        latents = self.encode(latents, position, key, value, keep)
        return self.process.among(latents, position)

    def enhance(self, queries: Tensor, query_position: Tensor, latents: Tensor, position: Tensor) -> Tensor:
        """Geometry-enhanced queries D_i (B, Q, C): segment queries after reading the latents."""
        return self.feedforward(self.decode(queries, query_position, latents + position, latents))


class GeometryDecoder(nn.Module):
    """Q learned latents and positions, carried from layer to layer beside the segment queries."""

    def __init__(self, queries: int, width: int, heads: int, layers: int, hidden: int):
        super().__init__()
        self.latents = nn.Parameter(torch.randn(queries, width))
        self.position = nn.Parameter(torch.randn(queries, width))
        self.layers = nn.ModuleList(GeometryLayer(width, heads, hidden) for _ in range(layers))

    def forward(
        self,
        segments: Sequence[SegmentQueries],
        query_position: Tensor,
        keys: Sequence[Tensor],
        values: Sequence[Tensor],
        mask_levels: Sequence[Tensor],
        every: bool,
    ) -> list[Tensor]:
        """Geometry-enhanced queries.

        Parameters
        ----------
        segments : the segment queries after each of the layers (not the initial ones).
        query_position : their learned positions (Q, C).
        keys, values : depth tokens (B, N_l, C) of strides 32, 16, 8, keys with position code.
        mask_levels : E_pixel resized to each level, (B, C, N_l).
        every : give D_i of every layer; otherwise of the last alone, as no layer needs an earlier D_i.
        """
        latents = self.latents.expand(values[0].shape[0], -1, -1)
        enhanced = []
        layers = cast("Iterable[GeometryLayer]", self.layers)
        for i, (layer, segment) in enumerate(zip(layers, segments, strict=True)):
            level = i % len(values)
            keep = attention_mask(segment.mask_embedding, mask_levels[level])
            latents = layer.update(latents, self.position, keys[level], values[level], keep)
            if every or i == len(self.layers) - 1:
                enhanced.append(layer.enhance(segment.queries, query_position, latents, self.position))
        return enhanced


class BackupLayer(nn.Module):
    """Unmasked cross-attention and feed-forward of the backup query on one depth level."""

    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.cross = AttentionBlock(width, heads)
        self.feedforward = FeedForward(width, hidden)


class BackupQuery(nn.Module):
    """One learned query that sees the whole image; its weights belong to the levels and are reused over the layers."""

    def __init__(self, width: int, heads: int, layers: int, hidden: int, levels: int = 3):
        super().__init__()
        self.steps = layers
        self.content = nn.Parameter(torch.randn(1, width))
        self.position = nn.Parameter(torch.randn(1, width))
        self.levels = nn.ModuleList(BackupLayer(width, heads, hidden) for _ in range(min(levels, layers)))

    def forward(self, keys: Sequence[Tensor], values: Sequence[Tensor]) -> list[Tensor]:
        """The query (B, 1, C) after each layer; keys and values as in ``GeometryDecoder``."""
        # A level's weights and tokens are the same each time it is read, so its projections are too.
        levels = cast("list[BackupLayer]", list(self.levels))
        memories = [
            level.cross.attention.memory(key, value) for level, key, value in zip(levels, keys, values, strict=False)
        ]
        query = self.content.expand(values[0].shape[0], -1, -1)
        history = []
        for i in range(self.steps):
            level, memory = levels[i % len(values)], memories[i % len(values)]
            read = level.cross.attention.read(query + self.position, memory)
            query = level.feedforward(level.cross.norm(query + read))
            history.append(query)
        return history


class GeometricDepth(nn.Module):
    """Depth of every segment from its geometry-enhanced query, and of the rest of the image from the backup query."""

    def __init__(
        self,
        decoder: GeometryDecoder,
        backup: BackupQuery,
        head: DepthHead,
        width: int,
        spread: SpreadHead | None = None,
        levels: int = 3,
    ):
        super().__init__()
        self.level = nn.Parameter(torch.randn(levels, width))
        self.decoder = decoder
        self.backup = backup
        self.head = head
        self.spread = spread

    def forward(
        self,
        segments: Sequence[SegmentQueries],
        query_position: Tensor,
        depth: PixelFeatures,
        positions: Sequence[Tensor],
        mask_levels: Sequence[Tensor],
        every: bool,
    ) -> DepthEmbeddings:
        """Depth embeddings (B, Q, C) and (B, 1, C) of every layer, or of the last alone.

        ``segments``, ``query_position`` (Q, C), ``mask_levels`` (B, C, N_l) and ``every`` as in ``GeometryDecoder``;
        ``depth`` comes from the depth decoder, ``positions`` (1, N_l, C) are the levels' sine codes.
        """
        values = [tokens + vector for tokens, vector in zip(depth.levels, self.level, strict=True)]
        keys = [value + position for value, position in zip(values, positions, strict=True)]
        enhanced = self.decoder(segments, query_position, keys, values, mask_levels, every)
        backups = self.backup(keys, values)[-len(enhanced) :]
        return DepthEmbeddings(
            depth.embedding,
            tuple(self.head(query) for query in enhanced),
            tuple(self.head(query) for query in backups),
            None if self.spread is None else self.spread(enhanced[-1]),
            None if self.spread is None else self.spread(backups[-1]),
        )


class DenseDepth(nn.Module):
    """One depth map that all segments share: the paper's ablation A."""

    def __init__(self, head: DenseDepthHead):
        super().__init__()
        self.head = head

    def forward(
        self,
        segments: Sequence[SegmentQueries],
        query_position: Tensor,
        depth: PixelFeatures,
        positions: Sequence[Tensor],
        mask_levels: Sequence[Tensor],
        every: bool,
    ) -> DepthEmbeddings:
        """The map as the only feature (B, 1, h, w), embeddings of one; arguments as in ``GeometricDepth``."""
        features = self.head(depth.embedding)
        queries = segments[-1].queries
        embedding = features.new_ones((*queries.shape[:2], 1))
        count = len(segments) if every else 1
        return DepthEmbeddings(features, (embedding,) * count, (embedding[:, :1],) * count)

"""The pixel decoder (deepened multi-scale features and a stride-4 embedding); one or two in DvpsNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dvps_ros.network.deformable import DeformableLayer, reference_points
from dvps_ros.structures import Features


@dataclass(frozen=True)
class PixelFeatures:
    """What one pixel decoder gives.

    Attributes
    ----------
    levels : tokens (B, h_l * w_l, C) of strides 32, 16, 8, rows first.
    embedding : (B, C, H/4, W/4), E of the paper.
    fused : (B, C, H/4, W/4), what a 1x1 convolution makes ``embedding`` of.
    """

    levels: tuple[Tensor, ...]
    embedding: Tensor
    fused: Tensor

    def maps(self, sizes: Sequence[tuple[int, int]]) -> Features:
        """All four as maps; ``sizes`` are the (height, width) of strides 32, 16, 8."""
        coarse = [
            tokens.transpose(1, 2).unflatten(-1, tuple(size)) for tokens, size in zip(self.levels, sizes, strict=True)
        ]
        return Features(self.embedding, *reversed(coarse))


class PixelDecoder(nn.Module):
    """MSDeformAttn pixel decoder (Cheng et al., Mask2Former, CVPR 2022; He et al. 2023, section 3).

    Parameters
    ----------
    channels : of the backbone's strides 4, 8, 16, 32.
    width, heads, points, layers, hidden : C, attention heads, sampling points, encoder layers, their hidden size.
    """

    def __init__(self, channels: Sequence[int], width: int, heads: int, points: int, layers: int, hidden: int):
        super().__init__()
        fine, *coarse = channels
        self.project = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channel, width, 1), nn.GroupNorm(32, width)) for channel in reversed(coarse)
        )
        self.level = nn.Parameter(torch.randn(len(coarse), width))
        self.encoder = nn.ModuleList(DeformableLayer(width, heads, len(coarse), points, hidden) for _ in range(layers))
        self.lateral = nn.Sequential(nn.Conv2d(fine, width, 1, bias=False), nn.GroupNorm(32, width))
        self.fuse = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(32, width), nn.ReLU(inplace=True)
        )
        self.embed = nn.Conv2d(width, width, 1)
        self._initialise()

    def _initialise(self) -> None:
        for projection in self.project.modules():
            if isinstance(projection, nn.Conv2d):
                nn.init.xavier_uniform_(projection.weight)
                _zero_bias(projection)
        for convolution in (self.lateral[0], self.fuse[0], self.embed):
            nn.init.kaiming_uniform_(cast("nn.Conv2d", convolution).weight, a=1)
        _zero_bias(self.embed)

    def forward(self, features: Features, positions: Sequence[Tensor]) -> PixelFeatures:
        """Backbone maps and the sine position codes (1, h_l * w_l, C) of strides 32, 16, 8 -> ``PixelFeatures``."""
        maps = [
            project(feature)
            for project, feature in zip(
                self.project, (features.stride32, features.stride16, features.stride8), strict=True
            )
        ]
        sizes = [(m.shape[-2], m.shape[-1]) for m in maps]
        tokens = torch.cat([m.flatten(2).transpose(1, 2) for m in maps], dim=1)  # (B, N, C)
        position = torch.cat([code + vector for code, vector in zip(positions, self.level, strict=True)], dim=1)
        reference = reference_points(sizes, tokens.device, torch.promote_types(tokens.dtype, torch.float32))
        for layer in self.encoder:
            tokens = layer(tokens, position, reference, sizes)
        levels = tokens.split([height * width for height, width in sizes], dim=1)

        stride8 = levels[-1].transpose(1, 2).unflatten(-1, sizes[-1])  # (B, C, H/8, W/8)
        lateral = self.lateral(features.stride4)
        fused = self.fuse(lateral + _upsample(stride8, lateral))
        return PixelFeatures(levels, self.embed(fused), fused)


class SharedPixelDecoder(nn.Module):
    """Depth's part of a pixel decoder that serves both tasks: an embedding of its own.

    Half the cost of two, which the paper has. The levels are those of the semantic decoder; who reads them for depth
    adds its own level vectors and projects them for itself.
    """

    def __init__(self, width: int):
        super().__init__()
        self.embed = nn.Conv2d(width, width, 1)
        nn.init.kaiming_uniform_(self.embed.weight, a=1)
        _zero_bias(self.embed)

    def forward(self, semantic: PixelFeatures) -> PixelFeatures:
        """What the semantic decoder gave, with E_depth in place of E_pixel."""
        return replace(semantic, embedding=self.embed(semantic.fused))


def _upsample(feature: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(feature, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _zero_bias(convolution: nn.Conv2d) -> None:
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)

"""Multi-scale deformable attention (Zhu et al., Deformable DETR, ICLR 2021) in plain PyTorch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dvps_ros.network.layers import FeedForward


class DeformableAttention(nn.Module):
    """Each token reads a few learned places around itself on every level (MSDeformAttn).

    Parameters: ``width`` C, ``heads`` dividing it, ``levels`` L maps, ``points`` P per head and level.
    """

    def __init__(self, width: int, heads: int, levels: int, points: int):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.heads, self.levels, self.points = heads, levels, points
        self.offsets = nn.Linear(width, heads * levels * points * 2)
        self.weights = nn.Linear(width, heads * levels * points)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self._initialise()

    def _initialise(self) -> None:
        # Every head starts looking in its own direction, point p at p pixels (on the square, not the circle).
        angle = torch.arange(self.heads) * (2 * math.pi / self.heads)
        direction = torch.stack((angle.cos(), angle.sin()), dim=-1)
        direction = direction / direction.abs().amax(dim=-1, keepdim=True)
        distance = torch.arange(1, self.points + 1)
        bias = direction[:, None, None, :] * distance[None, None, :, None]
        nn.init.zeros_(self.offsets.weight)
        with torch.no_grad():
            self.offsets.bias.copy_(bias.expand(-1, self.levels, -1, -1).flatten())
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)
        for projection in (self.value, self.output):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(self, query: Tensor, value: Tensor, reference: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Sample ``value`` around ``reference``.

        Parameters
        ----------
        query : (B, Q, C), position code included.
        value : (B, N, C), the levels' pixels one level after the other, rows first.
        reference : (Q, 2) x, y in 0..1 of every query.
        sizes : (height, width) of each level; the products sum to N.

        Returns
        -------
        (B, Q, C). Outside a map the value is zero; inside it is bilinear with pixel centres at half integers.
        """
        batch, queries, _ = query.shape
        # Places on a map need float32: half precision moves them by up to half a pixel.
        working = torch.promote_types(query.dtype, torch.float32)
        # Queries stand last, so that softmax and sums over the few points run along the many queries.
        offsets = self._by_head(self.offsets, query).to(working).unflatten(1, (self.levels, self.points, 2))
        weights = self._by_head(self.weights, query).to(working).softmax(1).unflatten(1, (self.levels, self.points))
        value = self._by_head(self.value, value)
        maps = value.to(working)  # (B*heads, C/heads, N)
        center_x, center_y = (2 * reference.to(working) - 1).unbind(-1)  # -1..1, as grid_sample counts

        read: Tensor | None = None
        start = 0
        for level, (height, width) in enumerate(sizes):
            x = torch.add(center_x, offsets[:, level, :, 0], alpha=2 / width)  # (B*heads, P, Q)
            y = torch.add(center_y, offsets[:, level, :, 1], alpha=2 / height)
            level_map = maps[:, :, start : start + height * width].unflatten(-1, (height, width))
            sampled = F.grid_sample(
                level_map, torch.stack((x, y), dim=-1), mode="bilinear", padding_mode="zeros", align_corners=False
            )
            weight = weights[:, None, level]
            # The samples are the network's largest tensor: one level at a time, no copy where none is needed.
            sampled = sampled * weight if sampled.requires_grad else sampled.mul_(weight)
            part = sampled.sum(-2)  # (B*heads, C/heads, Q)
            read = part if read is None else read + part
            start += height * width
        assert read is not None, "there is at least one level"
        return self.output(read.view(batch, -1, queries).transpose(1, 2).to(value.dtype))

    def _by_head(self, projection: nn.Linear, tokens: Tensor) -> Tensor:
        """The projection (B*heads, n, Q), contiguous, of tokens (B, Q, C) to heads * n channels.

        The matrix product itself puts the channels first. To transpose its result takes as long as the product.
        """
        weight = projection.weight.expand(tokens.shape[0], -1, -1)
        first = torch.baddbmm(projection.bias[:, None], weight, tokens.transpose(1, 2))  # (B, heads*n, Q)
        return first.unflatten(1, (self.heads, -1)).flatten(0, 1)


class DeformableLayer(nn.Module):
    """One encoder layer: deformable self-attention over all levels, then feed-forward; post-norm."""

    def __init__(self, width: int, heads: int, levels: int, points: int, hidden: int):
        super().__init__()
        self.attention = DeformableAttention(width, heads, levels, points)
        self.norm = nn.LayerNorm(width)
        self.feedforward = FeedForward(width, hidden)

    def forward(self, tokens: Tensor, position: Tensor, reference: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Tokens (B, N, C) of all levels -> (B, N, C); ``position`` (1, N, C), the rest as in the attention."""
        tokens = self.norm(tokens + self.attention(tokens + position, tokens, reference, sizes))
        return self.feedforward(tokens)


def reference_points(sizes: Sequence[tuple[int, int]], device: torch.device | str, dtype: torch.dtype) -> Tensor:
    """Pixel centres of all levels, one level after the other, rows first: (N, 2) x, y in 0..1."""
    points = []
    for height, width in sizes:
        y = (torch.arange(height, device=device, dtype=dtype) + 0.5) / height
        x = (torch.arange(width, device=device, dtype=dtype) + 0.5) / width
        points.append(torch.stack((x.expand(height, width), y[:, None].expand(height, width)), dim=-1).flatten(0, 1))
    return torch.cat(points)

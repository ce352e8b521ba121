"""The small blocks that both decoders are made of: post-norm attention, feed-forward, MLP, sine position code."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al., 2017) with separate projections of query, key and value.

    Shapes: query (B, Q, C), key and value (B, N, C) -> (B, Q, C). Raises ``ValueError`` unless heads divides width.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        for projection in (self.query, self.key, self.value):
            # Xavier of the three stacked as one (3C, C) matrix, the way Mask2Former draws them.
            nn.init.xavier_uniform_(projection.weight, gain=1 / math.sqrt(2))
            nn.init.zeros_(projection.bias)
        nn.init.xavier_uniform_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def memory(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, N, C) projected and split into heads, both (B, heads, N, C / heads)."""
        return self._split(self.key(key)), self._split(self.value(value))

    def read(self, query: Tensor, memory: tuple[Tensor, Tensor], keep: Tensor | None = None) -> Tensor:
        """Attend from ``query`` (B, Q, C) to what ``memory`` returned; ``keep`` as in ``forward``."""
        attended = _attend(self._split(self.query(query)), *memory, keep)
        return self.output(attended.transpose(1, 2).flatten(2))

    def forward(self, query: Tensor, key: Tensor, value: Tensor, keep: Tensor | None = None) -> Tensor:
        """Attend; ``keep`` (B, 1, Q, N) bool, True where a query may look at a key, each row with at least one."""
        return self.read(query, self.memory(key, value), keep)

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class AttentionBlock(nn.Module):
    """Residual attention with LayerNorm after it; the position code is added to queries alone."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention = Attention(width, heads)
        self.norm = nn.LayerNorm(width)

    def forward(
        self, query: Tensor, query_position: Tensor, key: Tensor, value: Tensor, keep: Tensor | None = None
    ) -> Tensor:
        """Queries (B, Q, C) after reading ``value`` (B, N, C) by ``key`` (B, N, C, its position code included).

        ``query_position`` broadcasts to the queries; ``keep`` (B, 1, Q, N) bool as in ``Attention``.
        """
        return self.norm(query + self.attention(query + query_position, key, value, keep))

    def among(self, query: Tensor, position: Tensor) -> Tensor:
        """Self-attention of (B, Q, C) queries: positions on queries and keys, not on values."""
        key = query + position
        return self.norm(query + self.attention(key, key, query))


class FeedForward(nn.Module):
    """Residual two-layer perceptron with ReLU, LayerNorm after it: (..., C) -> (..., C)."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width)
        nn.init.xavier_uniform_(self.expand.weight)
        nn.init.xavier_uniform_(self.contract.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (..., C) -> (..., C)."""
        return self.norm(tokens + self.contract(F.relu(self.expand(tokens))))


class MLP(nn.Module):
    """Three linear layers C-C-C with ReLU between them."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(3))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (..., C) -> (..., C)."""
        first, second, last = self.layers
        return last(F.relu(second(F.relu(first(tokens)))))


def _attend(query: Tensor, key: Tensor, value: Tensor, keep: Tensor | None) -> Tensor:
    if query.device.type != "cpu" or query.dtype not in (torch.bfloat16, torch.float16):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=keep)
    # On a CPU the backward pass of half precision attention takes three to ten times that of float32.
    with torch.autocast("cpu", enabled=False):
        attended = F.scaled_dot_product_attention(query.float(), key.float(), value.float(), attn_mask=keep)
    return attended.to(query.dtype)


def sine_position(
    height: int, width: int, channels: int, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Tensor:
    """Sine position code of a height x width map (Carion et al., DETR, ECCV 2020), (1, height * width, channels).

    Half of the channels for y, then half for x; sine and cosine interleaved; coordinates 1..n scaled to 2 pi.
    """
    half = channels // 2
    # float32 at least: bf16 cannot tell neighbouring pixels of a long row apart.
    working = torch.promote_types(dtype, torch.float32)
    index = torch.arange(half, device=device)
    period = 10000.0 ** (2 * (index // 2).to(working) / half)

    def axis(size: int) -> Tensor:
        coordinate = torch.arange(1, size + 1, device=device, dtype=working)
        phase = (coordinate / (size + 1e-6) * 2 * math.pi)[:, None] / period
        return torch.stack((phase[:, 0::2].sin(), phase[:, 1::2].cos()), dim=-1).flatten(1)  # (size, half)

    rows = axis(height)[:, None].expand(height, width, half)
    columns = axis(width)[None].expand(height, width, half)
    return torch.cat((rows, columns), dim=-1).flatten(0, 1)[None].to(dtype)

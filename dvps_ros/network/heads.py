"""From queries to what is predicted: classes, mask embeddings, depth embeddings; and the dense depth ablation."""

from __future__ import annotations

from torch import Tensor, nn

from dvps_ros.network.layers import MLP


class SegmentHead(nn.Module):
    """Class and mask of every segment query, shared by all decoder layers."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.classify = nn.Linear(width, classes + 1)
        self.mask = MLP(width)

    def class_logits(self, queries: Tensor) -> Tensor:
        """Queries (B, Q, C) -> (B, Q, K+1), the last column "no object"."""
        return self.classify(self.norm(queries))

    def mask_embedding(self, queries: Tensor) -> Tensor:
        """Queries (B, Q, C) -> (B, Q, C); its product with E_pixel is the mask logits."""
        return self.mask(self.norm(queries))


class DepthHead(nn.Module):
    """Depth embedding of geometry-enhanced and backup queries, shared by all layers."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.depth = MLP(width)

    def forward(self, queries: Tensor) -> Tensor:
        """Queries (B, Q, C) -> (B, Q, C); the sigmoid of its product with E_depth is depth / max_depth."""
        return self.depth(self.norm(queries))


class SpreadHead(nn.Module):
    """How far depth may be off: a second embedding of geometry-enhanced and backup queries."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.spread = MLP(width)
        # at the start every depth has the middle of the possible spreads
        for parameter in self.spread.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, queries: Tensor) -> Tensor:
        """Queries (B, Q, C) -> (B, Q, C); its product with E_depth is the spread of ln depth, see ``log_spread``."""
        return self.spread(self.norm(queries))


class DenseDepthHead(nn.Module):
    """One depth map for the whole image from E_depth (He et al., Table 4, variant A)."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(width, 1, 1)
        )

    def forward(self, embedding: Tensor) -> Tensor:
        """E_depth (B, C, h, w) -> (B, 1, h, w), before the sigmoid."""
        return self.layers(embedding)

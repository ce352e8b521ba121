"""DvpsNet: backbone, pixel decoders, query decoder, geometry, heads (He et al., DeepDPS, ICCV 2023, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dvps_ros.config import NetworkConfig
from dvps_ros.config.network import COARSEST_STRIDE
from dvps_ros.network.backbones import Backbone, build_backbone
from dvps_ros.network.geometry import BackupQuery, DenseDepth, GeometricDepth, GeometryDecoder
from dvps_ros.network.heads import DenseDepthHead, DepthHead, SegmentHead, SpreadHead
from dvps_ros.network.layers import sine_position
from dvps_ros.network.pixel_decoder import PixelDecoder, SharedPixelDecoder
from dvps_ros.network.query_decoder import QueryDecoder, SegmentQueries
from dvps_ros.structures import Features, Prediction


class DvpsNet(nn.Module):
    """Depth-aware panoptic segmentation of single images.

    Attributes: ``config``, the ``NetworkConfig`` it was built from.
    """

    def __init__(
        self,
        config: NetworkConfig,
        backbone: Backbone,
        semantic_decoder: PixelDecoder,
        depth_decoder: PixelDecoder | SharedPixelDecoder,
        query_decoder: QueryDecoder,
        segment_head: SegmentHead,
        geometry: GeometricDepth | DenseDepth,
    ):
        super().__init__()
        self.config = config
        self.mean: Tensor
        self.deviation: Tensor
        for name, values in zip(("mean", "deviation"), backbone.pixels, strict=True):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
        self.backbone = backbone
        self.semantic_decoder = semantic_decoder
        self.depth_decoder = depth_decoder
        self.query_decoder = query_decoder
        self.segment_head = segment_head
        self.geometry = geometry

    def forward(self, images: Tensor, layers: bool | None = None) -> Prediction:
        """Predict (B, 3, H, W) RGB images, 0..255, uint8 or floating point.

        Parameters
        ----------
        layers : also give the predictions of the initial queries and of all earlier layers; default: in training.

        Returns
        -------
        ``Prediction`` whose maps are a quarter of the size padded (right and below) to multiples of 32.
        """
        return self.decode(self.backbone_features(images), self.training if layers is None else layers)

    def backbone_features(self, images: Tensor) -> Features:
        """Normalise, pad right and below to multiples of 32, and run the backbone.

        Parameters
        ----------
        images : (B, 3, H, W) RGB 0..255, uint8 or floating point. Raises ``ValueError`` for any other shape.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be (B, 3, H, W), got {tuple(images.shape)}")
        height, width = images.shape[-2:]
        weights = next(self.backbone.parameters()).dtype
        working = torch.promote_types(weights, torch.float32)
        normalised = (images.to(working) * 1000 - self.mean) / self.deviation
        padded = F.pad(normalised, (0, -width % COARSEST_STRIDE, 0, -height % COARSEST_STRIDE))
        return self.backbone(padded.to(weights))

    def decode(self, features: Features, layers: bool = False) -> Prediction:
        """Everything after the backbone.

        Parameters
        ----------
        features : maps (B, C_s, H/s, W/s) of strides s = 4, 8, 16, 32, H and W multiples of 32, in the weights' own
            precision: float32, float64 or bfloat16.
        layers : as in ``forward``.
        """
        sizes = [(m.shape[-2], m.shape[-1]) for m in (features.stride32, features.stride16, features.stride8)]
        like: dict[str, Any] = {"device": features.stride4.device, "dtype": features.stride4.dtype}
        positions = [sine_position(height, width, self.config.width, **like) for height, width in sizes]

        semantic = self.semantic_decoder(features, positions)
        if isinstance(self.depth_decoder, SharedPixelDecoder):
            depth = self.depth_decoder(semantic)
        else:
            depth = self.depth_decoder(features, positions)
        mask_levels = resized_levels(semantic.embedding, sizes)
        initial, *segments = self.query_decoder(semantic.levels, positions, mask_levels, self.segment_head)
        estimate = self.geometry(segments, self.query_decoder.position, depth, positions, mask_levels, every=layers)

        def predict(state: SegmentQueries, embedding: Tensor, backup: Tensor) -> Prediction:
            return Prediction(
                class_logits=self.segment_head.class_logits(state.queries),
                mask_embedding=state.mask_embedding,
                mask_features=semantic.embedding,
                depth_embedding=embedding,
                backup_embedding=backup,
                depth_features=estimate.features,
                max_depth=self.config.max_depth,
            )

        last = replace(
            predict(segments[-1], estimate.segments[-1], estimate.backups[-1]),
            spread_embedding=estimate.spread,
            backup_spread_embedding=estimate.backup_spread,
        )
        if not layers:
            return last
        none = estimate.backups[-1][:, :0]  # the initial queries have met no geometry yet
        earlier = [predict(initial, none, none)]
        earlier += map(predict, segments[:-1], estimate.segments, estimate.backups)
        return replace(last, layers=tuple(earlier), semantic_maps=semantic.maps(sizes), depth_maps=depth.maps(sizes))


@torch.no_grad()
def resized_levels(embedding: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """E_pixel (B, C, h, w) resized bilinearly to each (height, width): (B, C, height * width), without gradient."""
    return [F.interpolate(embedding, size, mode="bilinear", align_corners=False).flatten(2) for size in sizes]


def build(config: NetworkConfig) -> DvpsNet:
    """A ``DvpsNet`` of the configured sizes, randomly initialised.

    Raises ``ValueError`` naming a size that does not fit.
    """
    c = config
    if c.width % 32 or c.width % c.heads:
        raise ValueError(f"network.width is {c.width}, must be a multiple of 32 and of heads ({c.heads})")
    if c.uncertainty and c.depth_head != "segment":
        raise ValueError(f"network.uncertainty needs network.depth_head segment, not {c.depth_head}")
    backbone = build_backbone(c.backbone)

    def pixel_decoder() -> PixelDecoder:
        return PixelDecoder(backbone.channels, c.width, c.heads, c.points, c.encoder_layers, c.encoder_feedforward)

    def geometry() -> GeometricDepth | DenseDepth:
        if c.depth_head == "dense":
            return DenseDepth(DenseDepthHead(c.width))
        return GeometricDepth(
            GeometryDecoder(c.queries, c.width, c.heads, c.decoder_layers, c.feedforward),
            BackupQuery(c.width, c.heads, c.decoder_layers, c.feedforward),
            DepthHead(c.width),
            c.width,
            SpreadHead(c.width) if c.uncertainty else None,
        )

    return DvpsNet(
        config,
        backbone,
        semantic_decoder=pixel_decoder(),
        depth_decoder=SharedPixelDecoder(c.width) if c.depth_decoder == "shared" else pixel_decoder(),
        query_decoder=QueryDecoder(c.queries, c.width, c.heads, c.decoder_layers, c.feedforward),
        segment_head=SegmentHead(c.width, c.classes),
        geometry=geometry(),
    )

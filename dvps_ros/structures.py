"""The nouns of the package: what travels between its parts, with shapes and units.

Everywhere: B batch, Q queries, K classes, C width, H x W image size, h x w = the padded image's size / 4.
Depth is z along the optical axis in metres; axes follow REP 103's optical frame (x right, y down, z forward).
Pixel (u, v) = (0, 0) is the *centre* of the top left pixel, as in sensor_msgs/CameraInfo.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera with optional lens distortion.

    Attributes
    ----------
    fx, fy, cx, cy : focal lengths and principal point in pixels of a ``width`` x ``height`` image.
    distortion_model : ``""`` (none) or the names of sensor_msgs/CameraInfo: ``plumb_bob``, ``rational_polynomial``,
        ``equidistant``.
    distortion : the model's coefficients in CameraInfo's order, empty when undistorted.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    distortion_model: str = ""
    distortion: tuple[float, ...] = ()

    @property
    def valid(self) -> bool:
        """False for an uncalibrated camera (CameraInfo says so by K[0] == 0) or a NaN anywhere."""
        values = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        return bool(np.isfinite(values).all()) and self.fx > 0 and self.fy > 0

    def resized(self, width: int, height: int) -> Intrinsics:
        """The same camera after its image was resized to ``width`` x ``height`` pixels."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
            width=width,
            height=height,
        )

    def cropped(self, left: int, top: int, width: int, height: int) -> Intrinsics:
        """The same camera after a crop whose top left pixel was (``left``, ``top``)."""
        return replace(self, cx=self.cx - left, cy=self.cy - top, width=width, height=height)

    def flipped(self) -> Intrinsics:
        """The camera that would have taken the left-right mirrored image (no distortion)."""
        return replace(self, cx=self.width - 1 - self.cx)


@dataclass(frozen=True)
class CameraFrame:
    """One camera image with its intrinsics.

    Attributes
    ----------
    image : (H, W, 3) uint8 RGB.
    intrinsics : the camera, or None when unknown.
    stamp : acquisition time in nanoseconds.
    frame_id : name of the optical frame (REP 103).
    """

    image: np.ndarray
    intrinsics: Intrinsics | None = None
    stamp: int = 0
    frame_id: str = ""


@dataclass(frozen=True)
class Features:
    """Backbone maps of one padded batch (H and W multiples of 32).

    Attributes: ``stride4`` (B, C4, H/4, W/4), ``stride8``, ``stride16``, ``stride32`` alike; floating point.
    """

    stride4: Tensor
    stride8: Tensor
    stride16: Tensor
    stride32: Tensor


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

    @property
    def mask_logits(self) -> Tensor:
        """(B, Q, h, w) mask logits of every query."""
        return _product(self.mask_embedding, self.mask_features)

    @property
    def depth(self) -> Tensor:
        """(B, Q, h, w) depth of every query, in metres for the network's own focal length, 0..max_depth."""
        return self.max_depth * _product(self.depth_embedding, self.depth_features).sigmoid()

    @property
    def backup_depth(self) -> Tensor:
        """(B, 1, h, w) depth for pixels that no kept segment covers, in metres, 0..max_depth."""
        return self.max_depth * _product(self.backup_embedding, self.depth_features).sigmoid()

    def select(self, index: int, queries: Tensor) -> Prediction:
        """Only image ``index`` of the batch and its ``queries`` (N,) int64: a prediction with B = 1, Q = N."""
        return Prediction(
            self.class_logits[index, queries][None],
            self.mask_embedding[index, queries][None],
            self.mask_features[index][None],
            self.depth_embedding[index, queries][None],
            self.backup_embedding[index][None],
            self.depth_features[index][None],
            self.max_depth,
        )


def _product(embedding: Tensor, features: Tensor) -> Tensor:
    return torch.einsum("bqc,bchw->bqhw", embedding, features)


@dataclass(frozen=True)
class Segment:
    """One segment of a scene.

    Attributes
    ----------
    id : its value in ``Scene.panoptic``: class * 1000 + instance (instance 0 for stuff).
    class_id : train id.
    instance : 0 for stuff, else 1..999, stable over time once tracked.
    score : class probability, 0..1.
    area : pixels.
    median_depth : metres, NaN when the scene has no depth in metres.
    """

    id: int
    class_id: int
    instance: int
    score: float
    area: int
    median_depth: float


@dataclass(frozen=True)
class Scene:
    """Labels and depth of one frame, on whichever device computed them.

    Attributes
    ----------
    panoptic : (H, W) int32, class * 1000 + instance, 255000 where unlabelled.
    depth : (H, W) float32, metres along the optical axis (for an unknown camera: relative to the network's own focal
        length, and ``metric`` is False).
    confidence : (H, W) float32, 0..1: score * mask probability of the winning segment; 0 where unlabelled.
    segments : one ``Segment`` for each id in ``panoptic``, ordered by id.
    metric : True when ``depth`` is in metres.
    """

    panoptic: Tensor
    depth: Tensor
    confidence: Tensor
    segments: tuple[Segment, ...] = ()
    metric: bool = True

    def cpu(self) -> Scene:
        """The same scene with its maps in host memory."""
        return replace(self, panoptic=self.panoptic.cpu(), depth=self.depth.cpu(), confidence=self.confidence.cpu())


@dataclass(frozen=True)
class SegmentCloud:
    """Points of one scene, or of one segment of it, in the camera's optical frame.

    Attributes
    ----------
    xyz : (N, 3) float32, metres.
    rgb : (N, 3) uint8.
    label : (N,) int32 train id.
    instance : (N,) int32, 0 for stuff.
    score : (N,) float32, 0..1.
    """

    xyz: Tensor
    rgb: Tensor
    label: Tensor
    instance: Tensor
    score: Tensor

    def __len__(self) -> int:
        return self.xyz.shape[0]

    def __getitem__(self, rows: Tensor | slice) -> SegmentCloud:
        if isinstance(rows, Tensor) and rows.dtype == torch.int64:  # half the time of indexing, for the same result
            return SegmentCloud(*(getattr(self, f.name).index_select(0, rows) for f in fields(self)))
        return SegmentCloud(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True)
class Target:
    """The truth of one training image, at the image's (augmented, padded) size.

    Attributes
    ----------
    classes : (N,) int64 train id of each segment.
    masks : (N, H, W) bool.
    panoptic : (H, W) int32, class * 1000 + instance, 255000 void.
    depth : (H, W) float32, metres *for the network's focal length* (see ``canonical_focal``), 0 = no label.
    has_panoptic, has_depth : which of the two labels this image came with.
    labelled : (H, W) bool, pixels that carry a panoptic label (False: void, padding, unlabelled LiDAR gaps).
    name : where it came from, for messages.
    skipped : what was wrong with each sample that could not be read, in whose place this one stands.
    """

    classes: Tensor
    masks: Tensor
    panoptic: Tensor
    depth: Tensor
    has_panoptic: bool = True
    has_depth: bool = True
    labelled: Tensor | None = field(default=None)
    name: str = ""
    skipped: tuple[str, ...] = ()

    def to(self, device: torch.device | str) -> Target:
        """The same target on another device."""
        moved = {
            f.name: value.to(device, non_blocking=True)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)

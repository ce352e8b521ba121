"""What is seen in one frame: labels, depth, segments; and points of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor

from dvps_ros.structures.tracks import CameraMotion, TrackedThing


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
class Anchor:
    """How the scale of a scene follows from the height of its camera above the ground.

    Attributes
    ----------
    factor : by which the network's distances were multiplied; 1 where nothing is known.
    state : ``off`` (the camera's height is unknown), ``anchored`` (this frame's ground counts), ``held`` (it does not,
        but that of frames shortly before does) or ``lost`` (that is long ago, or never was: the factor goes to 1).
    problem : why this frame's ground does not count; empty where it does.
    share : of the image's pixels that are ground, 0..1.
    inliers : share of the ground that lies on one plane, 0..1; NaN without a plane.
    tilt : degrees of that plane against level; NaN without a plane.
    """

    factor: float = 1.0
    state: Literal["off", "anchored", "held", "lost"] = "off"
    problem: str = ""
    share: float = 0.0
    inliers: float = math.nan
    tilt: float = math.nan


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
    depth_std : (H, W) float32, one standard deviation of ``depth`` in the same unit; None where the model tells none.
    embeddings : (S, C) float32, what the network's queries say of each of the ``segments``; None where unknown.
    motion : the camera's since the frame before; None where nobody looked.
    things : what is known of each thing over time, in order of id; empty before tracking, or without metric depth.
    anchor : how its scale was anchored to the ground; all distances are already multiplied by its factor.
    """

    panoptic: Tensor
    depth: Tensor
    confidence: Tensor
    segments: tuple[Segment, ...] = ()
    metric: bool = True
    depth_std: Tensor | None = None
    embeddings: Tensor | None = None
    motion: CameraMotion | None = None
    things: tuple[TrackedThing, ...] = ()
    anchor: Anchor = Anchor()

    @property
    def scale_factor(self) -> float:
        """By which the network's distances were multiplied because of the camera's height above the ground."""
        return self.anchor.factor

    @property
    def anchored(self) -> bool:
        """Whether the ground of this frame, or of frames shortly before it, gives the scale."""
        return self.anchor.state in ("anchored", "held")

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Scene:
        """The same scene with ``change`` made to each of its maps (H, W)."""
        std = None if self.depth_std is None else change(self.depth_std)
        panoptic, depth, confidence = map(change, (self.panoptic, self.depth, self.confidence))
        return replace(self, panoptic=panoptic, depth=depth, confidence=confidence, depth_std=std)

    def cpu(self) -> Scene:
        """The same scene with its maps in host memory."""
        return self.mapped(Tensor.cpu)

    def scaled(self, factor: float) -> Scene:
        """The same scene with all distances ``factor`` times as long: ``depth``, ``depth_std``, median depths."""
        segments = tuple(replace(s, median_depth=s.median_depth * factor) for s in self.segments)
        std = None if self.depth_std is None else self.depth_std * factor
        return replace(self, depth=self.depth * factor, depth_std=std, segments=segments)


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

"""The truth that a network is trained with."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor


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
    semantic : (H, W) int64, which row of ``class_sets`` each pixel has, -1 unlabelled; None if ``panoptic`` says all.
        Where ``panoptic`` is void and this is not, classes are known and segments are not (things without instances, or
        a pixel that may be of several classes).
    class_sets : (V, K) bool, the classes that each row may be; None without ``semantic``.
    segmented : train ids of the classes whose segments ``panoptic`` separates, whether they occur or not; None: all.
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
    semantic: Tensor | None = None
    class_sets: Tensor | None = None
    segmented: frozenset[int] | None = None

    def to(self, device: torch.device | str) -> Target:
        """The same target on another device."""
        moved: dict[str, Any] = {
            f.name: value.to(device, non_blocking=True)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)

"""From label maps to the network's training target."""

from __future__ import annotations

import numpy as np
import torch

from dvps_ros.datasets.frames import LabelledFrame
from dvps_ros.labels import DIVISOR, VOID, VOID_CLASS, LabelSet
from dvps_ros.structures import Target


def build_target(frame: LabelledFrame, labels: LabelSet, canonical_focal: float | None = None) -> Target:
    """The truth of one (augmented) frame.

    Parameters
    ----------
    frame : at the size the network will see; its intrinsics at that size.
    labels : stuff of one class becomes one segment, whatever its instance numbers.
    canonical_focal : pixels; the depth label is divided by fx / canonical_focal, so that it is that of a camera with
        this focal length. None leaves metres.
    """
    size = frame.image.shape[:2]
    panoptic = np.full(size, VOID, np.int32) if frame.panoptic is None else _merge_stuff(frame.panoptic, labels)
    depth = np.zeros(size, np.float32) if frame.depth is None else frame.depth
    if canonical_focal is not None:
        depth = depth * np.float32(canonical_focal / frame.intrinsics.fx)
    ids = _distinct(panoptic)
    ids = ids[ids != VOID]
    maps = torch.from_numpy(np.ascontiguousarray(panoptic))
    return Target(
        classes=torch.from_numpy(ids // DIVISOR),
        masks=maps[None] == torch.from_numpy(ids)[:, None, None],
        panoptic=maps,
        depth=torch.from_numpy(np.ascontiguousarray(depth, dtype=np.float32)),
        has_panoptic=frame.panoptic is not None,
        has_depth=frame.depth is not None,
        labelled=maps != VOID,
        name=frame.name,
    )


def _merge_stuff(panoptic: np.ndarray, labels: LabelSet) -> np.ndarray:
    classes = panoptic // DIVISOR
    keeps_instance = np.zeros(VOID_CLASS + 1, bool)
    keeps_instance[list(labels.things)] = True
    return np.where(keeps_instance[classes], panoptic, classes * DIVISOR).astype(np.int32)


def _distinct(panoptic: np.ndarray) -> np.ndarray:
    present = np.zeros(VOID + DIVISOR, bool)
    present[panoptic.reshape(-1)] = True
    return np.flatnonzero(present)

"""The network's training target from label maps."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dvps_ros.datasets import class_labels
from dvps_ros.datasets.frames import LabelledFrame
from dvps_ros.labels import DIVISOR, VOID, VOID_CLASS, LabelSet, SemanticTable, identity_table
from dvps_ros.structures import Target


def build_target(
    frame: LabelledFrame,
    labels: LabelSet,
    canonical_focal: float | None = None,
    table: SemanticTable | None = None,
) -> Target:
    """The training target of one (augmented) frame.

    Parameters
    ----------
    frame : image, labels and intrinsics at the size of the network's input.
    labels : the class table; stuff of one class becomes one segment, whatever its instance numbers.
    canonical_focal : pixels. The depth label is divided by fx / canonical_focal, as if a camera with this focal length
        had taken the image. None keeps metres.
    table : meaning of the rows of the frame's ``semantic`` map; None: each class is its own row.
    """
    size = frame.image.shape[:2]
    panoptic = np.full(size, VOID, np.int32) if frame.panoptic is None else _merge_stuff(frame.panoptic, labels)
    depth = np.zeros(size, np.float32) if frame.depth is None else frame.depth
    if canonical_focal is not None:
        depth = depth * np.float32(canonical_focal / frame.intrinsics.fx)
    ids = _distinct(panoptic)
    ids = ids[ids != VOID]
    maps = torch.from_numpy(np.ascontiguousarray(panoptic))
    semantic, sets = _semantic(frame, panoptic, table or identity_table(labels))
    return Target(
        classes=torch.from_numpy(ids // DIVISOR),
        masks=maps[None] == torch.from_numpy(ids)[:, None, None],
        panoptic=maps,
        depth=torch.from_numpy(np.ascontiguousarray(depth, dtype=np.float32)),
        has_panoptic=frame.panoptic is not None,
        has_depth=frame.depth is not None,
        labelled=(maps != VOID) if semantic is None else semantic >= 0,
        name=frame.name,
        semantic=semantic,
        class_sets=sets,
        segmented=frame.segmented,
    )


def _semantic(frame: LabelledFrame, panoptic: np.ndarray, table: SemanticTable) -> tuple[Tensor | None, Tensor | None]:
    """Rows (H, W) int64 of all pixels, -1 void, and classes (V, K) bool of each row; None if segments say as much."""
    rows = class_labels.all_rows(panoptic, frame.semantic, table)
    if not ((rows >= 0) & (panoptic == VOID)).any():
        return None, None
    return torch.from_numpy(rows.astype(np.int64)), torch.from_numpy(class_labels.membership(table))


def _merge_stuff(panoptic: np.ndarray, labels: LabelSet) -> np.ndarray:
    classes = panoptic // DIVISOR
    keeps_instance = np.zeros(VOID_CLASS + 1, bool)
    keeps_instance[list(labels.things)] = True
    return np.where(keeps_instance[classes], panoptic, classes * DIVISOR).astype(np.int32)


def _distinct(panoptic: np.ndarray) -> np.ndarray:
    present = np.zeros(VOID + DIVISOR, bool)
    present[panoptic.reshape(-1)] = True
    return np.flatnonzero(present)

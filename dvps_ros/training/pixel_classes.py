"""A loss that asks the class of every pixel of E_pixel, besides the queries' classes and masks.

Matched queries train only the segments that they find. Early in training they find few, so little of a label reaches
the pixel decoder. A linear classifier of each pixel's feature gives it the whole label at once (an auxiliary semantic
loss, as in kMaX-DeepLab: Yu et al., ECCV 2022). Only training has the classifier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dvps_ros.labels import DIVISOR, VOID
from dvps_ros.structures import Target
from dvps_ros.training import points
from dvps_ros.training.depth_totals import Total


def total(logits: Tensor, targets: Sequence[Target]) -> Total:
    """The sum over images of their mean loss, and the number of images with a class at some pixel.

    A pixel that may be of several classes costs the negative log of their probabilities' sum.

    Parameters
    ----------
    logits : (B, K, h, w) float32 of each class at stride 4.
    targets : one per image; without panoptic labels it has no class either.

    Returns
    -------
    Two float32 scalars; only the first has a gradient.
    """
    costs = []
    size = (logits.shape[-2], logits.shape[-1])
    for image, target in zip(logits.log_softmax(1), targets, strict=True):
        labels, sets = _labels(target, len(image), size)
        known = labels >= 0
        if known.any():
            others = ~sets[labels[known]]  # (P, K); each set has a class, so no row is full
            costs.append(-image[:, known].T.masked_fill(others, -math.inf).logsumexp(1).mean())
    zero = logits.sum() * 0
    return torch.stack(costs).sum() if costs else zero, zero.detach() + len(costs)


def _labels(target: Target, classes: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Which set of classes each pixel of stride 4 has, (h, w) int64, -1 none; and the sets, (V, K) bool."""
    if target.has_panoptic and target.semantic is not None and target.class_sets is not None:
        return points.at_stride(target.semantic, size, -1), target.class_sets
    ids = points.at_stride(points.known_ids(target), size, VOID)
    known = torch.where(ids == VOID, -1, ids // DIVISOR).long()
    return known, torch.eye(classes, dtype=torch.bool, device=ids.device)

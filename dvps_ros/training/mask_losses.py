"""Class and mask losses as sums; the caller divides by the number of masks, or the sum of weights, of all ranks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: A class for a query of which the label says nothing, not even that it is no object.
UNTOLD = -100


def class_cross_entropy(logits: Tensor, classes: Tensor, no_object_weight: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the class, "no object" weighted down: its weighted sum over all queries, and their weights'.

    Parameters
    ----------
    logits : (..., Q, K+1); the last column is "no object".
    classes : (..., Q) int64, K where no segment was matched; queries that are ``UNTOLD`` are left out.
    no_object_weight : weight of class K; all others weigh 1.

    Returns
    -------
    Two scalars; the first divided by the second is the weighted mean.
    """
    weight = torch.ones(logits.shape[-1], dtype=logits.dtype, device=logits.device)
    weight[-1] = no_object_weight
    total = F.cross_entropy(logits.flatten(0, -2), classes.flatten(), weight, reduction="sum", ignore_index=UNTOLD)
    return total, weight[classes[classes != UNTOLD]].sum()


def mask_cross_entropy(logits: Tensor, masks: Tensor) -> Tensor:
    """Binary cross-entropy, the mean over each mask's points: (..., P) logits and 0/1 floats -> (...,)."""
    return F.binary_cross_entropy_with_logits(logits, masks, reduction="none").mean(-1)


def dice(logits: Tensor, masks: Tensor) -> Tensor:
    """Dice loss with +1 smoothing (Milletari et al., 3DV 2016): (..., P) logits and 0/1 floats -> (...,)."""
    probability = logits.sigmoid()
    return 1 - (2 * (probability * masks).sum(-1) + 1) / (probability.sum(-1) + masks.sum(-1) + 1)

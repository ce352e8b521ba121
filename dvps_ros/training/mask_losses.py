"""Class and mask losses as sums; the caller divides by the number of masks or the sum of weights of all processes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Target class of a query without a training signal, not even "no object".
IGNORED = -100


def class_cross_entropy(logits: Tensor, classes: Tensor, no_object_weight: float) -> tuple[Tensor, Tensor]:
    """Weighted sum of the classes' cross-entropy over all queries, and the sum of the weights.

    Parameters
    ----------
    logits : (..., Q, K+1); the last column is "no object".
    classes : (..., Q) int64, K for unmatched queries; ``IGNORED`` queries are left out.
    no_object_weight : weight of class K; all others have weight 1.

    Returns
    -------
    Two scalars; the first divided by the second is the weighted mean.
    """
    weight = torch.ones(logits.shape[-1], dtype=logits.dtype, device=logits.device)
    weight[-1] = no_object_weight
    total = F.cross_entropy(logits.flatten(0, -2), classes.flatten(), weight, reduction="sum", ignore_index=IGNORED)
    return total, weight[classes[classes != IGNORED]].sum()


def mask_cross_entropy(logits: Tensor, masks: Tensor) -> Tensor:
    """Binary cross-entropy, averaged over each mask's points: (..., P) logits and 0/1 floats -> (...,)."""
    return F.binary_cross_entropy_with_logits(logits, masks, reduction="none").mean(-1)


def dice(logits: Tensor, masks: Tensor) -> Tensor:
    """Dice loss with +1 smoothing (Milletari et al., 3DV 2016): (..., P) logits and 0/1 floats -> (...,)."""
    probability = logits.sigmoid()
    return 1 - (2 * (probability * masks).sum(-1) + 1) / (probability.sum(-1) + masks.sum(-1) + 1)

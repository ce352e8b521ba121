"""Bipartite matching of queries and true segments (Carion et al., ECCV 2020; Cheng et al., CVPR 2022)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from dvps_ros.config import LossConfig


@torch.no_grad()
def cost(class_logits: Tensor, mask_logits: Tensor, classes: Tensor, masks: Tensor, config: LossConfig) -> Tensor:
    """Cost of every pair of query and true segment of one image, for several layers at once.

    Parameters
    ----------
    class_logits : (L, Q, K+1).
    mask_logits : (L, Q, P) at P points that all queries and segments share.
    classes : (N,) int64 train ids.
    masks : (N, P) bool at the same points.

    Returns
    -------
    (L, Q, N): class_weight * (-p_class) + mask_weight * BCE + dice_weight * dice.
    """
    truth = masks.to(mask_logits.dtype)
    probability = class_logits.softmax(-1)[..., classes]  # (L, Q, N)
    # BCE(x, t) = softplus(x) - x t, so one matrix product gives all pairs
    overlap = mask_logits @ truth.T
    cross_entropy = (F.softplus(mask_logits).sum(-1, keepdim=True) - overlap) / masks.shape[-1]
    sigmoid = mask_logits.sigmoid()
    dice = 1 - (2 * (sigmoid @ truth.T) + 1) / (sigmoid.sum(-1, keepdim=True) + truth.sum(-1) + 1)
    return config.mask_weight * cross_entropy + config.dice_weight * dice - config.class_weight * probability


def assign(cost: Tensor) -> tuple[Tensor, Tensor]:
    """The cheapest one-to-one assignment of each layer (Kuhn 1955, SciPy's implementation).

    Parameters
    ----------
    cost : (L, Q, N); entries that are not finite are replaced by a large cost.

    Returns
    -------
    queries, segments : each (L, M) int64 on the cost's device, M = min(Q, N); pair m of layer l is
        (``queries[l, m]``, ``segments[l, m]``).
    """
    table = torch.nan_to_num(cost, nan=1e6, posinf=1e6, neginf=1e6).cpu().double().numpy()
    pairs = [linear_sum_assignment(layer) for layer in table]
    queries = torch.stack([torch.from_numpy(rows).long() for rows, _ in pairs])
    segments = torch.stack([torch.from_numpy(columns).long() for _, columns in pairs])
    return queries.to(cost.device), segments.to(cost.device)

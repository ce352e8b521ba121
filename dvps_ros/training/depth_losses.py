"""Scale-invariant depth loss (Eigen et al., NeurIPS 2014), in the form of the paper's released code."""

from __future__ import annotations

import torch
from torch import Tensor

_FOCUS = 0.85  # weight of the squared mean that is subtracted: 1 would ignore scale, 0 is the plain log error
_SCALE = 10.0
_EPSILON = 1e-6


def scale_invariant_groups(pred: Tensor, true: Tensor, group: Tensor, groups: int) -> Tensor:
    """10 * sqrt(mean(g^2) - 0.85 * mean(g)^2 + 1e-6), g = ln true - ln pred, over each group of pixels.

    A list of pixels with their groups is far smaller than a stack of maps, because segments do not overlap.

    Parameters
    ----------
    pred : (..., K) metres, >= 0.
    true : (K,) metres, > 0.
    group : (K,) int64, the group of each pixel.
    groups : number of groups G.

    Returns
    -------
    (..., G) loss of each group, 0 for a group without pixels.
    """
    # a sigmoid can underflow to 0
    difference = true.log() - pred.clamp_min(torch.finfo(pred.dtype).tiny).log()
    sums = pred.new_zeros(*pred.shape[:-1], groups)
    count = true.new_zeros(groups).index_add(0, group, torch.ones_like(true))
    mean = sums.index_add(-1, group, difference) / count.clamp_min(1)
    mean_square = sums.index_add(-1, group, difference.square()) / count.clamp_min(1)
    values = _SCALE * (mean_square - _FOCUS * mean.square() + _EPSILON).sqrt()
    return torch.where(count > 0, values, 0.0)


def scale_invariant(pred: Tensor, true: Tensor, mask: Tensor) -> Tensor:
    """The loss of ``scale_invariant_groups`` of each map, averaged over the maps that have a valid pixel.

    Parameters
    ----------
    pred : (N, h, w) metres.
    true : (N, h, w) metres, 0 = no label.
    mask : (N, h, w) bool, the pixels of each map; those without a depth label are left out.

    Returns
    -------
    scalar, 0 if no map has a valid pixel.
    """
    valid = mask & (true > 0)
    values = scale_invariant_groups(pred[valid], true[valid], valid.nonzero()[:, 0], len(pred))
    return values.sum() / valid.flatten(1).any(1).sum().clamp_min(1)

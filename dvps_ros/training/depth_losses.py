"""Scale-invariant depth loss (Eigen et al., NeurIPS 2014; in the form of the paper's released code)."""

from __future__ import annotations

import torch
from torch import Tensor

_FOCUS = 0.85  # share of the squared mean that is forgiven: 1 would ignore scale, 0 is the plain log error
_SCALE = 10.0
_EPSILON = 1e-6


def scale_invariant_each(pred: Tensor, true: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """10 * sqrt(mean(g^2) - 0.85 * mean(g)^2 + 1e-6), g = ln true - ln pred, of each map over its valid pixels.

    Parameters
    ----------
    pred : (N, ...) metres, > 0.
    true : (N, ...) metres, 0 = no label.
    mask : (N, ...) bool, the pixels of each map; those without a depth label are left out.

    Returns
    -------
    values : (N,), 0 where a map has no valid pixel.
    valid : (N,) bool, maps with a valid pixel.
    """
    pred, true, mask = pred.flatten(1), true.flatten(1), mask.flatten(1)
    mask = mask & (true > 0)
    count = mask.sum(1)
    tiny = torch.finfo(pred.dtype).tiny
    # log only of pixels that count: a NaN behind the mask would come back through the gradient of where()
    log_true = torch.where(mask, true, 1.0).log()
    log_pred = torch.where(mask, pred, 1.0).clamp_min(tiny).log()
    difference = log_true - log_pred
    mean = difference.sum(1) / count.clamp_min(1)
    mean_square = difference.square().sum(1) / count.clamp_min(1)
    values = _SCALE * (mean_square - _FOCUS * mean.square() + _EPSILON).sqrt()
    return torch.where(count > 0, values, 0.0), count > 0


def scale_invariant(pred: Tensor, true: Tensor, mask: Tensor) -> Tensor:
    """The mean of ``scale_invariant_each`` over the maps that have a valid pixel; 0 when none has.

    Parameters: ``pred`` (N, h, w) metres, ``true`` (N, h, w) metres with 0 = no label, ``mask`` (N, h, w) bool.
    Returns a scalar.
    """
    values, valid = scale_invariant_each(pred, true, mask)
    return values.sum() / valid.sum().clamp_min(1)

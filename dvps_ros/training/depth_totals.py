"""Depth losses of one image as sums and counts: errors of all layers, likelihood of the last layer's spread."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dvps_ros.structures import Target, log_spread
from dvps_ros.training import points
from dvps_ros.training.depth_losses import scale_invariant_groups
from dvps_ros.training.layers import Layers, rows

#: A loss as two scalars: its sum over masks, images or pixels, and their number or total weight.
Total = tuple[Tensor, Tensor]


def add(totals: dict[str, Total], more: dict[str, Total]) -> None:
    """Add the sums and counts of ``more`` to ``totals`` by name."""
    for name, (value, count) in more.items():
        before, counted = totals.get(name, (0.0, 0.0))
        totals[name] = before + value, counted + count


def segments(
    layer: Layers, target: Target, queries: Tensor, owners: Tensor, detach_mean: bool = True
) -> dict[str, Total]:
    """Depth of matched queries inside their true masks.

    Parameters
    ----------
    layer, target : predictions and labels of one image.
    queries, owners : (L, M) int64, matched pairs of queries and segments in each layer.
    detach_mean : the likelihood trains the spread only, not the depth.

    Returns
    -------
    ``depth``: the scale-invariant error, summed over layers and masks, and the number of masks with depth in one layer.
    ``uncertainty``, if the network predicts a spread: ``negative_log_likelihood``, summed over the pixels of the last
    layer's masks, and their number.
    """
    true = _at_stride(layer, target)
    zero = true.new_zeros(())
    if not target.has_depth or len(layer.depth_embedding) == 0:
        return {"depth": (zero, zero)} | _uncertainty(layer, zero, zero)
    inside = points.at_stride(target.masks, tuple(true.shape), False) & (true > 0)  # (N, h, w)
    segment, pixel = inside.flatten(1).nonzero().unbind(1)  # (K,) each: every pixel with the segment that owns it
    count = len(target.classes)
    # row of every segment among the layer's matched pairs; a segment has none if there were too few queries
    geometric = slice(len(queries) - len(layer.depth_embedding), None)
    queries, owners = queries[geometric], owners[geometric]  # (L', M)
    matched_rows = owners.new_full((len(owners), count), -1).scatter(
        1, owners, torch.arange(owners.shape[1], device=owners.device).expand_as(owners)
    )
    row = matched_rows[:, segment]  # (L', K)
    features, known = layer.depth_features.flatten(1), true.flatten()[pixel]
    logits = torch.einsum("lmd,dp->lmp", rows(layer.depth_embedding, queries), features)
    layers = torch.arange(len(row), device=row.device)[:, None]
    own = layer.max_depth * logits[layers, row.clamp_min(0), pixel].sigmoid()  # (L', K)
    values = scale_invariant_groups(own, known, segment, count)  # (L', N)
    found = matched_rows >= 0
    has_depth = inside.flatten(1).any(1)
    totals = {"depth": (values[found].sum(), (found & has_depth).sum() / len(queries))}
    if layer.spread_embedding is None:
        return totals
    spread = layer.spread_embedding[queries[-1]] @ features  # (M, h w)
    matched = row[-1] >= 0
    loss = negative_log_likelihood(own[-1], spread[row[-1].clamp_min(0), pixel], known, detach_mean)
    return totals | _uncertainty(layer, loss[matched].sum(), matched.sum())


def backup(layer: Layers, target: Target, detach_mean: bool = True) -> dict[str, Total]:
    """``backup`` (sum over layers, and a count of 1 for an image with depth) and ``uncertainty`` of the backup map."""
    true = _at_stride(layer, target)
    pixel = (true > 0).flatten().nonzero()[:, 0]
    zero = true.new_zeros(())
    if not target.has_depth or len(pixel) == 0:
        return {"backup": (zero, zero)} | _uncertainty(layer, zero, zero)
    features, known = layer.depth_features.flatten(1), true.flatten()[pixel]
    logits = layer.backup_embedding[:, 0] @ features  # (L', h w)
    pred = layer.max_depth * logits[:, pixel].sigmoid()  # (L', K)
    values = scale_invariant_groups(pred, known, torch.zeros_like(pixel), 1)
    totals = {"backup": (values.sum(), zero + 1)}
    if layer.backup_spread_embedding is None:
        return totals
    spread = (layer.backup_spread_embedding[0] @ features)[pixel]
    loss = negative_log_likelihood(pred[-1], spread, known, detach_mean)
    return totals | _uncertainty(layer, loss.sum(), zero + len(pixel))


def negative_log_likelihood(pred: Tensor, spread: Tensor, true: Tensor, detach_mean: bool = True) -> Tensor:
    """ln(2 b) + |ln true - ln pred| / b of each pixel (K,): ln depth has a Laplace distribution with scale b.

    ``pred`` is (K,) metres >= 0, ``true`` (K,) metres > 0, ``spread`` (K,) the argument of ``log_spread``. With
    ``detach_mean``, ``pred`` gets no gradient.
    """
    pred = pred.detach() if detach_mean else pred
    error = true.log() - pred.clamp_min(torch.finfo(pred.dtype).tiny).log()  # a sigmoid can underflow to 0
    log_scale = log_spread(spread)
    return math.log(2) + log_scale + error.abs() * (-log_scale).exp()


def _uncertainty(layer: Layers, value: Tensor, count: Tensor) -> dict[str, Total]:
    """``uncertainty`` with this sum and count; empty if the network predicts no spread."""
    return {} if layer.spread_embedding is None else {"uncertainty": (value, count)}


def _at_stride(layer: Layers, target: Target) -> Tensor:
    """(h, w) true depth in metres at the size of the network's maps, 0 unlabelled."""
    size = tuple(layer.mask_features.shape[-2:])
    return points.at_stride(target.depth, size, 0).to(layer.mask_features.dtype)

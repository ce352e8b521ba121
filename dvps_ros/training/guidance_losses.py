"""Bi-directional guidance (He et al., ICCV 2023, section 3.3): each task's labels shape the other task's features.

Both compare every pixel with the other pixels of a K x K patch around it. The offsets of a patch are processed one by
one, so memory is proportional to the number of pixels; no array has pixels x K^2 x channels elements.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# --- semantic to depth --------------------------------------------------------------------------------------------


def semantic_to_depth(
    features: Tensor, ids: Tensor, void: int, patch: int = 5, margin: float = 0.3, min_negatives: int = 1
) -> Tensor:
    """Triplet loss on depth features around segment borders (Eqs. 3-5).

    Each pixel is an anchor. In feature space the farthest pixel of its own segment in the patch should be nearer, by
    ``margin``, than the nearest pixel of another segment. The released code multiplies distances by an indicator before
    taking the minimum, so its minimum is always 0. Here the minimum is taken over negatives only, as in Eq. 4.

    Parameters
    ----------
    features : (B, C, h, w); this function normalizes them to unit length.
    ids : (B, h, w) integer panoptic ids.
    void : id of pixels that are neither anchor, positive nor negative; pixels outside the map are neither, too.
    patch : K, odd.
    margin : alpha of Eq. 5.
    min_negatives : smallest number of negatives, and of positives including itself, of an anchor.

    Returns
    -------
    scalar: the mean over anchors, 0 without an anchor.
    """
    total, anchors = semantic_to_depth_total(features, ids, void, patch, margin, min_negatives)
    return total / anchors.clamp_min(1)


def semantic_to_depth_total(
    features: Tensor, ids: Tensor, void: int, patch: int, margin: float, min_negatives: int
) -> tuple[Tensor, Tensor]:
    """The sum over anchors and their number, two scalars; their ratio is ``semantic_to_depth``."""
    unit = F.normalize(features, dim=1)
    farthest, nearest, anchors = _extreme_offsets(unit.detach(), ids, void, patch, min_negatives)
    rows = anchors.nonzero()
    if len(rows) == 0:
        return features.sum() * 0, anchors.sum()
    image, y, x = rows.unbind(1)
    flat = unit.permute(0, 2, 3, 1)
    anchor = flat[image, y, x]  # (A, C)
    offsets = torch.tensor(_offsets(patch), device=ids.device)
    reach = []
    for chosen in (farthest[anchors], nearest[anchors]):  # (A,) index into the offsets
        dy, dx = offsets[chosen].unbind(1)
        reach.append(_length(anchor - flat[image, y + dy, x + dx], dim=1))
    return (margin + reach[0] - reach[1]).clamp_min(0).sum(), anchors.sum()


@torch.no_grad()
def _extreme_offsets(
    unit: Tensor, ids: Tensor, void: int, patch: int, min_negatives: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Offsets of the farthest positive and the nearest negative of every pixel, and whether the pixel is an anchor.

    The distance of unit vectors grows as their cosine falls, so cosines are compared instead of distances.
    """
    labelled = ids != void
    smallest = unit.new_full(ids.shape, torch.inf)
    largest = unit.new_full(ids.shape, -torch.inf)
    farthest = torch.full(ids.shape, (patch * patch) // 2, device=ids.device)  # the center: distance 0
    nearest = farthest.clone()
    positives, negatives = torch.zeros_like(farthest), torch.zeros_like(farthest)
    for index, (dy, dx) in enumerate(_offsets(patch)):
        here, there = _overlap(dy, dx, *ids.shape[1:])
        both = labelled[here] & labelled[there]
        same = ids[here] == ids[there]
        cosine = (unit[_channels(here)] * unit[_channels(there)]).sum(1)
        positive, negative = both & same, both & ~same
        positives[here] += positive
        negatives[here] += negative
        farther = positive & (cosine < smallest[here])
        nearer = negative & (cosine > largest[here])
        smallest[here] = torch.where(farther, cosine, smallest[here])
        largest[here] = torch.where(nearer, cosine, largest[here])
        farthest[here] = torch.where(farther, index, farthest[here])
        nearest[here] = torch.where(nearer, index, nearest[here])
    return farthest, nearest, labelled & (positives >= min_negatives) & (negatives >= min_negatives)


# --- depth to semantic --------------------------------------------------------------------------------------------


def depth_to_semantic(
    features: Tensor,
    depth: Tensor,
    patch: int = 5,
    tau: float = 10.0,
    form: str = "equation",
    sigma_semantic: Tensor | float = 1.0,
    sigma_depth: Tensor | float = 1.0,
) -> Tensor:
    """Neighbors of similar depth should have similar semantic features (Eq. 6).

    Parameters
    ----------
    features : (B, C, h, w).
    depth : (B, h, w) metres, 0 = no label; such pixels are left out.
    patch : K, odd; only for ``equation``.
    tau : depth scale in metres; only for ``equation``.
    form : ``equation``: -exp(-|d_i - d_j| / tau) * exp(-||F_i - F_j||), summed over the patch, averaged over anchors
        (every pixel with depth). ``similarity``, the released code: |s - t| averaged over horizontal and vertical
        neighbors, s the mean over channels of exp(-sigma_semantic dF^2 / 2), t = exp(-sigma_depth dd^2 / 2).
    sigma_semantic, sigma_depth : learned scalars of ``similarity``.

    Returns
    -------
    scalar, 0 if no pixel (``equation``) or no pair of neighbors (``similarity``) has depth.

    Raises ``ValueError`` for another ``form``.
    """
    total, count = depth_to_semantic_total(features, depth, patch, tau, form, sigma_semantic, sigma_depth)
    return total / count.clamp_min(1)


def depth_to_semantic_total(
    features: Tensor,
    depth: Tensor,
    patch: int,
    tau: float,
    form: str,
    sigma_semantic: Tensor | float,
    sigma_depth: Tensor | float,
) -> tuple[Tensor, Tensor]:
    """The sum and the number of anchors or pairs, two scalars; their ratio is ``depth_to_semantic``.

    Raises ``ValueError`` for another ``form``.
    """
    if form == "equation":
        return _depth_affinity(features, depth, patch, tau)
    if form == "similarity":
        return _similarity_difference(features, depth, sigma_semantic, sigma_depth)
    raise ValueError(f"form is {form!r}, must be 'equation' or 'similarity'")


def _depth_affinity(features: Tensor, depth: Tensor, patch: int, tau: float) -> tuple[Tensor, Tensor]:
    return -_Affinity.apply(features, depth, patch, tau), (depth > 0).sum()


class _Affinity(torch.autograd.Function):
    """Sum over all pairs of a patch of exp(-|d_i - d_j| / tau - ||F_i - F_j||).

    Only features and depth are kept for the backward pass, which recomputes the differences of each offset. Channels
    come last in the computation, as in the memory layout of the network's maps.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, depth: Tensor, patch: int, tau: float) -> Tensor:
        ctx.save_for_backward(features, depth)
        ctx.patch, ctx.tau = patch, tau
        rows = features.permute(0, 2, 3, 1)
        total = features.new_zeros(())
        for here, there in _half(patch, *depth.shape[1:]):
            _, _, closeness = _compare(rows, depth, tau, here, there)
            total += 2 * closeness.sum()  # each pair counts from both ends, with the same value
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        features, depth = ctx.saved_tensors
        rows = features.permute(0, 2, 3, 1)
        change = torch.zeros_like(rows)
        for here, there in _half(ctx.patch, *depth.shape[1:]):
            difference, distance, closeness = _compare(rows, depth, ctx.tau, here, there)
            # at distance 0 the norm has no derivative; 0 is one of its subgradients
            slope = torch.where(distance > 0, -2 * gradient * closeness / distance, 0.0)
            difference *= slope[..., None]
            change[here] += difference
            change[there] -= difference
        return change.permute(0, 3, 1, 2), None, None, None


def _compare(
    rows: Tensor, depth: Tensor, tau: float, here: tuple[slice, ...], there: tuple[slice, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Feature differences (B, h', w', C) at one offset, their norms and closeness (B, h', w'), 0 without depth."""
    both = (depth[here] > 0) & (depth[there] > 0)
    difference = rows[here] - rows[there]
    distance = torch.linalg.vector_norm(difference, dim=-1)
    closeness = torch.exp(-(depth[here] - depth[there]).abs() / tau - distance)
    return difference, distance, torch.where(both, closeness, 0.0)


def _similarity_difference(
    features: Tensor, depth: Tensor, sigma_semantic: Tensor | float, sigma_depth: Tensor | float
) -> tuple[Tensor, Tensor]:
    total, count = features.sum() * 0, torch.zeros((), dtype=torch.long, device=features.device)
    for dy, dx in ((0, 1), (1, 0)):
        here, there = _overlap(dy, dx, *depth.shape[1:])
        both = (depth[here] > 0) & (depth[there] > 0)
        change = features[_channels(here)] - features[_channels(there)]
        semantic = torch.exp(-sigma_semantic * change.square() / 2).mean(1)
        spatial = torch.exp(-sigma_depth * (depth[here] - depth[there]).square() / 2)
        total = total + torch.where(both, (semantic - spatial).abs(), 0.0).sum()
        count = count + both.sum()
    return total, count


# --- patches ------------------------------------------------------------------------------------------------------


def _offsets(patch: int) -> list[tuple[int, int]]:
    """All (dy, dx) of a patch in reading order; the center is in the middle of the list."""
    reach = patch // 2
    return [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]


def _half(patch: int, height: int, width: int) -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """``_overlap`` of one half of a patch's offsets, so that each pair of pixels occurs once."""
    return [_overlap(dy, dx, height, width) for dy, dx in _offsets(patch)[patch * patch // 2 + 1 :]]


def _overlap(dy: int, dx: int, height: int, width: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Index of the pixels whose partner at (dy, dx) lies inside the map, and of those partners, for (B, h, w)."""
    here = (slice(None), _span(-dy, height), _span(-dx, width))
    there = (slice(None), _span(dy, height), _span(dx, width))
    return here, there


def _span(shift: int, size: int) -> slice:
    return slice(min(max(shift, 0), size), max(size + min(shift, 0), 0))


def _channels(index: tuple[slice, ...]) -> tuple[slice, ...]:
    """The same index for a (B, C, h, w) map."""
    return (index[0], slice(None), *index[1:])


def _length(difference: Tensor, dim: int) -> Tensor:
    """Euclidean length; its gradient at 0 is 0 instead of infinite."""
    squared = difference.square().sum(dim)
    return squared.clamp_min(torch.finfo(squared.dtype).tiny).sqrt()

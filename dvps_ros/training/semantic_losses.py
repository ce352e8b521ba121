"""Loss of labels with classes but without segments.

The label of a pixel x is a set S of classes. It states that at least one query of a class in S covers x, and no query
of another class. Query q has a class in S and covers x with probability
a_q = (sum of p_q(c) over c in S) * sigmoid(mask_q(x)). It has another class and covers x with probability b_q, where
"no object" is not a class. For independent queries the likelihood of S is

    P(some query of S covers x, and none of another class) = prod_q (1 - b_q) - prod_q (1 - a_q - b_q).

One query that covers the pixel is enough, so the loss favours neither one instance nor many.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dvps_ros.labels import VOID
from dvps_ros.structures import Target
from dvps_ros.training import points
from dvps_ros.training.layers import Layers

#: A mask covers the pixels whose probability is at least this share of its largest one.
_OF_PEAK = 0.5
#: A query is ignored if more than this share of its covered pixels is region without segments.
_MOSTLY = 0.5
#: Upper limit of the probability that one query covers a pixel.
_MAX_COVER = 1 - 1e-6
#: Lower limits of divisors and of arguments of logarithms, below which gradients would overflow.
_MIN_DIVISOR, _MIN_LOG = 1e-12, 1e-20


def region(target: Target) -> Tensor | None:
    """(H, W) bool: pixels with known classes but without segments; None if there are none."""
    if not target.has_panoptic or target.semantic is None:
        return None
    found = (target.semantic >= 0) & (target.panoptic == VOID)
    return found if found.any() else None


def image_losses(layer: Layers, target: Target, count: int, seed: int, balance: float) -> Tensor:
    """(L,) negative log likelihood of one image's class labels, a mean over about ``count`` points (see ``draw``).

    Points are drawn from all labelled pixels, because pixels with segments also show where other classes are absent.
    A label row is one of the sets of classes that the image's pixels have. Its weight is its area to the power of
    1 - ``balance``. With ``balance`` 0 all pixels count alike, and small things count for little. With 1 all rows count
    alike; a network then calls parts of a wall a sign, because a pixel of a sign weighs thirty times as much.
    """
    assert target.semantic is not None, "callers leave out targets without a semantic map"
    assert target.class_sets is not None, "set together with the semantic map"
    rows, areas, where = draw(target.semantic, count, seed)
    logits = layer.mask_embedding @ points.sample_features(layer.mask_features, where.flatten(0, 1))  # (L, Q, V * P)
    logits = logits.unflatten(-1, where.shape[:2])
    losses = likelihood_losses(layer.class_logits, logits, target.class_sets[rows]).mean(2)  # (L, V)
    weights = areas ** (1 - balance)
    return losses @ (weights / weights.sum()).to(losses.dtype)


def likelihood_losses(class_logits: Tensor, mask_logits: Tensor, sets: Tensor) -> Tensor:
    """Negative log likelihood of each pixel, see the formula of the module.

    Parameters
    ----------
    class_logits : (L, Q, K+1); the last column is "no object".
    mask_logits : (L, Q, V, P) at P pixels of each of V sets of classes.
    sets : (V, K) bool, the classes that the pixels may have; at least one in each set.

    Returns
    -------
    (L, V, P).
    """
    inside, other = (F.pad(which, (0, 1)).to(class_logits.dtype) for which in (sets, ~sets))
    probability = class_logits.softmax(-1)
    within, others, spared = (
        (probability @ which.T)[..., None] for which in (inside, other, 1 - other)
    )  # (L, Q, V, 1) each: p(S), p(other classes), p(S or no object)
    covers, leaves = mask_logits.sigmoid(), (-mask_logits).sigmoid()
    # prod (1 - b_q) * (1 - prod (1 - a_q / (1 - b_q))), each factor in a form that is exact near 0
    clear = (spared + others * leaves).clamp_min(_MIN_LOG)  # 1 - b_q = (1 - p) + p (1 - s)
    hit = -torch.expm1(torch.log1p(-(within * covers / clear.clamp_min(_MIN_DIVISOR)).clamp(max=_MAX_COVER)).sum(1))
    return -hit.clamp_min(_MIN_LOG).log() - clear.log().sum(1)


def draw(semantic: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random points, the same number for each label row of an image, so that small things have enough.

    Parameters
    ----------
    semantic : (H, W) int64 rows, -1 unlabelled; at least one pixel has a row.
    count : total number of points; each row gets at least one.
    seed : see ``points.draw``.

    Returns
    -------
    rows, areas : (V,) int64 each, those of the image and their numbers of pixels.
    where : (V, P, 2) float32, (x, y) in pixels; V * P is about ``count``.
    """
    rows, areas = semantic[semantic >= 0].unique(return_counts=True)
    each = max(1, count // len(rows))
    where = [points.draw(semantic == row, each, seed + place) for place, row in enumerate(rows)]
    return rows, areas, torch.stack(where)


@torch.no_grad()
def over_regions(mask_embedding: Tensor, mask_features: Tensor, region: Tensor, labelled: Tensor) -> Tensor:
    """Queries that lie mostly in a region without segments, where the label does not show whether they are objects.

    Parameters
    ----------
    mask_embedding : (L, Q, C).
    mask_features : (C, h, w), stride 4.
    region, labelled : (H, W) bool, ``region`` inside ``labelled``.

    Returns
    -------
    (L, Q) bool.
    """
    size = tuple(mask_features.shape[-2:])
    # every second row and column suffices
    region, labelled = (points.at_stride(pixels, size, False)[::2, ::2].flatten() for pixels in (region, labelled))
    if not labelled.any():
        return torch.zeros(mask_embedding.shape[:2], dtype=torch.bool, device=mask_embedding.device)
    mask = (mask_embedding @ mask_features[:, ::2, ::2].flatten(1)[:, labelled]).sigmoid()  # (L, Q, P)
    covered = (mask >= _OF_PEAK * mask.amax(-1, keepdim=True)).to(mask.dtype)
    return covered @ region[labelled].to(mask.dtype) > _MOSTLY * covered.sum(-1)

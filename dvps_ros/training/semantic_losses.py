"""What classes without segments teach: some query of one of these classes covers a pixel, and none of another class.

Query q is of a class in S and covers pixel x with probability a_q = (sum of p_q(c) over c in S) * sigmoid(mask_q(x)),
and is of another class and covers it with b_q, "no object" being no class. Queries being independent, the label S has
the likelihood

    P(some query of S covers x, and none of another class) = prod_q (1 - b_q) - prod_q (1 - a_q - b_q).

One query that covers the pixel is enough: nothing pulls towards one instance, or many.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dvps_ros.labels import VOID
from dvps_ros.structures import Target
from dvps_ros.training import points
from dvps_ros.training.layers import Layers

#: A mask covers the pixels where it is at least this share as likely as at its likeliest.
_OF_PEAK = 0.5
#: Of what a query covers, this share must be region without segments for the query to be spared.
_MOSTLY = 0.5
#: From here on one query covers a pixel as surely as can be told.
_SURE = 1 - 1e-6
#: Probabilities below this are no divisor, and below that have no logarithm: their gradients would overflow.
_RARE, _NEVER = 1e-12, 1e-20


def region(target: Target) -> Tensor | None:
    """(H, W) bool: pixels of which classes are known and segments are not; None where there are none."""
    if not target.has_panoptic or target.semantic is None:
        return None
    found = (target.semantic >= 0) & (target.panoptic == VOID)
    return found if found.any() else None


def image_losses(layer: Layers, target: Target, count: int, seed: int) -> Tensor:
    """-ln of the likelihood of one image's classes: (L,), the mean over about ``count`` points (see ``draw``).

    Points are drawn from all labelled pixels: classes with segments, too, say where the others are not.
    """
    assert target.semantic is not None, "targets without classes are left out"
    assert target.class_sets is not None, "they come with the classes"
    rows, where = draw(target.semantic, count, seed)
    logits = layer.mask_embedding @ points.sample_features(layer.mask_features, where.flatten(0, 1))  # (L, Q, V * P)
    logits = logits.unflatten(-1, where.shape[:2])
    return likelihood_losses(layer.class_logits, logits, target.class_sets[rows]).mean((1, 2))


def likelihood_losses(class_logits: Tensor, mask_logits: Tensor, sets: Tensor) -> Tensor:
    """-ln of each pixel's likelihood, see above.

    Parameters
    ----------
    class_logits : (L, Q, K+1); the last column is "no object".
    mask_logits : (L, Q, V, P) at P pixels of each of V sets of classes.
    sets : (V, K) bool, the classes that the pixels may be; at least one each.

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
    clear = (spared + others * leaves).clamp_min(_NEVER)  # 1 - b_q = (1 - p) + p (1 - s)
    hit = -torch.expm1(torch.log1p(-(within * covers / clear.clamp_min(_RARE)).clamp(max=_SURE)).sum(1))
    return -hit.clamp_min(_NEVER).log() - clear.log().sum(1)


def draw(semantic: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random points, as many on each of the rows that an image has, so that small things count as much as the road.

    Parameters
    ----------
    semantic : (H, W) int64 rows, -1 unlabelled; at least one pixel has a row.
    count : number of points, at least one a row.
    seed : see ``points.draw``.

    Returns
    -------
    rows : (V,) int64, those of the image.
    where : (V, P, 2) float32, (x, y) in pixels; V * P is about ``count``.
    """
    rows = semantic[semantic >= 0].unique()
    each = max(1, count // len(rows))
    where = [points.draw(semantic == row, each, seed + place) for place, row in enumerate(rows)]
    return rows, torch.stack(where)


@torch.no_grad()
def over_regions(mask_embedding: Tensor, mask_features: Tensor, region: Tensor, labelled: Tensor) -> Tensor:
    """Which queries lie mostly where classes are known and segments are not.

    Parameters
    ----------
    mask_embedding : (L, Q, C).
    mask_features : (C, h, w), stride 4.
    region, labelled : (H, W) bool, ``region`` inside ``labelled``.

    Returns
    -------
    (L, Q) bool. What the label cannot tell of such a query is whether it is an object.
    """
    size = tuple(mask_features.shape[-2:])
    # every second row and column is enough to tell
    region, labelled = (points.at_stride(pixels, size, False)[::2, ::2].flatten() for pixels in (region, labelled))
    if not labelled.any():
        return torch.zeros(mask_embedding.shape[:2], dtype=torch.bool, device=mask_embedding.device)
    mask = (mask_embedding @ mask_features[:, ::2, ::2].flatten(1)[:, labelled]).sigmoid()  # (L, Q, P)
    covered = (mask >= _OF_PEAK * mask.amax(-1, keepdim=True)).to(mask.dtype)
    return covered @ region[labelled].to(mask.dtype) > _MOSTLY * covered.sum(-1)

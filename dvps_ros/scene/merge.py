"""From queries to a scene: one label and one depth per pixel (He et al., ICCV 2023, section 3, after Mask2Former)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from dvps_ros.config import MergeConfig
from dvps_ros.labels import DIVISOR, VOID, LabelSet
from dvps_ros.structures import Prediction, Scene, Segment

#: The network's maps are this many times smaller than the padded image.
STRIDE = 4
#: About this many pixels tell the median depths.
_MEDIAN_SAMPLES = 131072


@torch.no_grad()
def merge(
    prediction: Prediction,
    index: int,
    size: tuple[int, int],
    output_size: tuple[int, int] | None,
    labels: LabelSet,
    config: MergeConfig,
    depth_scale: float = 1.0,
    metric: bool = True,
) -> Scene:
    """Labels and depth of image ``index`` of a batch.

    Queries are kept by class and score; every pixel goes to the kept query of largest score x mask probability;
    segments that lose too much of their own mask are dropped; stuff of one class becomes one segment. Depth comes from
    the pixel's own query, elsewhere from the backup query (or see ``MergeConfig.backup``).

    Parameters
    ----------
    prediction : the network's output, maps at 1/4 of the padded image; moves to no other device.
    index : which image of the batch.
    size : (H, W) of the network's image before padding (padding is at the bottom and right).
    output_size : (H', W') of the scene; None: ``size``.
    labels : class table with K classes.
    config : thresholds.
    depth_scale : factor on depth, f / canonical focal length.
    metric : whether depth in metres is known; if not, segments have no median depth (NaN).

    Returns
    -------
    Scene : maps of ``output_size``; instances are numbered from 1 in each class, best score first.
    """
    output_size = output_size or size
    queries, classes, scores = kept_queries(prediction.class_logits[index], config.score_threshold, labels)
    kept = prediction.select(index, queries)
    winner, probability = _win_pixels(kept.mask_logits[0], scores, size, config)  # index into the kept or -1
    winner, probability = (_resize_nearest(x, output_size) for x in (winner, probability))
    elsewhere = kept.backup_depth[0, 0] if config.backup else _likeliest_depth(prediction, index)
    depth = _own_depth(kept.depth[0], elsewhere, winner, size).clamp(0, prediction.max_depth) * depth_scale
    return _scene(classes, scores, winner, probability, depth, labels, metric)


@torch.no_grad()
def merge_masks(
    class_logits: Tensor,
    mask_logits: Tensor,
    depth: Tensor,
    size: tuple[int, int],
    labels: LabelSet,
    config: MergeConfig,
    metric: bool = True,
) -> Scene:
    """Labels as ``merge`` gives them, with the depth of another network.

    Parameters
    ----------
    class_logits : (Q, K+1), the last column "no object".
    mask_logits : (Q, h, w) at 1/4 of the padded image.
    depth : (H', W') float32, metres.
    size : (H, W) of the network's image before padding (padding is at the bottom and right).
    labels, config, metric : as in ``merge``.

    Returns
    -------
    Scene : maps of the depth's size.
    """
    queries, classes, scores = kept_queries(class_logits, config.score_threshold, labels)
    winner, probability = _win_pixels(mask_logits[queries], scores, size, config)
    winner, probability = (_resize_nearest(x, tuple(depth.shape)) for x in (winner, probability))
    return _scene(classes, scores, winner, probability, depth, labels, metric)


def _scene(
    classes: Tensor,
    scores: Tensor,
    winner: Tensor,
    probability: Tensor,
    depth: Tensor,
    labels: LabelSet,
    metric: bool,
) -> Scene:
    """The scene of N kept queries, given which of them owns each pixel of the output (-1: none)."""
    ids = _segment_ids(classes, winner, labels)  # (N,)
    panoptic = torch.cat([ids, ids.new_tensor([VOID])])[winner].int()  # -1 reads the last entry: void
    confidence = torch.cat([scores, scores.new_zeros(1)])[winner] * probability
    return Scene(panoptic, depth, confidence, _segments(ids, winner, scores, depth, metric), metric)


def kept_queries(class_logits: Tensor, threshold: float, labels: LabelSet) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (N,) int64 whose best class is an object scoring above ``threshold``, their classes and scores.

    ``class_logits`` is (Q, K+1), the last column "no object". Best score first. Raises ``ValueError`` when K is not
    the label set's.
    """
    if class_logits.shape[-1] != len(labels) + 1:
        raise ValueError(f"the network has {class_logits.shape[-1] - 1} classes, {labels.name} has {len(labels)}")
    scores, classes = class_logits.float().softmax(-1).max(-1)  # (Q,), (Q,)
    queries = ((classes < len(labels)) & (scores > threshold)).nonzero()[:, 0]
    queries = queries[scores[queries].argsort(descending=True, stable=True)]
    return queries, classes[queries], scores[queries]


def _win_pixels(
    mask_logits: Tensor, scores: Tensor, size: tuple[int, int], config: MergeConfig
) -> tuple[Tensor, Tensor]:
    """Which kept query owns each pixel (-1: none) and its mask probability there, both (H, W)."""
    count = len(scores)
    if count == 0:
        return scores.new_full(size, -1, dtype=torch.long), scores.new_zeros(size)
    masks = _upsample(mask_logits.float(), size).sigmoid_()  # (N, H, W)
    own_mask = torch.ge(masks, config.mask_threshold, out=torch.empty_like(masks)).flatten(1).sum(1)  # (N,)
    best, winner = masks.mul_(scores[:, None, None]).max(0)
    probability = best / scores[winner]
    inside = probability >= config.mask_threshold
    won = torch.bincount(winner[inside], minlength=count)
    stays = (won > 0) & (won >= config.overlap_threshold * own_mask)
    inside &= stays[winner]
    return winner.where(inside, -1), probability.where(inside, 0)


def _segment_ids(classes: Tensor, winner: Tensor, labels: LabelSet) -> Tensor:
    """Panoptic ids (N,): stuff shares one per class; things that own pixels are numbered from 1 in their class."""
    present = torch.bincount(winner.flatten() + 1, minlength=len(classes) + 1)[1:] > 0
    thing = torch.tensor(labels.is_thing, device=classes.device)[classes]
    same_before = (classes[:, None] == classes[None, :]).tril() & present[None, :]  # (N, N)
    return classes * DIVISOR + same_before.sum(1).clamp(max=DIVISOR - 1) * thing


def _likeliest_depth(prediction: Prediction, index: int) -> Tensor:
    """Depth (h, w) of the query of largest score x mask probability at each cell, whether it is kept or not."""
    image = prediction.select(index, torch.arange(prediction.class_logits.shape[1]))
    scores = image.class_logits[0].float().softmax(-1)[:, :-1].amax(-1)  # (Q,)
    best = (scores[:, None, None] * image.mask_logits[0].float().sigmoid()).argmax(0)
    return image.depth[0].gather(0, best[None])[0]


def _own_depth(own: Tensor, elsewhere: Tensor, winner: Tensor, size: tuple[int, int]) -> Tensor:
    """Depth (H', W') in metres of each pixel's own query (N, h, w), that of ``elsewhere`` (h, w) where it has none.

    The same values as upsampling every query's map bilinearly and then picking one per pixel, but only the picked ones
    are interpolated, and at the output's own resolution: depth never blends across a segment's border.
    """
    maps = torch.cat([own, elsewhere[None]]).float()  # (N+1, h, w)
    layer = winner.where(winner >= 0, len(maps) - 1)
    rows, low_weight_y = _bilinear_taps(winner.shape[0], size[0], maps.shape[1], maps.device)
    columns, low_weight_x = _bilinear_taps(winner.shape[1], size[1], maps.shape[2], maps.device)
    depth = torch.zeros(winner.shape, device=maps.device)
    flat = maps.flatten()
    start = layer * maps[0].numel()
    for row, weight_y in zip(rows, (low_weight_y, 1 - low_weight_y), strict=True):
        for column, weight_x in zip(columns, (low_weight_x, 1 - low_weight_x), strict=True):
            at = start + (row[:, None] * maps.shape[2] + column[None, :])
            depth.addcmul_(flat[at], weight_y[:, None] * weight_x[None, :])
    return depth


def _bilinear_taps(outputs: int, pixels: int, cells: int, device: torch.device) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Lower and upper cell (each (outputs,)) and the lower one's weight, align_corners false.

    ``outputs`` samples cover ``pixels`` image pixels, STRIDE of which make a cell; there are ``cells`` of them.
    """
    pixel = (torch.arange(outputs, device=device) + 0.5) * (pixels / outputs)
    at = (pixel / STRIDE - 0.5).clamp(0, cells - 1)
    low = at.floor().long()
    return (low, (low + 1).clamp(max=cells - 1)), 1 - (at - low)


def _upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, h, w) at 1/4 of the padded size to (N, H, W), padding cut off; cut first, where nothing would read it."""
    height, width = (min(math.ceil(s / STRIDE) + 1, m) for s, m in zip(size, maps.shape[-2:], strict=True))
    maps = maps[None, :, :height, :width]
    return F.interpolate(maps, scale_factor=STRIDE, mode="bilinear", align_corners=False)[0, :, : size[0], : size[1]]


def _resize_nearest(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(H, W) of any type to ``size``, taking the pixel whose centre is nearest."""
    if tuple(image.shape) == tuple(size):
        return image
    rows, columns = (
        ((torch.arange(new, device=image.device) + 0.5) * (old / new)).long().clamp(max=old - 1)
        for new, old in zip(size, image.shape, strict=True)
    )
    return image[rows[:, None], columns[None, :]]


def _segments(ids: Tensor, winner: Tensor, scores: Tensor, depth: Tensor, metric: bool) -> tuple[Segment, ...]:
    """One row per id present, ordered by id; a merged segment's score is the mean over its pixels."""
    if len(ids) == 0:
        return ()
    values, segment_of = ids.unique(return_inverse=True)  # (S,), (N,)
    pixels = torch.bincount(winner.flatten() + 1, minlength=len(ids) + 1)[1:]  # (N,)
    areas = torch.zeros_like(values).index_add_(0, segment_of, pixels)
    score = torch.zeros_like(values, dtype=torch.float64).index_add_(0, segment_of, pixels * scores.double()) / areas
    medians = _medians(segment_of, areas, winner, depth) if metric else torch.full_like(score, math.nan)
    rows = torch.stack([values.double(), score, areas.double(), medians.double()]).cpu()  # one copy to the host
    return tuple(
        Segment(int(i), int(i) // DIVISOR, int(i) % DIVISOR, min(s, 1.0), int(a), m)
        for i, s, a, m in rows.T.tolist()
        if a
    )


def _medians(segment_of: Tensor, areas: Tensor, winner: Tensor, depth: Tensor) -> Tensor:
    """(S,) median depth of each segment, NaN without pixels; in a large picture of a sample of its pixels."""
    pixels = (winner >= 0).flatten().nonzero()[:, 0]
    segment = segment_of[winner.flatten()[pixels]]
    step = max(1, len(pixels) // _MEDIAN_SAMPLES)
    if step > 1:  # small segments keep all of theirs
        few = areas[segment] < 64 * step
        few[::step] = True
        pixels, segment = pixels[few], segment[few]
    counts = torch.bincount(segment, minlength=len(areas))
    present = counts.nonzero()[:, 0]
    medians = torch.full((len(areas),), math.nan, device=depth.device)
    if len(pixels) == 0:
        return medians
    medians[present] = grouped_median(depth.flatten()[pixels], segment, counts)[present]
    return medians


def grouped_median(values: Tensor, group: Tensor, counts: Tensor) -> Tensor:
    """Lower median (G,) of ``values`` (N,) float32 >= 0 in each ``group`` (N,) of 0..G-1 with ``counts`` (G,) members.

    N must be positive; what is given for a group without members means nothing.
    """
    # Non-negative floats order like their bit patterns, so one integer sort orders by group, then by value.
    ordered = ((group << 32) | values.contiguous().view(torch.int32).long()).sort().values
    middle = (counts.cumsum(0) - counts + (counts - 1).clamp(min=0) // 2).clamp(max=len(values) - 1)
    return (ordered[middle] & 0xFFFFFFFF).int().view(torch.float32)

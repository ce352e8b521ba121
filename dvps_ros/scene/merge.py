"""Merging of queries to a scene: one label and one depth per pixel (He et al., ICCV 2023, section 3; Mask2Former)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dvps_ros.config import MergeConfig
from dvps_ros.labels import DIVISOR, VOID, LabelSet
from dvps_ros.scene.indexing import ascending, look_up, occurrences
from dvps_ros.scene.parts import split_parts
from dvps_ros.scene.resampling import Nearest, own_depth, own_deviation
from dvps_ros.scene.winners import win_pixels
from dvps_ros.structures import Prediction, Scene, Segment

#: Approximate number of pixels from which median depths are computed.
_MEDIAN_SAMPLES = 131072


@torch.no_grad()
def merge(
    prediction: Prediction,
    index: int,
    size: tuple[int, int],
    output_size: tuple[int, int] | None,
    labels: LabelSet,
    config: MergeConfig,
    depth_scale: float | Tensor = 1.0,
    metric: bool = True,
    extent: tuple[float, float] | None = None,
) -> Scene:
    """Labels and depth of image ``index`` of a batch.

    Queries are kept by class and score. Every pixel belongs to the kept query with the largest score x mask
    probability. Segments that lose too much of their own mask are dropped, and stuff of one class becomes one segment.
    Depth is that of the pixel's query, elsewhere that of the backup query (see ``MergeConfig.backup``). The same holds
    for ``depth_std``, if the network predicts it.

    Parameters
    ----------
    prediction : the network's output, with maps at 1/4 of the padded image; it stays on its device.
    index : index of the image in the batch.
    size : (H, W) of the network's image before padding (padding is at the bottom and right).
    output_size : (H', W') of the scene; None: ``size``.
    labels : class table with K classes.
    config : thresholds.
    depth_scale : factor on depth, f / canonical focal length; or one for each pixel, (H', W') float32.
    metric : whether depth is in metres; if not, segments have no median depth (NaN).
    extent : (H, W) of the network's pixels that ``output_size`` covers, if that differs from ``size``; see
        ``Resizing.extent``.

    Returns
    -------
    Scene : maps of ``output_size``; instances are numbered from 1 in each class, best score first and parts last.
    """
    output_size, extent = output_size or size, extent or size
    queries, classes, scores = kept_queries(prediction.class_logits[index], config.score_threshold, labels)
    masks = prediction.select(index, queries).mask_logits[0]
    winner, probability, pixels = win_pixels(masks, scores, size, config)
    owners = pixels.nonzero()[:, 0]  # (N,)
    kept = prediction.select(index, queries[owners])  # only their depth is multiplied out
    owner_index = owners.new_full((len(queries) + 1,), len(owners))
    owner_index[owners] = torch.arange(len(owners), device=owners.device)
    winner = look_up(owner_index, winner)
    nearest = Nearest.of(size, output_size, extent, winner.device)
    elsewhere = kept.backup_depth[0, 0] if config.backup else _likeliest_depth(prediction, index)
    depth = own_depth(kept.depth[0], elsewhere, winner, nearest, extent)
    depth = depth.clamp_(0, prediction.max_depth).mul_(depth_scale)
    found = _Found(classes[owners], scores[owners], kept.mask_embedding[0])
    scene = _scene(found, winner, probability, nearest, depth, labels, config, metric)
    deviation, backup_deviation = kept.deviation, kept.backup_deviation  # computed when they are read
    if deviation is None or backup_deviation is None:
        return scene
    relative = config.deviation_scale * own_deviation(deviation[0], backup_deviation[0], winner)
    return replace(scene, depth_std=depth * nearest(relative))


@torch.no_grad()
def merge_masks(
    class_logits: Tensor,
    mask_logits: Tensor,
    depth: Tensor,
    size: tuple[int, int],
    labels: LabelSet,
    config: MergeConfig,
    metric: bool = True,
    extent: tuple[float, float] | None = None,
) -> Scene:
    """Labels as from ``merge``, with the depth of another network.

    Parameters
    ----------
    class_logits : (Q, K+1), the last column "no object".
    mask_logits : (Q, h, w) at 1/4 of the padded image.
    depth : (H', W') float32, metres.
    size : (H, W) of the network's image before padding (padding is at the bottom and right).
    labels, config, metric, extent : as in ``merge``.

    Returns
    -------
    Scene : maps of the depth's size.
    """
    queries, classes, scores = kept_queries(class_logits, config.score_threshold, labels)
    winner, probability, _ = win_pixels(mask_logits[queries], scores, size, config)
    nearest = Nearest.of(size, (depth.shape[0], depth.shape[1]), extent or size, winner.device)
    return _scene(_Found(classes, scores), winner, probability, nearest, depth, labels, config, metric)


@dataclass(frozen=True)
class _Found:
    """Classes (N,), scores (N,) and, where known, embeddings (N, C) of the kept queries or of their parts."""

    classes: Tensor
    scores: Tensor
    embedding: Tensor | None = None

    def __getitem__(self, rows: Tensor) -> _Found:
        return _Found(self.classes[rows], self.scores[rows], None if self.embedding is None else self.embedding[rows])


def _scene(
    found: _Found,
    winner: Tensor,
    probability: Tensor,
    nearest: Nearest,
    depth: Tensor,
    labels: LabelSet,
    config: MergeConfig,
    metric: bool,
) -> Scene:
    """The scene of N kept queries, from the index of the query of each of the network's pixels (N: none).

    ``nearest`` maps these pixels to those of ``depth``. A segment has the embedding of its best query.
    """
    things = torch.tensor(labels.is_thing, device=winner.device)[found.classes]
    winner, query = split_parts(winner, things, config.split_gap)
    found = found[query]
    readers = None if nearest.same else nearest.readers
    pixels = occurrences(winner, len(query) + 1, readers)[:-1].long()  # (N,)
    ids = _segment_ids(found.classes, pixels, things[query])  # (N,)
    panoptic = nearest(look_up(ids.int(), winner, VOID))
    confidence = nearest(look_up(found.scores, winner, 0).mul_(probability))
    segments = _segments(ids, pixels, found.scores, *_sampled(winner, depth, nearest), metric)
    embedding = None
    if found.embedding is not None and segments:
        first = (ids[None] == ids.new_tensor([s.id for s in segments])[:, None]).int().argmax(1)
        embedding = found.embedding.float()[first]  # (S, C)
    return Scene(panoptic, depth, confidence, segments, metric, embeddings=embedding)


def _sampled(winner: Tensor, depth: Tensor, nearest: Nearest) -> tuple[Tensor, Tensor]:
    """Each of the network's pixels (H, W) that is read, and the depth of one of the image's pixels that read it."""
    if nearest.same:
        return winner, depth
    rows, columns = nearest.samples
    return winner[nearest.rows[rows]][:, nearest.columns[columns]], depth[rows][:, columns]


def kept_queries(class_logits: Tensor, threshold: float, labels: LabelSet) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (N,) int64 whose best class is not "no object" and has a score above ``threshold``; classes and scores.

    ``class_logits`` is (Q, K+1), the last column "no object". The result is sorted by score. Raises ``ValueError`` if
    ``labels`` does not have K classes.
    """
    if class_logits.shape[-1] != len(labels) + 1:
        raise ValueError(f"the network has {class_logits.shape[-1] - 1} classes, {labels.name} has {len(labels)}")
    scores, classes = class_logits.float().softmax(-1).max(-1)  # (Q,), (Q,)
    queries = ((classes < len(labels)) & (scores > threshold)).nonzero()[:, 0]
    queries = queries[scores[queries].argsort(descending=True, stable=True)]
    return queries, classes[queries], scores[queries]


def _segment_ids(classes: Tensor, pixels: Tensor, things: Tensor) -> Tensor:
    """Panoptic ids (N,): stuff of one class has one id; ``things`` (N,) bool are numbered from 1 in each class.

    Only those with ``pixels`` count.
    """
    present = pixels > 0
    same_before = (classes[:, None] == classes[None, :]).tril() & present[None, :]  # (N, N)
    return classes * DIVISOR + same_before.sum(1).clamp(max=DIVISOR - 1) * things


def _likeliest_depth(prediction: Prediction, index: int) -> Tensor:
    """Depth (h, w) of the query with the largest score x mask probability in each cell, whether it is kept or not."""
    image = prediction.select(index, torch.arange(prediction.class_logits.shape[1]))
    scores = image.class_logits[0].float().softmax(-1)[:, :-1].amax(-1)  # (Q,)
    best = (scores[:, None, None] * image.mask_logits[0].float().sigmoid()).argmax(0)
    return image.depth[0].gather(0, best[None])[0]


def _segments(
    ids: Tensor, pixels: Tensor, scores: Tensor, winner: Tensor, depth: Tensor, metric: bool
) -> tuple[Segment, ...]:
    """One row per id present, ordered by id; a merged segment's score is the mean over its pixels.

    ``pixels`` (N,) int64 counts the pixels of each query; ``winner`` and ``depth`` are samples for the medians.
    """
    if len(ids) == 0:
        return ()
    values, segment_of = ids.unique(return_inverse=True)  # (S,), (N,)
    areas = torch.zeros_like(values).index_add_(0, segment_of, pixels)
    score = torch.zeros_like(values, dtype=torch.float64).index_add_(0, segment_of, pixels * scores.double()) / areas
    medians = _medians(segment_of, len(values), winner, depth) if metric else torch.full_like(score, math.nan)
    rows = torch.stack([values.double(), score, areas.double(), medians.double()]).cpu()  # one copy to the host
    return tuple(
        Segment(int(i), int(i) // DIVISOR, int(i) % DIVISOR, min(s, 1.0), int(a), m)
        for i, s, a, m in rows.T.tolist()
        if a
    )


def _medians(segment_of: Tensor, segments: int, winner: Tensor, depth: Tensor) -> Tensor:
    """(S,) median depth of each segment, NaN without pixels; from a sample if there are very many pixels."""
    group = look_up(segment_of, winner, segments).flatten()
    values = depth.flatten().clamp_min(0)
    counts = occurrences(group, segments + 1)  # the last group is nobody's
    step = max(1, len(group) // _MEDIAN_SAMPLES)
    while math.gcd(step, winner.shape[1]) > 1:  # else all samples would lie in the same few columns
        step += 1
    if step > 1:  # small segments keep all of theirs
        few = look_up(counts < 64 * step, group)
        few[::step] = True
        group, values = group[few], values[few]
        counts = occurrences(group, segments + 1)
    medians = grouped_median(values, group, counts)
    return torch.where(counts > 0, medians, math.nan)[:segments]


def grouped_median(values: Tensor, group: Tensor, counts: Tensor) -> Tensor:
    """Lower median (G,) of ``values`` (N,) float32 >= 0 in each ``group`` (N,) of 0..G-1 with ``counts`` (G,) members.

    N must be positive. The value for a group without members is undefined.
    """
    # Non-negative floats order like their bit patterns, so one integer sort orders by group, then by value.
    keys = (group << 32) | values.contiguous().view(torch.int32).long()
    ordered = ascending(keys)
    middle = (counts.cumsum(0) - counts + (counts - 1).clamp(min=0) // 2).clamp(max=len(values) - 1)
    return (ordered[middle] & 0xFFFFFFFF).int().view(torch.float32)

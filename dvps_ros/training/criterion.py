"""All losses of one batch, on the predictions of every layer (deep supervision)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor, nn

from dvps_ros.config import LossConfig
from dvps_ros.labels import VOID
from dvps_ros.structures import Prediction, Target
from dvps_ros.training import guidance_losses, mask_losses, matcher, points
from dvps_ros.training.depth_losses import scale_invariant_groups


@dataclass(frozen=True)
class _Layers:
    """One image's predictions of all L layers, first to last; depth only from the first layer that has geometry.

    Attributes
    ----------
    class_logits : (L, Q, K+1).
    mask_embedding : (L, Q, C).
    mask_features : (C, h, w).
    depth_embedding : (L', Q, D), the last L' <= L layers.
    backup_embedding : (L', 1, D).
    depth_features : (D, h, w).
    max_depth : metres.
    """

    class_logits: Tensor
    mask_embedding: Tensor
    mask_features: Tensor
    depth_embedding: Tensor
    backup_embedding: Tensor
    depth_features: Tensor
    max_depth: float


@dataclass(frozen=True)
class _Matched:
    """Which query was matched to which segment: both (L, M) int64."""

    queries: Tensor
    segments: Tensor


class Criterion(nn.Module):
    """Weighted losses of a ``Prediction`` against its ``Target``s (deepdps.md: He et al., ICCV 2023, section 3.4).

    An image adds only the losses its labels allow: without panoptic labels no class, mask, segment depth or
    semantic-to-depth loss; without depth no depth and no depth-to-semantic loss. Sums over layers, means over masks
    (of all ranks) or images.
    """

    def __init__(self, config: LossConfig, classes: int) -> None:
        super().__init__()
        self.config = config
        self.classes = classes
        if config.depth_to_semantic_weight > 0 and config.depth_to_semantic_form == "similarity":
            self.sigma_semantic = nn.Parameter(torch.ones(()))
            self.sigma_depth = nn.Parameter(torch.ones(()))
        else:
            self.sigma_semantic = self.sigma_depth = 1.0

    def forward(self, prediction: Prediction, targets: list[Target]) -> dict[str, Tensor]:
        """Losses by name, each a scalar already multiplied by its weight; their sum is what training minimizes.

        Names: ``class mask dice depth backup`` and, where switched on, ``semantic_to_depth depth_to_semantic``.
        Every output of the network takes part in the sum (if only with weight 0), so no parameter is left without a
        gradient, whatever labels a batch has.
        """
        with torch.autocast(prediction.class_logits.device.type, enabled=False):
            layers = _unbatch(prediction)
            losses = self._mask_losses(layers, targets)
            losses |= self._backup_loss(layers, targets)
            losses |= self._guidance_losses(prediction, targets)
            losses["class"] = losses["class"] + _nothing(prediction)
        return losses

    # --- segments: class, mask, dice, depth -----------------------------------------------------------------------

    def _mask_losses(self, layers: list[_Layers], targets: list[Target]) -> dict[str, Tensor]:
        zero = layers[0].class_logits.new_zeros(())
        mask, dice, depth = zero, zero, zero
        class_logits, classes = [], []
        masks, depths = zero, zero
        for layer, target in zip(layers, targets, strict=True):
            labelled = _labelled(target)
            if not labelled.any():
                continue
            matched = _Matched(*(torch.zeros(len(layer.class_logits), 0, dtype=torch.long) for _ in range(2)))
            if len(target.classes):
                matched, image_mask, image_dice = self._match_and_compare(layer, target, labelled)
                image_depth, image_depths = _segment_depth(layer, target, matched)
                mask, dice, depth = mask + image_mask, dice + image_dice, depth + image_depth
                masks, depths = masks + len(target.classes), depths + image_depths
            class_logits.append(layer.class_logits)
            classes.append(self._true_classes(layer, target, matched))
        masks = _mean_over_ranks(masks).clamp_min(1)
        depths = _mean_over_ranks(depths).clamp_min(1)
        return {
            "class": self.config.class_weight * self._class_loss(class_logits, classes) if classes else zero,
            "mask": self.config.mask_weight * mask / masks,
            "dice": self.config.dice_weight * dice / masks,
            "depth": self.config.depth_weight * depth / depths,
        }

    def _match_and_compare(self, layer: _Layers, target: Target, labelled: Tensor) -> tuple[_Matched, Tensor, Tensor]:
        """Match one image's queries to its segments; BCE and dice of the matched, summed over layers and masks."""
        config = self.config
        # One set of candidate points for all masks and layers: the features are sampled once, and every logit is
        # then a dot product. Each mask still keeps its own most uncertain candidates.
        candidates = max(config.points, round(config.points * config.oversample))
        important = round(config.points * config.importance)
        where = points.draw(labelled, candidates + config.points - important)
        features = points.sample_features(layer.mask_features, where)  # (C, P)
        truth = points.sample_masks(target.masks, where)  # (N, P)

        shared = slice(0, config.points)
        logits = layer.mask_embedding.detach() @ features[:, shared].detach()
        costs = matcher.cost(layer.class_logits.detach(), logits, target.classes, truth[:, shared], config)
        matched = _Matched(*matcher.assign(costs))

        logits = _rows(layer.mask_embedding, matched.queries) @ features  # (L, M, P)
        masks = truth[matched.segments].to(logits.dtype)
        keep = points.uncertain(logits[..., :candidates], important)
        logits = torch.cat((logits.gather(-1, keep), logits[..., candidates:]), dim=-1)
        masks = torch.cat((masks.gather(-1, keep), masks[..., candidates:]), dim=-1)
        return matched, mask_losses.mask_cross_entropy(logits, masks).sum(), mask_losses.dice(logits, masks).sum()

    def _true_classes(self, layer: _Layers, target: Target, matched: _Matched) -> Tensor:
        """(L, Q) int64: the class each query should give, K where it was not matched."""
        nothing = torch.full(layer.class_logits.shape[:2], self.classes, device=layer.class_logits.device)
        return nothing.scatter(1, matched.queries.to(nothing.device), target.classes[matched.segments])

    def _class_loss(self, logits: list[Tensor], classes: list[Tensor]) -> Tensor:
        by_layer = zip(torch.stack(logits, 1), torch.stack(classes, 1), strict=True)  # (B, Q, K+1), (B, Q) each
        weight = self.config.no_object_weight
        return sum(mask_losses.class_cross_entropy(layer, truth, weight) for layer, truth in by_layer)

    # --- dense depth and guidance -----------------------------------------------------------------------------------

    def _backup_loss(self, layers: list[_Layers], targets: list[Target]) -> dict[str, Tensor]:
        total = layers[0].class_logits.new_zeros(())
        images = total
        for layer, target in zip(layers, targets, strict=True):
            true = _depth_at_stride(layer, target)
            if not target.has_depth or not (true > 0).any():
                continue
            pixel = (true > 0).flatten().nonzero()[:, 0]
            logits = layer.backup_embedding[:, 0] @ layer.depth_features.flatten(1)  # (L', h w)
            pred = layer.max_depth * logits[:, pixel].sigmoid()  # (L', K)
            values = scale_invariant_groups(pred, true.flatten()[pixel], torch.zeros_like(pixel), 1)
            total, images = total + values.sum(), images + 1
        return {"backup": self.config.backup_weight * total / _mean_over_ranks(images).clamp_min(1)}

    def _guidance_losses(self, prediction: Prediction, targets: list[Target]) -> dict[str, Tensor]:
        config, losses = self.config, {}
        size = tuple(prediction.mask_features.shape[-2:])
        if config.semantic_to_depth_weight > 0:
            ids = torch.stack([points.at_stride(_ids(target), size, VOID) for target in targets])
            losses["semantic_to_depth"] = config.semantic_to_depth_weight * guidance_losses.semantic_to_depth(
                _full(prediction.depth_features), ids, VOID, config.patch, config.margin, config.min_negatives
            )
        if config.depth_to_semantic_weight > 0:
            features = _full(prediction.mask_features)
            depth = torch.stack([points.at_stride(t.depth * t.has_depth, size, 0) for t in targets])
            losses["depth_to_semantic"] = config.depth_to_semantic_weight * guidance_losses.depth_to_semantic(
                features,
                depth.to(features.dtype),
                config.patch,
                config.tau,
                config.depth_to_semantic_form,
                self.sigma_semantic,
                self.sigma_depth,
            )
        return losses


def _segment_depth(layer: _Layers, target: Target, matched: _Matched) -> tuple[Tensor, Tensor]:
    """Scale-invariant depth of matched queries inside their true masks: the sum over layers and masks, and the number
    of masks (of one layer) that have depth."""
    true = _depth_at_stride(layer, target)
    if not target.has_depth or len(layer.depth_embedding) == 0:
        return true.new_zeros(()), true.new_zeros(())
    inside = points.at_stride(target.masks, tuple(true.shape), False) & (true > 0)  # (N, h, w)
    segment, pixel = inside.flatten(1).nonzero().unbind(1)  # (K,) each: every pixel with the segment that owns it
    count = len(target.classes)
    # row of every segment among the layer's matched pairs; a segment that no query was left for has none
    geometric = slice(len(matched.queries) - len(layer.depth_embedding), None)
    queries, segments = matched.queries[geometric], matched.segments[geometric]  # (L', M)
    matched_rows = segments.new_full((len(segments), count), -1).scatter(
        1, segments, torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    )
    row = matched_rows[:, segment]  # (L', K)
    logits = torch.einsum("lmd,dp->lmp", _rows(layer.depth_embedding, queries), layer.depth_features.flatten(1))
    layers = torch.arange(len(row), device=row.device)[:, None]
    own = layer.max_depth * logits[layers, row.clamp_min(0), pixel].sigmoid()  # (L', K)
    values = scale_invariant_groups(own, true.flatten()[pixel], segment, count)  # (L', N)
    found = matched_rows >= 0
    has_depth = inside.flatten(1).any(1)
    return values[found].sum(), (found & has_depth).sum() / len(queries)


def _depth_at_stride(layer: _Layers, target: Target) -> Tensor:
    size = tuple(layer.mask_features.shape[-2:])
    return points.at_stride(target.depth, size, 0).to(layer.mask_features.dtype)


def _ids(target: Target) -> Tensor:
    return target.panoptic if target.has_panoptic else torch.full_like(target.panoptic, VOID)


def _labelled(target: Target) -> Tensor:
    """(H, W) bool: pixels whose panoptic label is known."""
    if not target.has_panoptic:
        return torch.zeros_like(target.panoptic, dtype=torch.bool)
    return target.panoptic != VOID if target.labelled is None else target.labelled


def _rows(embedding: Tensor, queries: Tensor) -> Tensor:
    """(L, Q, C) embeddings at (L, M) queries -> (L, M, C)."""
    return embedding.gather(1, queries[..., None].expand(-1, -1, embedding.shape[-1]))


def _unbatch(prediction: Prediction) -> list[_Layers]:
    """Image by image, all layers stacked, in full precision."""
    layers = (*prediction.layers, prediction)
    geometric = [layer for layer in layers if layer.depth_embedding.shape[1]]
    class_logits = torch.stack([_full(layer.class_logits) for layer in layers], 1)
    mask_embedding = torch.stack([_full(layer.mask_embedding) for layer in layers], 1)
    depth_embedding = torch.stack([_full(layer.depth_embedding) for layer in geometric], 1)
    backup_embedding = torch.stack([_full(layer.backup_embedding) for layer in geometric], 1)
    mask_features, depth_features = _full(prediction.mask_features), _full(prediction.depth_features)
    maps = (class_logits, mask_embedding, mask_features, depth_embedding, backup_embedding, depth_features)
    # unbind, not indexing: its gradient is one stack instead of a batch of zeros for each image
    return [_Layers(*one, prediction.max_depth) for one in zip(*(m.unbind(0) for m in maps), strict=True)]


def _full(values: Tensor) -> Tensor:
    """Half precision to float32: sums over thousands of points need it."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _nothing(prediction: Prediction) -> Tensor:
    """0, reached from every output of the network."""
    outputs = [prediction.mask_features, prediction.depth_features]
    for layer in (*prediction.layers, prediction):
        outputs += [layer.class_logits, layer.mask_embedding, layer.depth_embedding, layer.backup_embedding]
    return sum((_full(output).sum() * 0 for output in outputs), outputs[0].new_zeros((), dtype=torch.float32))


def _mean_over_ranks(count: Tensor) -> Tensor:
    """A count, averaged over all processes: gradients are averaged too, so sums divided by it are global means."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return count
    count = count.clone()
    torch.distributed.all_reduce(count)
    return count / torch.distributed.get_world_size()

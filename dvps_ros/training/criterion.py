"""All losses of one batch, on the predictions of every layer (deep supervision)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor, nn

from dvps_ros.config import LossConfig
from dvps_ros.labels import VOID
from dvps_ros.structures import Features, Prediction, Target
from dvps_ros.training import (
    depth_totals,
    guidance_losses,
    mask_losses,
    matcher,
    pixel_classes,
    points,
    semantic_losses,
)
from dvps_ros.training.depth_totals import Total, add
from dvps_ros.training.layers import Layers, connected_zero, full, rows, unbatch

#: Strides of the maps that guidance losses can use.
_LEVELS = (4, 8, 16, 32)


@dataclass(frozen=True)
class _Matched:
    """Matched pairs of queries and segments, both (L, M) int64."""

    queries: Tensor
    segments: Tensor


class Criterion(nn.Module):
    """Weighted losses of a ``Prediction`` against its ``Target``s (deepdps.md: He et al., ICCV 2023, section 3.4).

    An image adds only the losses that its labels allow. Without panoptic labels there is no class, mask, segment depth
    or semantic-to-depth loss; without depth labels there is no depth or depth-to-semantic loss. Regions with classes
    but without segments have the loss of ``semantic_losses``, and queries that lie mostly there are not trained to be
    "no object". Losses are summed over layers. They are means over the queries, masks, images or pixels of the whole
    batch, that is over the images of all processes.

    Parameters
    ----------
    config : weights and constants.
    classes : number of classes K.
    width : channels C of E_pixel; needed by ``pixel_class_weight`` alone.

    Raises ``ValueError`` for an invalid guidance level or patch, or without the width where it is needed.
    """

    def __init__(self, config: LossConfig, classes: int, width: int = 0) -> None:
        super().__init__()
        _check_guidance(config)
        self.config = config
        self.classes = classes
        self.sigma_semantic: nn.Parameter | float = 1.0
        self.sigma_depth: nn.Parameter | float = 1.0
        if config.depth_to_semantic_weight > 0 and config.depth_to_semantic_form == "similarity":
            self.sigma_semantic = nn.Parameter(torch.ones(()))
            self.sigma_depth = nn.Parameter(torch.ones(()))
        self.classify: nn.Module | None = None
        if config.pixel_class_weight > 0:
            if not width:
                raise ValueError("loss.pixel_class_weight needs the width of E_pixel")
            self.classify = nn.Conv2d(width, classes, 1)

    def forward(
        self, prediction: Prediction, targets: list[Target], seeds: Sequence[int] | None = None
    ) -> dict[str, Tensor]:
        """Losses by name, each a scalar multiplied by its weight; training minimizes their sum.

        Names: ``class mask dice semantic depth backup`` and, if enabled, ``uncertainty``, ``pixel_class``,
        ``semantic_to_depth`` and ``depth_to_semantic``. Every output of the network enters the sum, at least with
        weight 0, so that every parameter has a gradient, whatever labels a batch has.

        Each of several processes calls this once per step. A loss then has the value of the whole batch in all of them.
        Its gradient is the process's share times the number of processes, so that DistributedDataParallel's mean over
        processes is the gradient of the whole batch.

        Parameters
        ----------
        prediction : predictions of all layers; with feature maps if guidance is enabled.
        targets : one per image.
        seeds : one seed 0 .. 2**63 - 1 per image for its random points; None: drawn from torch's own generator.
        """
        seeds = torch.randint(2**62, (len(targets),)).tolist() if seeds is None else seeds
        with torch.autocast(prediction.class_logits.device.type, enabled=False):
            layers = unbatch(prediction)
            totals = self._segment_totals(layers, targets, seeds) | self._semantic_total(layers, targets, seeds)
            for layer, target in zip(layers, targets, strict=True):
                add(totals, depth_totals.backup(layer, target, self.config.uncertainty_detach_mean))
            if self.classify is not None:
                logits = self.classify(full(prediction.mask_features))
                totals["pixel_class"] = pixel_classes.total(logits, targets)
            guidance = self._guidance_totals(prediction, targets)
            means = _means(totals | guidance)
            losses = {
                "class": self.config.class_weight * means["class"] + connected_zero(prediction),
                "mask": self.config.mask_weight * means["mask"],
                "dice": self.config.dice_weight * means["dice"],
                "semantic": self.config.semantic_weight * means["semantic"],
                "depth": self.config.depth_weight * means["depth"],
                "backup": self.config.backup_weight * means["backup"],
            }
            if "uncertainty" in means:
                losses["uncertainty"] = self.config.uncertainty_weight * means["uncertainty"]
            if "pixel_class" in means:
                losses["pixel_class"] = self.config.pixel_class_weight * means["pixel_class"]
            return losses | self._guidance(means)

    # --- segments: class, mask, dice, depth -----------------------------------------------------------------------

    def _segment_totals(self, layers: list[Layers], targets: list[Target], seeds: Sequence[int]) -> dict[str, Total]:
        zero = layers[0].class_logits.new_zeros(())
        totals = dict.fromkeys(("class", "mask", "dice", "depth"), (zero, zero))
        class_logits, classes = [], []
        for layer, target, seed in zip(layers, targets, seeds, strict=True):
            labelled = _labelled(target)
            if not labelled.any():
                continue
            matched = _Matched(*(torch.zeros(len(layer.class_logits), 0, dtype=torch.long) for _ in range(2)))
            if len(target.classes):
                matched, mask, dice = self._match_and_compare(layer, target, labelled, seed)
                masks = zero + len(target.classes)
                add(totals, {"mask": (mask, masks), "dice": (dice, masks)})
                pairs = matched.queries, matched.segments
                add(totals, depth_totals.segments(layer, target, *pairs, self.config.uncertainty_detach_mean))
            class_logits.append(layer.class_logits)
            classes.append(self._true_classes(layer, target, matched))
        return totals | ({"class": self._class_total(class_logits, classes)} if classes else {})

    def _match_and_compare(
        self, layer: Layers, target: Target, labelled: Tensor, seed: int
    ) -> tuple[_Matched, Tensor, Tensor]:
        """Match one image's queries to its segments; returns the pairs, BCE and dice, summed over layers and masks."""
        config = self.config
        # All masks and layers share one set of candidate points, so the features are sampled once and every logit is a
        # dot product. Each mask still selects its own most uncertain candidates.
        candidates = max(config.points, round(config.points * config.oversample))
        important = round(config.points * config.importance)
        where = points.draw(labelled, candidates + config.points - important, seed)
        features = points.sample_features(layer.mask_features, where)  # (C, P)
        truth = points.sample_masks(target.masks, where)  # (N, P)

        shared = slice(0, config.points)
        logits = layer.mask_embedding.detach() @ features[:, shared].detach()
        costs = matcher.cost(layer.class_logits.detach(), logits, target.classes, truth[:, shared], config)
        matched = _Matched(*matcher.assign(costs))

        logits = rows(layer.mask_embedding, matched.queries) @ features  # (L, M, P)
        masks = truth[matched.segments].to(logits.dtype)
        keep = points.uncertain(logits[..., :candidates], important)
        logits = torch.cat((logits.gather(-1, keep), logits[..., candidates:]), dim=-1)
        masks = torch.cat((masks.gather(-1, keep), masks[..., candidates:]), dim=-1)
        return matched, mask_losses.mask_cross_entropy(logits, masks).sum(), mask_losses.dice(logits, masks).sum()

    def _true_classes(self, layer: Layers, target: Target, matched: _Matched) -> Tensor:
        """(L, Q) int64: target class of each query, K if unmatched, or ``IGNORED`` in a region without segments."""
        classes = torch.full(layer.class_logits.shape[:2], self.classes, device=layer.class_logits.device)
        if (region := semantic_losses.region(target)) is not None:
            ignored = semantic_losses.over_regions(layer.mask_embedding, layer.mask_features, region, _labelled(target))
            classes = classes.masked_fill(ignored, mask_losses.IGNORED)
        return classes.scatter(1, matched.queries.to(classes.device), target.classes[matched.segments])

    def _class_total(self, logits: list[Tensor], classes: list[Tensor]) -> Total:
        stacked = torch.stack(logits, 1), torch.stack(classes, 1)  # (L, B, Q, K+1), (L, B, Q)
        total, weights = mask_losses.class_cross_entropy(*stacked, self.config.no_object_weight)
        # every layer matches the same number of queries, so its weights have the same sum (except for ignored queries)
        return total, weights / len(stacked[0])

    def _semantic_total(self, layers: list[Layers], targets: list[Target], seeds: Sequence[int]) -> dict[str, Total]:
        """Sum over images with unsegmented regions of the mean over points, summed over layers; and their number."""
        total = layers[0].class_logits.new_zeros(())
        images = total
        for layer, target, seed in zip(layers, targets, seeds, strict=True):
            if semantic_losses.region(target) is not None:
                count, balance = self.config.semantic_points, self.config.semantic_balance
                values = semantic_losses.image_losses(layer, target, count, seed, balance)
                total, images = total + values.sum(), images + 1
        return {"semantic": (total, images)}

    # --- guidance ------------------------------------------------------------------------------------------------

    def _guidance_totals(self, prediction: Prediction, targets: list[Target]) -> dict[str, Total]:
        """Each enabled guidance loss at each of its levels, named e.g. ``semantic_to_depth/4``."""
        config, totals = self.config, {}
        if config.semantic_to_depth_weight > 0:
            for stride in config.semantic_to_depth_levels:
                features = _map(prediction.depth_maps, stride)
                ids = _at_level([points.known_ids(target) for target in targets], features, VOID, stride)
                totals[f"semantic_to_depth/{stride}"] = guidance_losses.semantic_to_depth_total(
                    features, ids, VOID, config.patch, config.margin, config.min_negatives
                )
        if config.depth_to_semantic_weight > 0:
            for stride in config.depth_to_semantic_levels:
                features = _map(prediction.semantic_maps, stride)
                depth = _at_level([target.depth * target.has_depth for target in targets], features, 0, stride)
                totals[f"depth_to_semantic/{stride}"] = guidance_losses.depth_to_semantic_total(
                    features,
                    depth.to(features.dtype),
                    config.patch,
                    config.tau,
                    config.depth_to_semantic_form,
                    self.sigma_semantic,
                    self.sigma_depth,
                )
        return totals

    def _guidance(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        losses = {}
        for name in ("semantic_to_depth", "depth_to_semantic"):
            levels = [mean for level, mean in means.items() if level.startswith(name)]
            if levels:
                losses[name] = getattr(self.config, f"{name}_weight") * torch.stack(levels).mean()
        return losses


def _check_guidance(config: LossConfig) -> None:
    for key in ("semantic_to_depth_levels", "depth_to_semantic_levels"):
        levels = getattr(config, key)
        if not levels or len(set(levels)) < len(levels) or not set(levels) <= set(_LEVELS):
            raise ValueError(f"loss.{key} is {list(levels)}, must be distinct members of {list(_LEVELS)}")
    if config.patch % 2 == 0:
        raise ValueError(f"loss.patch is {config.patch}, must be odd")


def _labelled(target: Target) -> Tensor:
    """(H, W) bool: pixels whose panoptic label is known."""
    if not target.has_panoptic:
        return torch.zeros_like(target.panoptic, dtype=torch.bool)
    return target.panoptic != VOID if target.labelled is None else target.labelled


def _map(maps: Features | None, stride: int) -> Tensor:
    assert maps is not None, "the network gives its maps in training"
    return full(getattr(maps, f"stride{stride}"))


def _at_level(labels: list[Tensor], features: Tensor, fill: float, stride: int) -> Tensor:
    """(B, h, w): each image's labels at the size of ``features``."""
    size = (features.shape[-2], features.shape[-1])
    return torch.stack([points.at_stride(label, size, fill, stride) for label in labels])


def _means(totals: dict[str, Total]) -> dict[str, Tensor]:
    """Each sum divided by its count, both over all processes, in one reduction: see ``Criterion.forward``."""
    parts = torch.stack([torch.stack([part.detach().double() for part in total]) for total in totals.values()])
    world = 1
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        world = torch.distributed.get_world_size()
        torch.distributed.all_reduce(parts)
    means = {}
    for (name, (total, _)), (whole, count) in zip(totals.items(), parts, strict=True):
        divisor = torch.where(count > 0, count, 1.0)  # for a count of 0 the sum is 0
        share = total * (world / divisor).to(total.dtype)
        means[name] = share + ((whole / divisor).to(total.dtype) - share).detach()
    return means

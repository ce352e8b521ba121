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
from dvps_ros.training import depth_totals, guidance_losses, mask_losses, matcher, points, semantic_losses
from dvps_ros.training.depth_totals import Total, add
from dvps_ros.training.layers import Layers, full, nothing, rows, unbatch

#: Strides of the maps that guidance can shape.
_LEVELS = (4, 8, 16, 32)


@dataclass(frozen=True)
class _Matched:
    """Which query was matched to which segment: both (L, M) int64."""

    queries: Tensor
    segments: Tensor


class Criterion(nn.Module):
    """Weighted losses of a ``Prediction`` against its ``Target``s (deepdps.md: He et al., ICCV 2023, section 3.4).

    An image adds only the losses its labels allow: without panoptic labels no class, mask, segment depth or
    semantic-to-depth loss; without depth no depth and no depth-to-semantic loss. Where a panoptic label has classes
    without segments, these have the loss of ``semantic_losses``, and a query that lies mostly there is not taught to be
    no object. Sums over layers; means over the queries, masks, images or pixels of the whole batch, that is over the
    images of all processes.

    Raises ``ValueError`` for a guidance level or patch that does not exist.
    """

    def __init__(self, config: LossConfig, classes: int) -> None:
        super().__init__()
        _check_guidance(config)
        self.config = config
        self.classes = classes
        self.sigma_semantic: nn.Parameter | float = 1.0
        self.sigma_depth: nn.Parameter | float = 1.0
        if config.depth_to_semantic_weight > 0 and config.depth_to_semantic_form == "similarity":
            self.sigma_semantic = nn.Parameter(torch.ones(()))
            self.sigma_depth = nn.Parameter(torch.ones(()))

    def forward(
        self, prediction: Prediction, targets: list[Target], seeds: Sequence[int] | None = None
    ) -> dict[str, Tensor]:
        """Losses by name, each a scalar already multiplied by its weight; their sum is what training minimizes.

        Names: ``class mask dice semantic depth backup`` and, where switched on, ``uncertainty``, ``semantic_to_depth``
        and ``depth_to_semantic``. Every output of the network takes part in the sum (if only with weight 0), so that no
        parameter is left without a gradient, whatever labels a batch has.

        With several processes each calls this once a step. A loss then has the value of the whole batch in all of
        them, and its gradient is this process's share times their number, so that the mean of all gradients, which
        DistributedDataParallel takes, is the gradient of the whole batch.

        Parameters
        ----------
        prediction : with all layers, and with maps where guidance is on.
        targets : one an image.
        seeds : 0 .. 2**63 - 1, of each image's random points; default: drawn from torch's own generator.
        """
        seeds = torch.randint(2**62, (len(targets),)).tolist() if seeds is None else seeds
        with torch.autocast(prediction.class_logits.device.type, enabled=False):
            layers = unbatch(prediction)
            totals = self._segment_totals(layers, targets, seeds) | self._semantic_total(layers, targets, seeds)
            for layer, target in zip(layers, targets, strict=True):
                add(totals, depth_totals.backup(layer, target, self.config.uncertainty_detach_mean))
            guidance = self._guidance_totals(prediction, targets)
            means = _means(totals | guidance)
            losses = {
                "class": self.config.class_weight * means["class"] + nothing(prediction),
                "mask": self.config.mask_weight * means["mask"],
                "dice": self.config.dice_weight * means["dice"],
                "semantic": self.config.semantic_weight * means["semantic"],
                "depth": self.config.depth_weight * means["depth"],
                "backup": self.config.backup_weight * means["backup"],
            }
            if "uncertainty" in means:
                losses["uncertainty"] = self.config.uncertainty_weight * means["uncertainty"]
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
        """Match one image's queries to its segments; BCE and dice of the matched, summed over layers and masks."""
        config = self.config
        # One set of candidate points for all masks and layers: the features are sampled once, and every logit is
        # then a dot product. Each mask still keeps its own most uncertain candidates.
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
        """(L, Q) int64: the class each query should give: K where it was not matched, or ``UNTOLD``."""
        classes = torch.full(layer.class_logits.shape[:2], self.classes, device=layer.class_logits.device)
        if (region := semantic_losses.region(target)) is not None:
            untold = semantic_losses.over_regions(layer.mask_embedding, layer.mask_features, region, _labelled(target))
            classes = classes.masked_fill(untold, mask_losses.UNTOLD)
        return classes.scatter(1, matched.queries.to(classes.device), target.classes[matched.segments])

    def _class_total(self, logits: list[Tensor], classes: list[Tensor]) -> Total:
        stacked = torch.stack(logits, 1), torch.stack(classes, 1)  # (L, B, Q, K+1), (L, B, Q)
        total, weights = mask_losses.class_cross_entropy(*stacked, self.config.no_object_weight)
        # every layer matches as many queries, so the weights of each add up to the same (but for those spared)
        return total, weights / len(stacked[0])

    def _semantic_total(self, layers: list[Layers], targets: list[Target], seeds: Sequence[int]) -> dict[str, Total]:
        """The mean over points and the sum over layers for each image that has classes without segments."""
        total = layers[0].class_logits.new_zeros(())
        images = total
        for layer, target, seed in zip(layers, targets, seeds, strict=True):
            if semantic_losses.region(target) is not None:
                values = semantic_losses.image_losses(layer, target, self.config.semantic_points, seed)
                total, images = total + values.sum(), images + 1
        return {"semantic": (total, images)}

    # --- guidance ------------------------------------------------------------------------------------------------

    def _guidance_totals(self, prediction: Prediction, targets: list[Target]) -> dict[str, Total]:
        """Each switched-on guidance at each of its levels, named ``semantic_to_depth/4``."""
        config, totals = self.config, {}
        if config.semantic_to_depth_weight > 0:
            for stride in config.semantic_to_depth_levels:
                features = _map(prediction.depth_maps, stride)
                ids = _at_level([_ids(target) for target in targets], features, VOID, stride)
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
            raise ValueError(f"loss.{key} is {list(levels)}, must be some of {list(_LEVELS)}, each once")
    if config.patch % 2 == 0:
        raise ValueError(f"loss.patch is {config.patch}, must be odd")


def _ids(target: Target) -> Tensor:
    return target.panoptic if target.has_panoptic else torch.full_like(target.panoptic, VOID)


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
    """Each sum divided by its count, both over all processes, in one exchange: see ``Criterion.forward``."""
    parts = torch.stack([torch.stack([part.detach().double() for part in total]) for total in totals.values()])
    world = 1
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        world = torch.distributed.get_world_size()
        torch.distributed.all_reduce(parts)
    means = {}
    for (name, (total, _)), (whole, count) in zip(totals.items(), parts, strict=True):
        divisor = torch.where(count > 0, count, 1.0)  # the sum of nothing is 0
        share = total * (world / divisor).to(total.dtype)
        means[name] = share + ((whole / divisor).to(total.dtype) - share).detach()
    return means

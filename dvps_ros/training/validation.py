"""Scores of the network on validation images: PQ, DPQ, absRel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dvps_ros.config import Config
from dvps_ros.labels import LABEL_SETS
from dvps_ros.metrics import DepthAwareVideoPanopticQuality, DepthErrors, only_classes, over_all_processes
from dvps_ros.scene.merge import merge
from dvps_ros.structures import Prediction, Scene, Target

#: Thresholds of the relative depth error over which DPQ is averaged (Qiao et al., ViP-DeepLab, CVPR 2021).
THRESHOLDS = (0.5, 0.25, 0.1)


class Scores:
    """PQ, DPQ and absRel over the images given to ``update``."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.labels = LABEL_SETS[config.labels]
        self.quality = DepthAwareVideoPanopticQuality(self.labels, frames=(1,), thresholds=(None, *THRESHOLDS))
        self.depth = DepthErrors()

    @torch.no_grad()
    def update(self, prediction: Prediction, targets: list[Target]) -> list[Scene]:
        """Add one batch; returns its scenes at the targets' size, with depth for the canonical focal length."""
        return [self._one(prediction, index, target) for index, target in enumerate(targets)]

    def compute(self) -> dict[str, Tensor]:
        """``val/PQ``, ``val/DPQ``, ``val/absRel``: scalars over all processes. Every process must call this.

        PQ and DPQ (the mean over ``THRESHOLDS``) are percent; NaN without labels.
        """
        quality, depth = over_all_processes(self.quality), over_all_processes(self.depth)
        scores = {
            "val/PQ": quality.compute()["k1/none"]["all"],
            "val/DPQ": quality.means().get("DPQ", {}).get("all", math.nan),
            "val/absRel": depth.compute()["absRel"],
        }
        return {name: torch.tensor(float(value), dtype=torch.float32) for name, value in scores.items()}

    def _one(self, prediction: Prediction, index: int, target: Target) -> Scene:
        size = (target.panoptic.shape[0], target.panoptic.shape[1])
        scene = merge(prediction, index, size, None, self.labels, self.config.merge).cpu()
        panoptic, depth = target.panoptic.cpu().numpy(), target.depth.cpu().numpy()
        found = only_classes(scene.panoptic.numpy(), target.segmented)
        self.quality.begin_sequence()
        self.quality.update_frame(found, panoptic, scene.depth.numpy(), depth if target.has_depth else None)
        self.depth.update(scene.depth.numpy(), depth)
        return scene

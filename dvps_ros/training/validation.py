"""How good the network is on validation images: PQ, DPQ, absRel."""

from __future__ import annotations

import torch
from torch import Tensor

from dvps_ros.config import Config
from dvps_ros.labels import LABEL_SETS
from dvps_ros.metrics import DepthAwareVideoPanopticQuality, DepthErrors
from dvps_ros.scene.merge import merge
from dvps_ros.structures import Prediction, Scene, Target

#: Relative depth errors at which DPQ is averaged (Qiao et al., ViP-DeepLab, CVPR 2021).
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
        """Count one batch and return its scenes, at the targets' size, depth for the network's own focal length."""
        return [self._one(prediction, index, target) for index, target in enumerate(targets)]

    def compute(self) -> dict[str, Tensor]:
        """``val/PQ`` and ``val/DPQ`` in percent, ``val/absRel``; NaN where there was nothing to compare."""
        quality = self.quality.compute()
        by_threshold = [quality[f"k1/{threshold}"]["all"] for threshold in THRESHOLDS]
        scores = {
            "val/PQ": quality["k1/none"]["all"],
            "val/DPQ": sum(by_threshold) / len(by_threshold),
            "val/absRel": self.depth.compute()["absRel"],
        }
        return {name: torch.tensor(float(value), dtype=torch.float32) for name, value in scores.items()}

    def _one(self, prediction: Prediction, index: int, target: Target) -> Scene:
        size = tuple(target.panoptic.shape)
        scene = merge(prediction, index, size, None, self.labels, self.config.merge).cpu()
        panoptic, depth = target.panoptic.cpu().numpy(), target.depth.cpu().numpy()
        self.quality.update(scene.panoptic.numpy()[None], panoptic[None], scene.depth.numpy()[None], depth[None])
        self.depth.update(scene.depth.numpy(), depth)
        return scene

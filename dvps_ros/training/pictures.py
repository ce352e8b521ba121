"""Validation pictures in TensorBoard: the image with predicted labels, with true labels, and the depth."""

from __future__ import annotations

from typing import Any

import numpy as np
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from dvps_ros.drawing.overlay import colorize_depth, overlay
from dvps_ros.labels import LabelSet
from dvps_ros.structures import Scene, Target


class LabelPictures(Callback):
    """Draws the first ``count`` images of each validation."""

    def __init__(self, count: int, labels: LabelSet, max_depth: float) -> None:
        self.count, self.labels, self.max_depth = count, labels, max_depth
        self._drawn = 0

    def on_validation_epoch_start(self, *_: Any) -> None:
        """Reset the count of pictures."""
        self._drawn = 0

    def on_validation_batch_end(  # type: ignore[override]  # the outputs are what DvpsModule gives
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: list[Scene],
        batch: tuple[Tensor, list[Target]],
        *_: Any,
    ) -> None:
        """Draw images (B, 3, H, W) of this batch until ``count`` are drawn."""
        if trainer.logger is None or not trainer.is_global_zero or trainer.sanity_checking:
            return
        for image, scene, target in zip(batch[0], outputs, batch[1], strict=True):
            if self._drawn == self.count:
                return
            picture = self._picture(image.permute(1, 2, 0).contiguous().cpu().numpy(), scene, target)
            name = f"val/{self._drawn}"
            experiment: Any = trainer.logger.experiment  # type: ignore[attr-defined]  # of TensorBoardLogger
            experiment.add_image(name, picture, trainer.global_step, dataformats="HWC")
            self._drawn += 1

    def _picture(self, image: np.ndarray, scene: Scene, target: Target) -> np.ndarray:
        true = Scene(target.panoptic.cpu(), target.depth.cpu(), scene.confidence)
        rows = [
            [
                overlay(image, labelled, self.labels),
                colorize_depth(labelled.depth, far=self.max_depth),
            ]
            for labelled in (scene, true)
        ]
        return np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)

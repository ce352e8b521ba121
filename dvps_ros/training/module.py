"""The LightningModule: steps, optimizer, logging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from dvps_ros import network
from dvps_ros.config import Config
from dvps_ros.structures import Scene, Target
from dvps_ros.training.batch_norm import share_batch_norms
from dvps_ros.training.criterion import Criterion
from dvps_ros.training.optimizer import build_optimizer
from dvps_ros.training.resume import CONFIG_KEY, plain, with_new_rates
from dvps_ros.training.validation import Scores

Batch = tuple[Tensor, list[Target]]


class NotFiniteError(ValueError):
    """A loss of a training step is not finite. The message names the step, the losses and the samples in one line."""

    def __init__(self, step: int, total: float, losses: Mapping[str, Tensor], names: Sequence[str]) -> None:
        bad = ", ".join(f"{name} {value.item()}" for name, value in losses.items() if not value.isfinite())
        super().__init__(
            f"step {step}: loss {total} ({bad or 'all parts are finite'}), samples: {', '.join(names)}; the last "
            "checkpoint is kept; lower optimizer.learning_rate or set optimizer.clip_norm"
        )


class DvpsModule(lightning.LightningModule):
    """Trains ``net`` by ``config``; a batch is (images (B, 3, H, W) uint8 RGB, one ``Target`` per image).

    Every step seeds its own random numbers, so a resumed run has the same steps as an uninterrupted one. The points of
    an image depend on its number in the run, so that one process and several give the same gradients for the same
    images. Only the stochastic depth of a Swin differs, because each process draws its own.

    Attributes: ``net`` the DvpsNet, ``criterion``, ``config``, ``scores`` of the running validation.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.net = network.build(config.network)
        self.criterion = Criterion(config.loss, config.network.classes, config.network.width)
        self.scores = Scores(config)

    def setup(self, stage: str) -> None:
        """Share batch norm statistics between processes on CPUs; on CUDA ``sync_batchnorm`` does it."""
        if self.trainer.world_size > 1 and self.trainer.strategy.root_device.type == "cpu":
            share_batch_norms(self.net)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """One batch's loss."""
        self._seed(index)
        images, targets = batch
        losses = self.criterion(self.net(images, layers=True), targets, self._image_seeds(index, len(targets)))
        total = torch.stack(list(losses.values())).sum()
        if not total.isfinite():
            raise NotFiniteError(self.trainer.global_step + 1, total.item(), losses, [t.name for t in targets])
        self.log("train/loss", total, prog_bar=True)
        self.log_dict({f"train/{name}": loss for name, loss in losses.items()})
        return total

    def on_validation_epoch_start(self) -> None:
        """Reset the scores."""
        self.scores = Scores(self.config)

    def validation_step(  # type: ignore[override]  # Lightning passes what a step returns on to the callbacks
        self, batch: Batch, index: int
    ) -> list[Scene]:
        """Add one batch to the scores; returns its scenes, for callbacks that draw them."""
        images, targets = batch
        return self.scores.update(self.net(images, layers=False), targets)

    def on_validation_epoch_end(self) -> None:
        """Log PQ, DPQ (percent) and absRel."""
        # the values are equal in all processes, but without sync_dist Lightning would warn
        self.log_dict(self.scores.compute(), prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW and its schedule."""
        optimizer, schedule = build_optimizer(self, self.config.optimizer, self.config.training.max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Apply this run's ``optimizer`` settings to a resumed checkpoint that has others."""
        if checkpoint[CONFIG_KEY]["optimizer"] != plain(self.config)["optimizer"]:
            optimizer, schedule = build_optimizer(self, self.config.optimizer, self.config.training.max_steps)
            with_new_rates(checkpoint, optimizer, schedule)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Store the configuration in the checkpoint."""
        checkpoint[CONFIG_KEY] = plain(self.config)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, _: int) -> Batch:
        """Images and targets onto ``device``."""
        images, targets = batch
        return images.to(device, non_blocking=True), [target.to(device) for target in targets]

    def _seed(self, index: int) -> None:
        torch.manual_seed((self.config.training.seed * 1_000_003 + index) * 4096 + self.global_rank)

    def _image_seeds(self, index: int, count: int) -> list[int]:
        """A seed for each image of this process's batch ``index``, from the image's number in the run."""
        size, world, rank = self.config.training.batch_size, self.trainer.world_size, self.trainer.global_rank
        numbers = [(index * size + place) * world + rank for place in range(count)]
        return [int(np.random.SeedSequence((self.config.training.seed, n)).generate_state(1)[0]) for n in numbers]

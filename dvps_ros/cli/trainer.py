"""Lightning's trainer and data module of a training run."""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import lightning.pytorch as lightning

    from dvps_ros.config import Config
    from dvps_ros.datasets.module import DvpsData
    from dvps_ros.training.callbacks import StopOnSignal

#: Names in a run's folder: the checkpoint for --resume, the last model, and the best model.
CHECKPOINT = "last.ckpt"
MODEL, BEST = "model", "best"


def hardware_of(device: str, config: Config) -> dict[str, Any]:
    """Arguments of Lightning's trainer for devices, processes (also under torchrun) and precision.

    Raises ``ValueError`` if this machine lacks the device, or the device does not support the precision.
    """
    import torch

    cuda = torch.cuda.is_available() if device == "auto" else device == "cuda"
    if cuda and not torch.cuda.is_available():
        raise ValueError("--device cuda: this machine has no CUDA device")
    precision = config.training.precision
    if precision == "16" and not cuda:
        raise ValueError("training.precision 16 needs CUDA; on a CPU use --set training.precision=bf16 (or 32)")
    if precision == "bf16" and not cuda and torch.backends.cpu.get_cpu_capability() == "AVX2":
        print(
            "this processor emulates bf16, which takes about seven times as long; use --set training.precision=32",
            file=sys.stderr,
        )
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 0)) or (torch.cuda.device_count() if cuda else 1)
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", 1))
    return {
        "accelerator": "cuda" if cuda else "cpu",
        "devices": local,
        "num_nodes": nodes,
        # the loss of a batch without depth labels does not use the weights of the depth branch
        "strategy": "ddp_find_unused_parameters_true" if local * nodes > 1 else "auto",
        "sync_batchnorm": cuda and local * nodes > 1,
        "precision": {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[precision],
    }


def quieten() -> None:
    """Silence Lightning's notices, and its warnings about intended behaviour."""
    import logging

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        "You're resuming from a checkpoint",  # the sampler continues where it stopped
        "You have overridden `transfer_batch_to_device`",
        ".*does not have many workers",
        "Found .* module.s. in eval mode",  # frozen batch norms
        ".*Checkpoint directory",
        ".*LeafSpec.* is deprecated",
        "The number of training batches",
        "You are trying to `self.log.. .*batch_size",
    ):
        warnings.filterwarnings("ignore", message)


def data_of(config: Config, done: int, processes: int) -> DvpsData:
    """The configured data sets; training frames begin with batch ``done`` of the whole run."""
    from torch.utils.data import DataLoader

    from dvps_ros.datasets.module import DvpsData
    from dvps_ros.datasets.samplers import ContinuousSampler, continuous_loader

    training = config.training

    class Data(DvpsData):
        def train_dataloader(self) -> DataLoader:
            loader = super().train_dataloader()
            length = training.max_steps * training.accumulate * training.batch_size
            trainer = self.trainer
            assert trainer is not None, "Lightning sets it"
            order = ContinuousSampler(
                len(cast("Sized", loader.dataset)),
                training.seed,
                length,
                start=done * training.batch_size,
                batch_size=training.batch_size,
                rank=trainer.global_rank,
                world=trainer.world_size,
            )
            return continuous_loader(loader, order)

    return Data(config, processes)


def trainer_of(
    config: Config, out: Path, hardware: dict[str, Any], stop: StopOnSignal, measure: str | None
) -> lightning.Trainer:
    """Lightning's trainer of a run, with its callbacks; ``measure`` ranks states, None keeps no best one."""
    import lightning.pytorch as lightning
    from lightning.pytorch.callbacks import EMAWeightAveraging, LearningRateMonitor, TQDMProgressBar
    from lightning.pytorch.loggers import TensorBoardLogger

    from dvps_ros.labels import LABEL_SETS
    from dvps_ros.training.best import KeepBest
    from dvps_ros.training.callbacks import ExportModel, LastCheckpoint
    from dvps_ros.training.pictures import LabelPictures
    from dvps_ros.training.progress import Progress, SkippedSamples

    training = config.training
    processes = hardware["devices"] * hardware["num_nodes"]
    quieten()
    terminal = sys.stderr.isatty()
    skipped = SkippedSamples() if config.data.on_bad_sample == "skip" else None
    progress = Progress(training.log_every, training.batch_size * training.accumulate, skipped, lines=not terminal)
    callbacks = [
        stop,
        ExportModel(out / MODEL, config),  # before the averaging callback, so that it exports the average
        LabelPictures(training.images, LABEL_SETS[config.labels], config.network.max_depth),
        LearningRateMonitor(),
        *([EMAWeightAveraging(decay=training.ema_decay)] if training.ema_decay > 0 else []),
        *([] if skipped is None else [skipped]),  # before the checkpoint, which saves its count
        progress,
        *([] if measure is None else [KeepBest(out / MODEL, out / BEST, measure)]),
        LastCheckpoint(out / CHECKPOINT, training.checkpoint_every),
        *([TQDMProgressBar(refresh_rate=1)] if terminal else []),
    ]
    return lightning.Trainer(
        **hardware,
        max_steps=training.max_steps,
        max_epochs=-1,
        accumulate_grad_batches=training.accumulate,
        gradient_clip_val=config.optimizer.clip_norm or None,
        val_check_interval=training.validate_every * training.accumulate,
        check_val_every_n_epoch=None,
        limit_val_batches=math.ceil(training.validate_batches / (training.batch_size * processes)) or 1.0,
        num_sanity_val_steps=0,
        log_every_n_steps=training.log_every,
        use_distributed_sampler=False,
        enable_progress_bar=terminal,
        enable_model_summary=False,
        logger=TensorBoardLogger(out, name="tensorboard", version=""),
        callbacks=callbacks,
    )

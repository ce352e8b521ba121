"""``dvps train``: from a configuration and a data set to a model folder."""

from __future__ import annotations

import argparse
import math
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import lightning.pytorch as lightning
    from torch import Tensor, nn

    from dvps_ros.config import Config
    from dvps_ros.datasets.module import DvpsData
    from dvps_ros.training.callbacks import StopOnSignal
    from dvps_ros.training.module import DvpsModule

CHECKPOINT = "last.ckpt"
MODEL, BEST = "model", "best"


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "train",
        help="train a model",
        description="Trains by a configuration. OUT gets model/ (a model folder, the last one: written at every "
        "validation and at the end), best/ (the one of the best validation by DPQ; by PQ or absRel where labels are "
        "missing for that), last.ckpt (from which --resume goes on) and tensorboard/. Ctrl-C or SIGTERM ends after "
        "the current step with all of it written.",
    )
    parser.add_argument("--config", required=True, help="configuration file, e.g. config/street.yaml")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="change single values, e.g. data.root=data/street training.max_steps=5000",
    )
    parser.add_argument("--out", type=Path, help="folder of this run (default: runs/<name of the configuration>)")
    parser.add_argument("--resume", action="store_true", help="go on from last.ckpt in OUT")
    parser.add_argument("--init", metavar="MODEL", help="model folder whose weights to start from (default: random)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: %(default)s)")
    parser.add_argument(
        "--check", action="store_true", help="only read every file of the data set, and say what is wrong"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check or train; ``ValueError`` or ``FileNotFoundError`` for a user's mistake, before anything is written."""
    from dvps_ros import resources
    from dvps_ros.config import apply_overrides, load_config

    path = resources.find(args.config)
    config = apply_overrides(load_config(path), args.set)
    return check(config) if args.check else train(config, args, args.out or Path("runs") / path.stem)


def check(config: Config) -> int:
    """Print what every split holds; 2 when a file is broken."""
    from dvps_ros.datasets.check import check as check_split

    reports = [check_split(config.data, split) for split in ("train", "val")]
    print(*reports, sep="\n")
    return 0 if all(report.ok for report in reports) else 2


def train(config: Config, args: argparse.Namespace, out: Path) -> int:
    """Train into ``out``; 0 when done, 128 + signal when stopped by one.

    Raises ``ValueError`` or ``FileNotFoundError``, before anything is written but for a broken sample;
    ``DeviceMemoryError`` when memory runs out on the way, ``ConnectionError`` when another process of the run is gone.
    """
    import torch

    from dvps_ros import resources
    from dvps_ros.network import checkpoints
    from dvps_ros.training.callbacks import StopOnSignal
    from dvps_ros.training.memory import keep_freed_memory
    from dvps_ros.training.module import DvpsModule
    from dvps_ros.training.resume import completed_batches

    checkpoint = out / CHECKPOINT
    if checkpoint.exists() and not args.resume:
        raise ValueError(f"{out} holds a run already: go on with --resume, or choose another --out")
    hardware = _hardware(args.device, config)
    done = completed_batches(checkpoint, config) if args.resume else 0
    weights = checkpoints.load(resources.find(args.init), "cpu").state_dict() if args.init else None
    data = _data(config, done, hardware["devices"] * hardware["num_nodes"])
    data.setup("fit")

    keep_freed_memory()
    torch.manual_seed(config.training.seed)  # random weights
    module = DvpsModule(config)
    if weights is not None:
        _start_from(module.net, weights, args.init)
    if config.training.check_memory:
        _check_memory(config, hardware)
    with StopOnSignal() as stop:
        trainer = _trainer(config, out, hardware, stop, _measure(data))
        _fit(trainer, module, data, checkpoint, args.resume, stop)
        if trainer.is_global_zero:
            checkpoints.save(module.net, out / MODEL, config)
            print(f"{'stopped at' if stop.received else 'trained to'} step {trainer.global_step}: {out / MODEL}")
    return 128 + stop.received if stop.received else 0


def _fit(
    trainer: lightning.Trainer,
    module: DvpsModule,
    data: DvpsData,
    checkpoint: Path,
    resume: bool,
    stop: StopOnSignal,
) -> None:
    """Train, and validate what came after the last validation; what happens to machines is said in one line."""
    from dvps_ros.runtime import DeviceMemoryError
    from dvps_ros.training.memory import ran_out

    training = module.config.training
    try:
        trainer.fit(module, datamodule=data, ckpt_path=str(checkpoint) if resume else None)
        if not stop.received and training.max_steps % training.validate_every:
            trainer.validate(module, datamodule=data, verbose=False)
    except SystemExit:  # Lightning's answer to a KeyboardInterrupt
        if not stop.received:
            raise
    except (RuntimeError, MemoryError) as error:
        if ran_out(error):
            raise DeviceMemoryError(_out_of_memory(trainer, checkpoint)) from error
        if trainer.world_size > 1 and _is_lost(error):
            raise ConnectionError("another process of this run has ended: what it said last is why") from error
        raise


def _measure(data: DvpsData) -> str | None:
    """What models are ranked by, said where it is not DPQ."""
    from dvps_ros.training.best import ranking

    has_panoptic, has_depth = data.val_labels()
    measure = ranking(has_panoptic, has_depth)
    if measure != "DPQ" and int(os.environ.get("RANK", 0)) == 0:
        missing = "depth" if has_panoptic else "panoptic"
        print(f"no {missing} labels to validate with: the best model is that of the best {measure}", file=sys.stderr)
    return measure


def _check_memory(config: Config, hardware: dict[str, Any]) -> None:
    from dvps_ros.training.trial import require_memory

    rank = int(os.environ.get("LOCAL_RANK", 0))
    if hardware["accelerator"] == "cpu" and rank > 0:
        return  # the first process of this machine tries for all
    said = require_memory(config, hardware["accelerator"], hardware["precision"], hardware["devices"])
    if int(os.environ.get("RANK", rank)) == 0:
        print(said, file=sys.stderr, flush=True)


def _is_lost(error: Exception) -> bool:
    """Whether an exchange between processes failed because one of them is gone."""
    import torch.distributed

    closed = "Connection closed by peer" in str(error) or "Connection reset by peer" in str(error)
    return closed or isinstance(error, torch.distributed.DistBackendError | torch.distributed.DistNetworkError)


def _out_of_memory(trainer: lightning.Trainer, checkpoint: Path) -> str:
    after = f"out of memory after step {trainer.global_step}; lower training.batch_size or the crop (data.crop_height, "
    after += "data.crop_width), or data.workers"
    return after + (f", and go on from {checkpoint} with --resume" if checkpoint.exists() else "")


def _start_from(net: nn.Module, weights: dict[str, Tensor], name: str) -> None:
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"the weights of {name} do not fit the configured network") from error


def _hardware(device: str, config: Config) -> dict[str, Any]:
    """Lightning's words for where and how precisely to compute, alone or as one of torchrun's processes."""
    import torch

    cuda = torch.cuda.is_available() if device == "auto" else device == "cuda"
    if cuda and not torch.cuda.is_available():
        raise ValueError("--device cuda: no CUDA device here")
    precision = config.training.precision
    if precision == "16" and not cuda:
        raise ValueError("training.precision 16 needs CUDA; on a CPU use --set training.precision=bf16 (or 32)")
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 0)) or (torch.cuda.device_count() if cuda else 1)
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", 1))
    return {
        "accelerator": "cuda" if cuda else "cpu",
        "devices": local,
        "num_nodes": nodes,
        # a batch without depth labels leaves what computes depth out of the loss
        "strategy": "ddp_find_unused_parameters_true" if local * nodes > 1 else "auto",
        "sync_batchnorm": cuda and local * nodes > 1,
        "precision": {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[precision],
    }


def _quiet() -> None:
    """Silence what Lightning says of itself, and of what is meant as it is."""
    import logging

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        "You're resuming from a checkpoint",  # the sampler goes on where it stopped
        "You have overridden `transfer_batch_to_device`",
        ".*does not have many workers",
        ".*Checkpoint directory",
        ".*LeafSpec.* is deprecated",
        "The number of training batches",
        "You are trying to `self.log.. .*batch_size",
    ):
        warnings.filterwarnings("ignore", message)


def _data(config: Config, done: int, processes: int) -> DvpsData:
    """The configured data set, its training frames from batch ``done`` of the whole run on."""
    from torch.utils.data import DataLoader

    from dvps_ros.datasets.module import DvpsData
    from dvps_ros.training.sampling import ContinuousSampler, continuous_loader

    training = config.training

    class Data(DvpsData):
        def train_dataloader(self) -> DataLoader:
            loader = super().train_dataloader()
            length = training.max_steps * training.accumulate * training.batch_size
            world, rank = self.trainer.world_size, self.trainer.global_rank
            start = done * training.batch_size
            order = ContinuousSampler(len(loader.dataset), training.seed, length, start, rank, world)
            return continuous_loader(loader, order)

    return Data(config, processes)


def _trainer(
    config: Config, out: Path, hardware: dict[str, Any], stop: StopOnSignal, measure: str | None
) -> lightning.Trainer:
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
    _quiet()
    terminal = sys.stderr.isatty()
    skipped = SkippedSamples() if config.data.on_bad_sample == "skip" else None
    progress = Progress(training.log_every, training.batch_size * training.accumulate, skipped, lines=not terminal)
    callbacks = [
        stop,
        ExportModel(out / MODEL, config),  # before the averaging, so that it exports the average
        LabelPictures(training.images, LABEL_SETS[config.labels], config.network.max_depth),
        LearningRateMonitor(),
        *([EMAWeightAveraging(decay=training.ema_decay)] if training.ema_decay > 0 else []),
        *([] if skipped is None else [skipped]),  # before the checkpoint, which keeps its count
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

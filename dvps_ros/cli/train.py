"""``dvps train``: trains a model folder from a configuration and data sets."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvps_ros.cli.arguments import add_settings, composed_name, configured
from dvps_ros.cli.trainer import CHECKPOINT, MODEL, data_of, hardware_of, trainer_of

if TYPE_CHECKING:
    import lightning.pytorch as lightning
    from torch import Tensor, nn

    from dvps_ros.config import Config
    from dvps_ros.datasets.module import DvpsData
    from dvps_ros.training.callbacks import StopOnSignal
    from dvps_ros.training.module import DvpsModule


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "train",
        help="train a model",
        description="Trains a network by a configuration. OUT gets model/ (a model folder with the last state, written "
        "at every validation and at the end), best/ (the model with the best DPQ in validation; PQ or absRel if "
        "labels are missing), last.ckpt (for --resume) and tensorboard/. After Ctrl-C or SIGTERM the current step is "
        "completed and everything is written.",
    )
    parser.add_argument(
        "--config",
        nargs="+",
        required=True,
        metavar="FILE",
        help="configuration, e.g. config/street.yaml; of several files a later one overrides the earlier ones",
    )
    add_settings(parser, "of the configuration")
    parser.add_argument("--out", type=Path, help="folder of this run (default: runs/<names of the configurations>)")
    parser.add_argument("--resume", action="store_true", help="continue from last.ckpt in OUT")
    parser.add_argument("--init", metavar="MODEL", help="model folder with the initial weights (default: random)")
    parser.add_argument(
        "--init-partial",
        action="store_true",
        help="--init may be another network: copy every weight whose name and shape fit, and print what did not fit",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: %(default)s)")
    parser.add_argument(
        "--check", action="store_true", help="only read every file of the data set, and print its faults"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check or train. Raises ``ValueError`` or ``FileNotFoundError`` for a user's mistake, before writing anything."""
    config = configured(args.config, args.set)
    return check(config) if args.check else train(config, args, args.out or Path("runs") / composed_name(args.config))


def check(config: Config) -> int:
    """Print the report on every split; returns 0, or 2 if a file is broken."""
    from dvps_ros.datasets.check import check as check_split
    from dvps_ros.datasets.formats import training_sources, validation_sources

    reports = [check_split(source, "train") for source in training_sources(config.data)]
    reports += [check_split(source, "val") for source in validation_sources(config.data)]
    print(*reports, sep="\n")
    return 0 if all(report.ok for report in reports) else 2


def train(config: Config, args: argparse.Namespace, out: Path) -> int:
    """Train into ``out``; returns 0, or 128 + signal number if a signal stopped it.

    Raises ``ValueError`` or ``FileNotFoundError`` for a user's mistake; except for a broken sample, nothing is written
    then. Raises ``DeviceMemoryError`` if memory runs out, ``ConnectionError`` if another process of the run has ended.
    """
    import torch

    from dvps_ros import checkpoints, resources
    from dvps_ros.checkpoints.preprocessing import refuse_other_pixels
    from dvps_ros.training.callbacks import StopOnSignal
    from dvps_ros.training.memory import keep_freed_memory
    from dvps_ros.training.module import DvpsModule
    from dvps_ros.training.resume import completed_batches

    if args.init_partial and not args.init:
        raise ValueError("--init-partial needs --init, the model to take weights from")
    if config.network.backbone.freeze and not (config.network.backbone.pretrained or args.init or args.resume):
        raise ValueError("network.backbone.freeze needs weights: set network.backbone.pretrained, or give --init")
    config = replace(config, network=checkpoints.with_architecture(config.network))
    checkpoint = out / CHECKPOINT
    if checkpoint.exists() and not args.resume:
        raise ValueError(f"{out} has a run already: continue it with --resume, or choose another --out")
    hardware = hardware_of(args.device, config)
    done = completed_batches(checkpoint, config) if args.resume else 0
    start = checkpoints.load(resources.find(args.init), "cpu") if args.init else None
    data = data_of(config, done, hardware["devices"] * hardware["num_nodes"])
    data.setup("fit")

    keep_freed_memory()
    torch.manual_seed(config.training.seed)  # random weights
    module = DvpsModule(config)
    if start is not None and start.config.backbone.kind == config.network.backbone.kind:  # else it is not copied
        refuse_other_pixels(module.net.backbone.pixels, start.backbone.pixels, args.init)
    if start is not None and args.init_partial and not args.resume:
        checkpoints.load_pretrained(module.net)
        print(f"{args.init}: {checkpoints.take_over(module.net, start.state_dict())}", file=sys.stderr)
    elif start is not None:
        _start_from(module.net, start.state_dict(), args.init)
    elif not args.resume:
        checkpoints.load_pretrained(module.net)
    if config.training.check_memory:
        _check_memory(config, hardware)
    with StopOnSignal() as stop:
        trainer = trainer_of(config, out, hardware, stop, _measure(data))
        if done < config.training.max_steps * config.training.accumulate:
            complete = _fit(trainer, module, data, checkpoint, args.resume, stop)
        else:
            complete = _validate_last(trainer, module, data, checkpoint)
        if trainer.is_global_zero:
            _export(module, config, out, complete, stop, trainer.global_step)
    return 128 + stop.received if stop.received else 0


def _export(module: DvpsModule, config: Config, out: Path, complete: bool, stop: StopOnSignal, step: int) -> None:
    """Write the model of a run that ended at ``step``, if the run is ``complete`` up to there (see ``_fit``)."""
    from dvps_ros import checkpoints

    if not complete:
        print(f"stopped at step {step}, {MODEL} is that of the last validation: --resume goes on")
        return
    checkpoints.save(module.net, out / MODEL, config)
    if stop.received:  # without a validation of this step
        (out / CHECKPOINT).touch()
    print(f"{'stopped at' if stop.received else 'trained to'} step {step}: {out / MODEL}")


def _fit(
    trainer: lightning.Trainer,
    module: DvpsModule,
    data: DvpsData,
    checkpoint: Path,
    resume: bool,
    stop: StopOnSignal,
) -> bool:
    """Train, and validate at the end if the last step had no validation.

    False if a signal ended a step or a validation: the module then need not hold the moving average of the weights.
    Failures of memory or of another process become an exception with one line.
    """
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
        return False
    except (RuntimeError, MemoryError) as error:
        if ran_out(error):
            raise DeviceMemoryError(_out_of_memory(trainer, checkpoint)) from error
        if trainer.world_size > 1 and _is_lost(error):
            raise ConnectionError("another process of this run has ended: see its last message") from error
        raise
    return True


def _validate_last(trainer: lightning.Trainer, module: DvpsModule, data: DvpsData, checkpoint: Path) -> bool:
    """Do the validation of a run's last step, which was interrupted; True."""
    import torch

    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    module.load_state_dict(state["state_dict"])  # the moving average, if there is one
    trainer.fit_loop.load_state_dict(state["loops"]["fit_loop"])  # the number of the step
    trainer.validate(module, datamodule=data, verbose=False)
    return True


def _measure(data: DvpsData) -> str | None:
    """The measure that ranks models, or None; prints a line if it is not DPQ."""
    from dvps_ros.training.best import ranking

    has_panoptic, has_depth, has_both = data.val_labels()
    measure = ranking(has_panoptic, has_depth, has_both)
    if measure != "DPQ" and int(os.environ.get("RANK", 0)) == 0:
        missing = "frame with both kinds of" if has_panoptic and has_depth else "depth" if has_panoptic else "panoptic"
        print(f"no {missing} labels for validation: the best model is the one with the best {measure}", file=sys.stderr)
    return measure


def _check_memory(config: Config, hardware: dict[str, Any]) -> None:
    from dvps_ros.training.trial import require_memory

    rank = int(os.environ.get("LOCAL_RANK", 0))
    if hardware["accelerator"] == "cpu" and rank > 0:
        return  # the first process of this machine tests for all
    warning = require_memory(config, hardware["accelerator"], hardware["precision"], hardware["devices"])
    if int(os.environ.get("RANK", rank)) == 0:
        print(warning, file=sys.stderr, flush=True)


def _is_lost(error: Exception) -> bool:
    """Whether communication between processes failed because one of them has ended."""
    import torch.distributed

    closed = "Connection closed by peer" in str(error) or "Connection reset by peer" in str(error)
    return closed or isinstance(error, torch.distributed.DistBackendError | torch.distributed.DistNetworkError)


def _out_of_memory(trainer: lightning.Trainer, checkpoint: Path) -> str:
    message = f"out of memory after step {trainer.global_step}; lower training.batch_size, the crop (data.crop_height, "
    message += "data.crop_width) or data.workers"
    return message + (f", and continue from {checkpoint} with --resume" if checkpoint.exists() else "")


def _start_from(net: nn.Module, weights: dict[str, Tensor], name: str) -> None:
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"the weights of {name} do not fit the configured network; --init-partial copies those that do"
        ) from error

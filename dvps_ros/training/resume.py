"""Checkpoints that a run goes on from."""

from __future__ import annotations

import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.optimizer import Optimizer

from dvps_ros.config import Config

#: Where a checkpoint holds the configuration it was trained with.
CONFIG_KEY = "dvps_ros.config"


def completed_batches(checkpoint: Path, config: Config) -> int:
    """Batches (of one process) that the run behind a checkpoint has trained on.

    Parameters
    ----------
    checkpoint : a file written during training.
    config : what the run is to go on with; its network must be the checkpoint's.

    Raises
    ------
    FileNotFoundError : no such file.
    ValueError : it is no checkpoint of this program, or of another network, or already beyond ``max_steps``.
    """
    if not checkpoint.is_file():
        raise FileNotFoundError(f"nothing to resume: no {checkpoint}")
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        then, step = state[CONFIG_KEY], int(state["global_step"])
    except (RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{checkpoint} is no checkpoint of dvps train ({type(error).__name__})") from error
    now = plain(config)
    for key, value in now["network"].items():
        if then["network"].get(key) != value:
            raise ValueError(f"{checkpoint}: network.{key} was {then['network'].get(key)}, is {value} now")
    if (then["training"]["ema_decay"] > 0) != (config.training.ema_decay > 0):
        raise ValueError(f"{checkpoint}: training.ema_decay cannot be switched on or off in a resumed run")
    if step >= config.training.max_steps:
        raise ValueError(f"{checkpoint} has reached step {step} of training.max_steps {config.training.max_steps}")
    return step * config.training.accumulate


def with_new_rates(checkpoint: dict[str, Any], optimizer: Optimizer, schedule: LambdaLR) -> None:
    """Change a loaded checkpoint so that a run goes on with the rates and weight decays of a new optimizer.

    The moments and the number of steps stay the checkpoint's. Raises ``ValueError`` where its groups of parameters are
    others, as when ``optimizer.backbone_factor`` becomes 1.
    """
    [state], [course] = checkpoint["optimizer_states"], checkpoint["lr_schedulers"]
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    if sizes != [len(group["params"]) for group in state["param_groups"]]:
        raise ValueError(
            "the changed optimizer settings group the parameters in another way than the checkpoint's: "
            "start anew from its model (--init), or leave optimizer.backbone_factor and optimizer.weight_decay alone"
        )
    course["base_lrs"] = list(schedule.base_lrs)
    rates = [
        base * factor(course["last_epoch"]) for base, factor in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)
    ]
    course["_last_lr"] = rates
    for old, new, rate in zip(state["param_groups"], optimizer.param_groups, rates, strict=True):
        for key, value in new.items():
            if key not in ("params", "lr"):
                old[key] = value
        old["lr"] = rate


def plain(config: Config) -> dict:
    """``config`` as nested dictionaries of numbers, strings and lists."""
    return _lists(asdict(config))


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, list | tuple) else value

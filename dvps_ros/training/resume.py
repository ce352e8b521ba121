"""Checkpoints for resuming a run."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.optimizer import Optimizer

from dvps_ros.checkpoints.folder import WEIGHTS_FILE
from dvps_ros.config import Config

#: Key of the training configuration in a checkpoint.
CONFIG_KEY = "dvps_ros.config"


def completed_batches(checkpoint: Path, config: Config) -> int:
    """Number of batches (of one process) that the run of a checkpoint has trained on.

    Parameters
    ----------
    checkpoint : a file written during training.
    config : the configuration of the resumed run; its network must be that of the checkpoint.

    Raises
    ------
    FileNotFoundError : no such file.
    ValueError : it is not a checkpoint of this program, has another network, or has reached ``max_steps`` and been
        validated there.
    """
    if not checkpoint.is_file():
        raise FileNotFoundError(f"nothing to resume: {checkpoint} does not exist")
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        then, step = state[CONFIG_KEY], int(state["global_step"])
    except (RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{checkpoint} is not a checkpoint of dvps train ({type(error).__name__})") from error
    now = plain(config)
    defaults = plain(Config())
    for section in ("network.backbone", "network"):
        found, wanted = (_settings(settings, section, defaults) for settings in (then, now))
        for key, value in wanted.items():
            if found.get(key) != value:
                raise ValueError(f"{checkpoint}: {section}.{key} was {found.get(key)}, now it is {value}")
    for section, key in (("training", "ema_decay"), ("loss", "pixel_class_weight")):
        before, after = (_settings(settings, section, defaults)[key] > 0 for settings in (then, now))
        if before != after:
            raise ValueError(f"{checkpoint}: {section}.{key} cannot be switched on or off in a resumed run")
    before = _settings(then, "training", defaults)["accumulate"]
    if before != config.training.accumulate:
        raise ValueError(f"{checkpoint}: training.accumulate was {before}, now it is {config.training.accumulate}")
    if step > config.training.max_steps or (step == config.training.max_steps and _is_validated(checkpoint)):
        raise ValueError(f"{checkpoint} is at step {step}; training.max_steps is {config.training.max_steps}")
    return step * config.training.accumulate


def _is_validated(checkpoint: Path) -> bool:
    """Whether the model beside the checkpoint was written after it, as a run does at its end."""
    model = checkpoint.parent / "model" / WEIGHTS_FILE
    return model.is_file() and model.stat().st_mtime_ns >= checkpoint.stat().st_mtime_ns


def _settings(settings: Mapping[str, Any], section: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """One section without its subsections; what an older version of this program did not know has its default."""
    for name in section.split("."):
        settings, defaults = settings.get(name, {}), defaults[name]
    return {key: value for key, value in {**defaults, **settings}.items() if key != "backbone"}


def with_new_rates(checkpoint: dict[str, Any], optimizer: Optimizer, schedule: LambdaLR) -> None:
    """Set the rates and weight decays of a new optimizer in a loaded checkpoint.

    Moments and the number of steps do not change. Raises ``ValueError`` if the parameter groups differ, for example
    because ``optimizer.backbone_factor`` became 1.
    """
    [state], [course] = checkpoint["optimizer_states"], checkpoint["lr_schedulers"]
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    if sizes != [len(group["params"]) for group in state["param_groups"]]:
        raise ValueError(
            "the changed optimizer settings need other parameter groups than those of the checkpoint: "
            "start again from its model (--init), or do not change optimizer.backbone_factor and optimizer.weight_decay"
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

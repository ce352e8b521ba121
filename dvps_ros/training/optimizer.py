"""AdamW with a linear warm-up and polynomial decay (He et al., ICCV 2023, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.optimizer import Optimizer

from dvps_ros.config import OptimizerConfig

_WARMUP_FACTOR = 0.1
#: A part of a backbone that no published weights have.
_NEW = "pyramid"
_NO_DECAY = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm, nn.Embedding)


def parameter_groups(model: nn.Module, config: OptimizerConfig, backbone: str = "backbone") -> list[dict]:
    """AdamW parameter groups: the backbone has a scaled learning rate; norms and embeddings have no weight decay.

    Parameters
    ----------
    model : the module whose trainable parameters are grouped, each once.
    config : rates.
    backbone : name of the submodule (at any depth) whose learning rate is multiplied by ``backbone_factor``.

    Returns
    -------
    Non-empty groups with ``params``, ``lr``, ``weight_decay``.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter, decays in _parameters(model):
        parts = name.split(".")
        scaled = backbone in parts and _NEW not in parts
        rate = config.learning_rate * (config.backbone_factor if scaled else 1.0)
        decay = config.weight_decay if decays else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


def _parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, bool]]:
    seen: set[nn.Parameter] = set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter in seen or not parameter.requires_grad:
                continue
            seen.add(parameter)
            # Query contents, positions, level vectors and bias tables are embeddings, whatever module holds them
            is_map = name.endswith(("weight", "bias")) and not isinstance(module, _NO_DECAY)
            yield f"{prefix}.{name}", parameter, is_map


def learning_rate_factor(step: int, config: OptimizerConfig, max_steps: int) -> float:
    """Learning rate of a 0-based step relative to the peak: linear warm-up from 0.1, times (1 - step / max)^power."""
    warmup = 1.0 if step >= config.warmup_steps else _WARMUP_FACTOR + (1 - _WARMUP_FACTOR) * step / config.warmup_steps
    return warmup * max(0.0, 1 - step / max_steps) ** config.power


def build_optimizer(model: nn.Module, config: OptimizerConfig, max_steps: int) -> tuple[Optimizer, LambdaLR]:
    """The optimizer of ``model`` and its schedule, which must be stepped after each optimizer step."""
    optimizer = AdamW(parameter_groups(model, config), lr=config.learning_rate)
    return optimizer, LambdaLR(optimizer, lambda step: learning_rate_factor(step, config, max_steps))

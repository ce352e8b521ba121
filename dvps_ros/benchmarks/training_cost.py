"""Time and memory of a training step on synthetic images, with and without guidance."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from dvps_ros import network
from dvps_ros.config import Config
from dvps_ros.structures import Target
from dvps_ros.training.criterion import Criterion
from dvps_ros.training.optimizer import build_optimizer

#: Number of segments of a synthetic image, as in a street of Cityscapes.
SEGMENTS = 40
#: Weight of both guidance losses in the paper.
_WEIGHT = 0.1
#: Parts of a step, in order.
PARTS = ("forward", "losses", "backward", "update")


@dataclass
class StepCosts:
    """Costs of the timed steps of one kind.

    Attributes
    ----------
    seconds : time of each step by part: forward, losses, backward, update (clipping and optimizer).
    processor : processor seconds of each step, of all threads of the process; waiting is not included.
    peak : peak memory in bytes during these steps: resident memory of the process, on CUDA memory of the device.
    """

    seconds: list[dict[str, float]] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    peak: int = 0

    def totals(self) -> list[float]:
        """Seconds of each whole step."""
        return [sum(parts.values()) for parts in self.seconds]


def measure_steps(
    config: Config, size: tuple[int, int], device: torch.device, dtype: torch.dtype, pairs: int, warm_up: int
) -> dict[str, StepCosts]:
    """Train a network with random weights for ``warm_up + pairs`` pairs of steps, without and with guidance.

    Parameters
    ----------
    config : network, losses, optimizer and batch size; the two guidance weights are replaced.
    size : (H, W) of the images.
    dtype : float32, or bfloat16 or float16 for automatic mixed precision.

    Returns
    -------
    Costs of ``plain`` and ``guided`` steps, which take turns.
    """
    torch.manual_seed(config.training.seed)
    net = network.build(config.network).to(device).train()
    losses = {
        kind: replace(config.loss, semantic_to_depth_weight=weight, depth_to_semantic_weight=weight)
        for kind, weight in (("plain", 0.0), ("guided", _WEIGHT))
    }
    width = config.network.width
    criteria = {kind: Criterion(loss, config.network.classes, width).to(device) for kind, loss in losses.items()}
    trained = nn.ModuleList((net, *criteria.values()))
    step = _Step(config, net, trained, device, dtype)
    batch = synthetic_batch(config.training.batch_size, size, config.network.max_depth, device)
    costs = {kind: StepCosts() for kind in criteria}
    for pair in range(warm_up + pairs):
        for kind, criterion in criteria.items():
            _restart_peak(device)
            before = time.process_time()
            seconds = step(criterion, *batch)
            if pair >= warm_up:
                costs[kind].seconds.append(seconds)
                costs[kind].processor.append(time.process_time() - before)
                costs[kind].peak = max(costs[kind].peak, _peak(device))
    return costs


def cost_table(costs: dict[str, StepCosts]) -> str:
    """Medians of each kind of step, one line each, then the added share of guidance."""
    lines = [f"  {'':8}" + "".join(f"{title:>10}" for title in ("s/step", *PARTS, "cpu s", "peak GiB"))]
    for name, cost in costs.items():
        parts = [statistics.median(step[part] for step in cost.seconds) for part in PARTS]
        row = [statistics.median(cost.totals()), *parts, statistics.median(cost.processor), cost.peak / 2**30]
        lines.append(f"  {name:8}" + "".join(f"{value:10.2f}" for value in row))
    added = _added([cost.totals() for cost in costs.values()])
    processor = _added([cost.processor for cost in costs.values()])
    return "\n".join([*lines, f"guidance adds {added} to a step, {processor} to its processor time"])


def _added(costs: list[list[float]]) -> str:
    """Median over pairs of the added cost of the second step in percent, and the value of each pair."""
    shares = [100 * (guided / plain - 1) for plain, guided in zip(*costs, strict=True)]
    return f"{statistics.median(shares):.1f} % ({', '.join(f'{share:+.1f}' for share in shares)})"


class _Step:
    """One optimizer step, timed by parts."""

    def __init__(
        self, config: Config, net: nn.Module, trained: nn.Module, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.net, self.trained, self.device, self.dtype = net, trained, device, dtype
        self.clip = config.optimizer.clip_norm
        self.optimizer, _ = build_optimizer(trained, config.optimizer, config.training.max_steps)
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)

    def __call__(self, criterion: Criterion, images: Tensor, targets: list[Target]) -> dict[str, float]:
        moments = [self._now()]
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            prediction = self.net(images, layers=True)
            moments.append(self._now())
            loss = sum(criterion(prediction, targets).values())
            moments.append(self._now())
        self.scaler.scale(loss).backward()
        moments.append(self._now())
        self.scaler.unscale_(self.optimizer)
        if self.clip:
            nn.utils.clip_grad_norm_(self.trained.parameters(), self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        moments.append(self._now())
        return {part: moments[i + 1] - moments[i] for i, part in enumerate(PARTS)}

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def synthetic_batch(
    count: int, size: tuple[int, int], max_depth: float, device: torch.device
) -> tuple[Tensor, list[Target]]:
    """Images (B, 3, H, W) uint8 of noise, and targets with ``SEGMENTS`` cells each and depth at every pixel."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, *size), dtype=torch.uint8, generator=generator)
    targets = [target.to(device) for target in _synthetic_targets(count, size, max_depth, generator)]
    return images.to(device), targets


def _synthetic_targets(
    count: int, size: tuple[int, int], max_depth: float, generator: torch.Generator
) -> Iterator[Target]:
    height, width = size
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    for _ in range(count):
        sites = torch.rand(SEGMENTS, 2, generator=generator) * torch.tensor([height, width])
        nearest, owner = torch.full(size, torch.inf), torch.zeros(size, dtype=torch.int32)
        for index, (y, x) in enumerate(sites):
            distance = (rows - y).square() + (columns - x).square()
            owner = torch.where(distance < nearest, index, owner)
            nearest = torch.minimum(distance, nearest)
        present = owner.unique()
        classes = torch.arange(SEGMENTS)[present] % 19
        masks = owner == present[:, None, None]
        panoptic = (owner % 19) * 1000 + owner // 19 + 1
        depth = max_depth * (0.05 + 0.9 * (1 - rows / height)) + 0.1 * (owner % 7)
        yield Target(classes, masks, panoptic.int(), depth.float(), labelled=torch.ones(size, dtype=torch.bool))


def _restart_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif (clear := Path("/proc/self/clear_refs")).exists():
        clear.write_text("5")  # proc(5): resets VmHWM


def _peak(device: torch.device) -> int:
    """Peak memory in bytes; 0 if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)

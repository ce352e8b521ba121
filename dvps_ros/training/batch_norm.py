"""Batch norm over the images of all processes on CPUs, which torch's SyncBatchNorm does not support."""

from __future__ import annotations

import torch
import torch.distributed
from torch import Tensor, nn


class SharedBatchNorm(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` whose training statistics are taken over the maps of all processes.

    Every process must call it equally often, and ``torch.distributed`` must be initialized.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) of any floating type, normalized; B may differ between processes."""
        if not self.training:
            return super().forward(maps)
        full = maps.float() if maps.dtype in (torch.float16, torch.bfloat16) else maps
        pixels = full.new_full((1,), full.numel() / full.shape[1])
        *sums, count = _sum_over_processes(torch.cat((full.sum((0, 2, 3)), pixels))).split(self.num_features)
        mean = sums[0] / count
        # a second reduction, because the mean square minus the squared mean would lose half of the digits
        centered = full - mean[:, None, None]
        variance = _sum_over_processes(centered.square().sum((0, 2, 3))) / count
        unbiased = variance * count / (count - 1).clamp_min(1)
        with torch.no_grad():
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
            for average, value in ((self.running_mean, mean), (self.running_var, unbiased)):
                if average is not None and self.momentum is not None:
                    average.lerp_(value.to(average.dtype), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centered * scale[:, None, None] + self.bias[:, None, None]).to(maps.dtype)


def share_batch_norms(module: nn.Module) -> None:
    """Turn every ``nn.BatchNorm2d`` below ``module`` into a ``SharedBatchNorm`` with the same parameters and names."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            shared = SharedBatchNorm(child.num_features, child.eps, child.momentum)
            for key, value in (*child.named_parameters(), *child.named_buffers()):
                setattr(shared, key, value)
            setattr(module, name, shared.train(child.training))
        else:
            share_batch_norms(child)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        # this process's values enter the sums of all processes
        return _sum_over_processes(gradient.contiguous())


def _sum_over_processes(values: Tensor) -> Tensor:
    return _Sum.apply(values)

"""EfficientNet-Lite0: inverted residuals without squeeze-and-excitation, with ReLU6 (Tan and Le, ICML 2019; its Lite
variant of 2020 for small devices)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: RGB mean and deviation that the published weights were trained with, in thousandths of the 0..255 scale.
PIXELS = ((127000,) * 3, (128000,) * 3)
#: Blocks, kernel, stride of the first, expansion, channels of each stage.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM = 32
#: Stages whose result is a map of the backbone: the last ones at strides 4, 8, 16, 32.
_MAPS = (1, 2, 4, 6)


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, and ReLU6 if ``active``.

    Padded as TensorFlow pads ("same"): with stride 2 an image of even size gets one row and column less at the top and
    left than at the bottom and right. The published weights expect that.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, active: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
        self.active = active
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inputs, H, W), with stride 2 of even H and W -> (B, outputs, H / stride, W / stride)."""
        norm, weight = self.norm, self.conv.weight
        mean, variance = norm.running_mean, norm.running_var
        if norm.training or mean is None or variance is None:
            return self._activate(norm(self._convolve(maps, weight, None)))
        # With statistics that stand still the norm is part of the convolution: one pass over the maps instead of two.
        scale = norm.weight * (variance + norm.eps).rsqrt()
        return self._activate(self._convolve(maps, weight * scale[:, None, None, None], norm.bias - mean * scale))

    def _convolve(self, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        conv = self.conv
        if conv.stride != (1, 1):
            # A row and column of zeros before the kernel shift it by one, as padding the maps would, without a copy.
            weight = F.pad(weight, (1, 0, 1, 0))
        if conv.groups > 1 and weight.requires_grad and torch.is_autocast_enabled("cpu"):
            # The gradient of a depthwise kernel takes up to six times as long in bf16 as in float32 (oneDNN, AMX). The
            # maps stay float32 up to the next 1x1 convolution, at the price of their memory.
            with torch.autocast("cpu", enabled=False):
                shift = None if bias is None else bias.float()
                return F.conv2d(maps.float(), weight.float(), shift, conv.stride, conv.padding, groups=conv.groups)
        return F.conv2d(maps, weight, bias, conv.stride, conv.padding, groups=conv.groups)

    def _activate(self, maps: Tensor) -> Tensor:
        return F.relu6(maps, inplace=True) if self.active else maps


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection (Sandler et al., MobileNetV2, CVPR 2018)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        self.expand = ConvNorm(inputs, hidden, 1) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(hidden, hidden, kernel, stride, groups=hidden)
        self.project = ConvNorm(hidden, outputs, 1, active=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        change = self.project(self.depthwise(self.expand(maps)))
        return maps + change if self.residual else change


class EfficientNetLite0(nn.Module):
    """The features of EfficientNet-Lite0, without the classifier's head; random weights.

    Attributes: ``channels`` of the maps at strides 4, 8, 16, 32.
    """

    channels = tuple(_STAGES[stage][-1] for stage in _MAPS)

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, _STEM, 3, stride=2)
        self.blocks = nn.ModuleList()
        self._kept = set()
        inputs = _STEM
        for stage, (blocks, kernel, stride, expansion, outputs) in enumerate(_STAGES):
            for number in range(blocks):
                self.blocks.append(InvertedResidual(inputs, outputs, kernel, 1 if number else stride, expansion))
                inputs = outputs
            if stage in _MAPS:
                self._kept.add(len(self.blocks) - 1)

    def parts(self) -> list[list[nn.Module]]:
        """The stem, then the blocks that lead to each map."""
        ends = [0, *(number + 1 for number in sorted(self._kept))]
        return [[self.stem], *(list(self.blocks[start:end]) for start, end in pairwise(ends))]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) normalised by ``PIXELS``, H and W multiples of 32 -> maps (B, C_s, H/s, W/s)."""
        maps, kept = self.stem(images), []
        for number, block in enumerate(self.blocks):
            maps = block(maps)
            if number in self._kept:
                kept.append(maps)
        return tuple(kept)

"""Traces of a network at one size of image: what every program is made from."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from dvps_ros.network import DvpsNet

#: What the network itself computes of a prediction; the last two only where it tells the uncertainty of depth.
PARTS = (
    "class_logits",
    "mask_embedding",
    "mask_features",
    "depth_embedding",
    "backup_embedding",
    "depth_features",
    "spread_embedding",
    "backup_spread_embedding",
)


def outputs(uncertainty: bool) -> tuple[str, ...]:
    """A program's outputs, in order: the tensors of a ``Prediction``, with or without those of its uncertainty."""
    return PARTS if uncertainty else tuple(name for name in PARTS if "spread" not in name)


class FlatNetwork(nn.Module):
    """A network whose output is a plain tuple, as programs need it: the tensors of ``outputs``."""

    def __init__(self, net: DvpsNet) -> None:
        super().__init__()
        self.net = net
        self.outputs = outputs(net.config.uncertainty)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) RGB 0..255 to the tensors."""
        prediction = self.net(images, layers=False)
        return tuple(getattr(prediction, name) for name in self.outputs)


def trace(net: nn.Module, images: Tensor) -> torch.export.ExportedProgram:
    """The network's operations on ``images`` (1, 3, H, W), of that size alone."""
    return torch.export.export(net, (images,), strict=False)


def write_onnx(net: FlatNetwork, images: Tensor, path: Path, optimize: bool = True) -> None:
    """Write the ONNX program of ``images`` (1, 3, H, W) float32, input ``images``, outputs ``net.outputs``.

    ``optimize`` folds constants, which doubles the time; OpenVINO and ONNX Runtime do this themselves.
    """
    # Fused attention on the CPU has a memory layout of its own, and views in the traced graph would depend on it.
    with sdpa_kernel(SDPBackend.MATH):
        program = torch.onnx.export(
            net,
            (images,),
            dynamo=True,
            input_names=["images"],
            output_names=list(net.outputs),
            verbose=False,
            optimize=optimize,
        )
    assert program is not None, "dynamo=True gives a program"
    program.save(path)


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress log messages and warnings of exporters, which concern their internals."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

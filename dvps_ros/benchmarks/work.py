"""Floating point operations of a network, and the matrix rate of this machine; their ratio shows the utilization."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

#: Side of the square matrices, and number of products, of which the fastest counts.
_SIDE, _TIMES = 1024, 8


def network_flops(network: nn.Module, *inputs: Tensor) -> int:
    """Floating point operations of one forward pass on ``inputs`` of any shape, two per multiply-add.

    Convolutions, matrix products and attention are counted (``torch.utils.flop_counter``); sampling, norms and
    activations are not.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.requires_grad_(False)  # the counter adds hooks to tensors with gradients, which inference mode forbids
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            network(*inputs)
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
    return counter.get_total_flops()


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating point operations per second of a matrix product, the machine's fastest operation.

    It uses the threads that torch is set to.
    """
    first, second = (torch.rand(_SIDE, _SIDE, device=device).to(dtype) for _ in range(2))
    fastest = float("inf")
    for _ in range(_TIMES):
        start = time.perf_counter()
        first @ second
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        fastest = min(fastest, time.perf_counter() - start)
    return 2 * _SIDE**3 / fastest

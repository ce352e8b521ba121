"""How much a network computes for a picture, and how much this machine can: of the two follows how well it is used."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

#: Side of the square matrices, and how often they are multiplied; the fastest time counts.
_SIDE, _TIMES = 1024, 8


def network_flops(network: nn.Module, *inputs: Tensor) -> int:
    """Floating point operations of one forward pass on ``inputs`` of any shape: two for each multiply-and-add.

    Those of convolutions, matrix products and attention are counted, as ``torch.utils.flop_counter`` knows them;
    samplings, norms and activations are not.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.requires_grad_(False)  # the counter hangs hooks on what has gradients, which inference forbids
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            network(*inputs)
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
    return counter.get_total_flops()


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating point operations per second of a matrix product, the fastest that a machine does.

    The threads are those that torch uses.
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

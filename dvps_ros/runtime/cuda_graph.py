"""A network as a CUDA graph: its kernels are recorded once for a size of image, and launched together for each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dvps_ros.runtime.tracing import FlatNetwork

#: Runs before the recording, in which libraries choose their algorithms and allocate their memory.
_WARM_UP = 3


class CudaGraph:
    """Images (1, 3, H, W) of one size to the tensors of ``net.outputs``, which the next call overwrites.

    Launching a small network's thousand kernels one by one takes several times as long as the kernels themselves.

    Parameters
    ----------
    net : on a CUDA device, in float32. Its weights must stay at their addresses.
    size : (H, W), multiples of 32.
    dtype : of the arithmetic; half precision is that of autocast.
    """

    def __init__(self, net: FlatNetwork, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> None:
        self._graph = torch.cuda.CUDAGraph()
        with torch.inference_mode(False), torch.no_grad():
            self._images = torch.zeros(1, 3, *size, device=device)
            # Weights that autocast has cached outside of the recording could be freed before the graph reads them.
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32, cache_enabled=False):
                side = torch.cuda.Stream(device)
                side.wait_stream(torch.cuda.current_stream(device))
                with torch.cuda.stream(side):
                    for _ in range(_WARM_UP):
                        net(self._images)
                torch.cuda.current_stream(device).wait_stream(side)
                # Other threads may use the device meanwhile; and if recording fails, this thread keeps its stream.
                with torch.cuda.device(device), torch.cuda.stream(torch.cuda.current_stream(device)):
                    with torch.cuda.graph(self._graph, stream=side, capture_error_mode="thread_local"):
                        self._outputs = net(self._images)

    def __call__(self, images: Tensor) -> Sequence[Tensor]:
        """The tensors of ``images`` (1, 3, H, W) of any dtype, on the device."""
        self._images.copy_(images)
        self._graph.replay()
        return self._outputs

"""A network that another run time than PyTorch runs."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dvps_ros.config.network import COARSEST_STRIDE
from dvps_ros.errors import first_line
from dvps_ros.labels import LabelSet
from dvps_ros.network import DvpsNet
from dvps_ros.runtime import agreement, run_times
from dvps_ros.runtime.arithmetic import DTYPES
from dvps_ros.runtime.cache import ProgramCache
from dvps_ros.runtime.cuda_graph import CudaGraph
from dvps_ros.runtime.run_times import Program
from dvps_ros.runtime.tracing import PARTS, FlatNetwork
from dvps_ros.structures import Prediction

#: Programs of this many sizes, the last used ones, stay open; a folder of pictures may have more.
_OPEN = 4
#: The area of pictures differs from the one that was asked for by this share: their sides are whole pixels.
_WHOLE = 0.03
_LOG = logging.getLogger("dvps_ros")


class ProgramNetwork(nn.Module):
    """Images (1, 3, H, W) RGB 0..255 -> ``Prediction``, as from the network.

    A program has one size. With the first image of a new size its program is loaded from the cache in a second or two.
    If it is not there, it is exported (half a minute to minutes) and compared with the network. ``compile`` and
    ``cudagraph`` keep no file; they make their program in each process. Raises ``ValueError`` in one line if this
    fails, or if the program gives another scene.

    Parameters
    ----------
    net : a ``DvpsNet`` on its device, in float32.
    run_time : ``compile``, ``cudagraph`` or a key of ``run_times.OPEN``, possible on the device.
    precision : ``"32"``, ``"16"`` or ``"bf16"``.
    labels : the class table, for the comparison.
    optional : whether the network itself is used, after one line in the log, if no program can be made.
    folder : the folder of programs; None: the user's cache.
    """

    def __init__(
        self,
        net: DvpsNet,
        run_time: str,
        precision: str,
        labels: LabelSet,
        optional: bool = False,
        folder: Path | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.run_time = run_time
        self._precision, self._labels, self._optional = precision, labels, optional
        self._cache = ProgramCache(net, folder) if run_time in run_times.OPEN else None
        self._programs: OrderedDict[tuple[int, int], Program] = OrderedDict()
        self._uses_torch = False

    def forward(self, images: Tensor) -> Prediction:
        """Predict one image."""
        if self._uses_torch:
            return self.net(images)
        # padded as in the network, so that one program serves all sizes in between
        right, below = -images.shape[-1] % COARSEST_STRIDE, -images.shape[-2] % COARSEST_STRIDE
        size = (images.shape[-2] + below, images.shape[-1] + right)
        try:
            program = self._program(size)
        except (ValueError, torch.cuda.OutOfMemoryError) as error:
            if not self._optional:
                raise
            reason = first_line(error)
        else:
            return self._predict(program, self._padded(images, size) if right or below else images)
        # Outside the handler: the error held memory of the device.
        _LOG.warning(f"{reason}: the network runs in torch instead")
        self._uses_torch = True
        self._programs.clear()
        torch.cuda.empty_cache()
        return self.net(images)

    def recent(self, pixels: int) -> tuple[int, int] | None:
        """(H, W) of the cached program for about ``pixels`` (0: any) that was used last; None: there is none."""
        size = self._cache.recent() if self._cache is not None else None
        if size is None or not pixels:
            return size
        least = (size[0] - COARSEST_STRIDE + 1) * (size[1] - COARSEST_STRIDE + 1)  # its sides are rounded up
        if not least * (1 - _WHOLE) <= pixels <= size[0] * size[1] * (1 + _WHOLE):
            return None
        return size

    def _padded(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """Images at the top left of ``size``; the rest is the mean color, which the network normalises to zero."""
        padded = (self.net.mean / 1000).expand(1, 3, *size).clone()
        padded[..., : images.shape[-2], : images.shape[-1]] = images
        return padded

    def _predict(self, program: Program, images: Tensor) -> Prediction:
        tensors = program(images.float().contiguous())
        parts: dict[str, Any] = dict(zip(PARTS, tensors, strict=False))
        return Prediction(**parts, max_depth=self.net.config.max_depth)

    def _program(self, size: tuple[int, int]) -> Program:
        if size in self._programs:
            self._programs.move_to_end(size)
            return self._programs[size]
        if self._cache is not None:
            program = self._opened(self._cache, size)
        else:
            program = self._made(_compiled if self.run_time == "compile" else CudaGraph, size)
        self._programs[size] = program
        if len(self._programs) > _OPEN:
            self._programs.popitem(last=False)
        return program

    def _made(self, make: Callable[..., Program], size: tuple[int, int]) -> Program:
        """A program that lives in this process alone, checked."""
        with _in_one_line(f"runtime {self.run_time} does not work here"):
            program = make(FlatNetwork(self.net), size, self._device, DTYPES[self._precision])
            self._check(program, size)
        return program

    def _opened(self, cache: ProgramCache, size: tuple[int, int]) -> Program:
        path = cache.program(size)
        names = FlatNetwork(self.net).outputs
        try:
            program = run_times.OPEN[self.run_time](path, self._device, self._precision, names)
        except Exception as error:  # each run time raises types of its own
            raise ValueError(f"runtime {self.run_time} cannot open {path}: {first_line(error)}") from error
        name = f"{self.run_time} {run_times.version(self.run_time)}, precision {self._precision}"
        if not cache.is_checked(size, name):
            with _in_one_line(f"runtime {self.run_time} cannot run {path}"):
                found = self._check(program, size)
            cache.note(size, name, found)
        return program

    def _check(self, program: Program, size: tuple[int, int]) -> agreement.Agreement:
        found = agreement.compare(
            self._live,
            lambda images: self._predict(program, images),
            size,
            self._labels,
            self._device,
            agreement.FULL if self._precision == "32" else agreement.HALF,
        )
        if not found.good:
            raise ValueError(f"runtime {self.run_time} does not give the network's scene: {found}")
        return found

    def _live(self, images: Tensor) -> Prediction:
        """What a program must give: the network's output in float32; of its own kernels, in their own arithmetic."""
        dtype = DTYPES[self._precision if self.run_time == "cudagraph" else "32"]
        with torch.autocast(self._device.type, dtype, enabled=dtype != torch.float32):
            return self.net(images)

    @property
    def _device(self) -> torch.device:
        return self.net.mean.device


@contextmanager
def _in_one_line(what: str) -> Iterator[None]:
    """Errors of compilers and drivers, which raise many types, become a ``ValueError`` that begins with ``what``."""
    try:
        yield
    except (ValueError, torch.cuda.OutOfMemoryError):
        raise
    except Exception as error:
        raise ValueError(f"{what}: {first_line(error)}") from error


def _compiled(net: FlatNetwork, _: tuple[int, int], device: torch.device, __: torch.dtype) -> Program:
    mode = "reduce-overhead" if device.type == "cuda" else "default"  # CUDA graphs
    return torch.compile(net, dynamic=False, mode=mode)

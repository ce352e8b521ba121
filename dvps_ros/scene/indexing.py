"""Look-up, counting and sorting of index maps; on a CPU NumPy does it where it is faster than torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def look_up(values: Tensor, index: Tensor, otherwise: float | None = None) -> Tensor:
    """``values[index]`` of a table (N,) for an ``index`` >= 0 of any shape; on a CPU four times as fast.

    The index N, of pixels that belong to nobody, gives ``otherwise``; without it, it is an error.
    """
    if otherwise is not None:
        values = torch.cat((values, values.new_tensor([otherwise])))
    return values.index_select(0, index.flatten()).view(index.shape)


def occurrences(index: Tensor, count: int, weights: Tensor | None = None) -> Tensor:
    """(count,) how often each of 0..count - 1 occurs in ``index``, int64 of any shape, or the sum of ``weights`` there.

    int64, and with weights float64.
    """
    index = index.flatten()
    if index.device.type != "cpu":
        return torch.bincount(index, weights, count)
    return torch.from_numpy(np.bincount(index.numpy(), None if weights is None else weights.numpy(), count))


def true_indices(mask: Tensor) -> Tensor:
    """(N,) int64 row-major indices at which a ``mask`` of any shape is true."""
    if mask.device.type != "cpu":
        return mask.flatten().nonzero()[:, 0]
    return torch.from_numpy(np.flatnonzero(mask.numpy()))


def ascending(keys: Tensor) -> Tensor:
    """``keys`` (N,) in ascending order."""
    return torch.from_numpy(np.sort(keys.numpy())) if keys.device.type == "cpu" else keys.sort().values


def ascending_order(keys: Tensor) -> Tensor:
    """(N,) int64 indices of ``keys`` (N,) in ascending order; the order of equal keys is not defined."""
    return torch.from_numpy(np.argsort(keys.numpy())) if keys.device.type == "cpu" else keys.sort().indices

"""Large maps worked on block by block, so that what is computed on the way stays in a processor's cache."""

from __future__ import annotations

from torch import Tensor

#: Pixels of a block.
_PIXELS = 131072


def blocks(like: Tensor, multiple: int = 1) -> list[slice]:
    """The rows of a map ``like`` (H, W) in blocks, each a ``multiple`` of rows high; in one on devices beside CPUs."""
    rows, columns = like.shape
    height = max(_PIXELS // columns // multiple, 1) * multiple if like.device.type == "cpu" else rows
    return [slice(at, min(at + height, rows)) for at in range(0, rows, height)]

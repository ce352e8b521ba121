"""Division of large maps into blocks, so that intermediate results stay in the processor's cache."""

from __future__ import annotations

from torch import Tensor

#: Number of pixels of a block.
_PIXELS = 131072


def blocks(like: Tensor, multiple: int = 1) -> list[slice]:
    """The rows of a map ``like`` (H, W) in blocks, whose height is a multiple of ``multiple``; one block on a GPU."""
    rows, columns = like.shape
    height = max(_PIXELS // columns // multiple, 1) * multiple if like.device.type == "cpu" else rows
    return [slice(at, min(at + height, rows)) for at in range(0, rows, height)]

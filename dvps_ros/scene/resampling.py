"""From the network's pixels to the image's: labels of the nearest one, depth interpolated inside each segment."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dvps_ros.config.network import MAP_STRIDE
from dvps_ros.scene.blocks import blocks


@dataclass(frozen=True)
class Nearest:
    """Which of the network's pixels each pixel of an image reads: the one whose centre is nearest.

    Attributes: ``rows`` (H',) and ``columns`` (W',) int64 of the network's (H, W) ``size``.
    """

    rows: Tensor
    columns: Tensor
    size: tuple[int, int]

    @classmethod
    def of(
        cls, size: tuple[int, int], output_size: tuple[int, int], extent: tuple[float, float], device: torch.device
    ) -> Nearest:
        """From ``size`` (H, W) to ``output_size``, which covers ``extent`` (h, w) of its pixels."""
        rows, columns = (
            ((torch.arange(new, device=device) + 0.5) * (covered / new)).long().clamp(max=old - 1)
            for old, new, covered in zip(size, output_size, extent, strict=True)
        )
        return cls(rows, columns, size)

    def __call__(self, image: Tensor) -> Tensor:
        """(H, W) of any type as (H', W')."""
        return image.index_select(1, self.columns).index_select(0, self.rows)

    def readers(self) -> Tensor:
        """(H, W) int64: how many pixels of the image read each of the network's."""
        rows, columns = (
            torch.bincount(at, minlength=old) for at, old in zip((self.rows, self.columns), self.size, strict=True)
        )
        return rows[:, None] * columns[None, :]

    def samples(self) -> tuple[Tensor, Tensor]:
        """Rows and columns of the image, one for each row and column of the network that is read: a middle reader."""
        return _middle(self.rows, self.size[0]), _middle(self.columns, self.size[1])


def _middle(at: Tensor, old: int) -> Tensor:
    """The middle one of the equal, ascending entries of ``at`` for each of 0..old - 1 that occurs."""
    counts = torch.bincount(at, minlength=old)
    return (counts.cumsum(0) - counts + counts // 2)[counts > 0]


def own_depth(own: Tensor, elsewhere: Tensor, winner: Tensor, nearest: Nearest, extent: tuple[float, float]) -> Tensor:
    """Depth (H', W') in metres of each pixel's own query (N, h, w), that of ``elsewhere`` (h, w) where it has none.

    The same values as upsampling every query's map bilinearly and then picking one per pixel, but only the picked ones
    are interpolated, and at the image's own resolution: depth never blends across a segment's border.

    Parameters
    ----------
    winner : (H, W) int64, the query of each of the network's pixels, -1 for none.
    extent : (h, w) pixels of the network that the image covers.
    """
    maps = torch.cat([own, elsewhere[None]]).float()  # (N+1, h, w)
    count, cells_down, cells_across = maps.shape
    output = len(nearest.rows), len(nearest.columns)
    low_y, weight_y = _bilinear_taps(output[0], extent[0], cells_down, maps.device)
    low_x, weight_x = _bilinear_taps(output[1], extent[1], cells_across, maps.device)
    # One index for all four cells of a pixel: that of the upper left one in all maps, seen from four starts. Past the
    # last cell of a row or column the weight is 0.
    flat = torch.cat([maps.flatten(), maps.new_zeros(cells_across + 1)])
    layer = winner.where(winner >= 0, count - 1).int() * (cells_down * cells_across)
    start = layer.index_select(1, nearest.columns) + low_x  # (H, W')
    taps = [
        (flat[down * cells_across + right :], y, x)
        for down, y in enumerate((weight_y, 1 - weight_y))
        for right, x in enumerate((weight_x, 1 - weight_x))
    ]
    depth = torch.zeros(output, device=maps.device)
    for rows in blocks(depth):
        block = depth[rows]
        at = (start.index_select(0, nearest.rows[rows]) + low_y[rows, None] * cells_across).flatten()
        for cells, y, x in taps:
            block.addcmul_(cells.index_select(0, at).view(block.shape), y[rows, None] * x)
    return depth


def own_deviation(own: Tensor, backup: Tensor, winner: Tensor) -> Tensor:
    """Deviation (H, W), a share of depth, of each network pixel's own query (N, h, w), else of ``backup`` (1, h, w).

    That of its cell: how sure a depth is needs no interpolation. ``winner`` (H, W) int64, -1 for none.
    """
    maps = torch.cat([own, backup])  # (N+1, h, w)
    layer = winner.where(winner >= 0, len(maps) - 1)
    rows, columns = (torch.arange(side, device=maps.device) // MAP_STRIDE for side in winner.shape)
    return maps[layer, rows[:, None], columns[None, :]].float()


def _bilinear_taps(outputs: int, pixels: float, cells: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The lower cell (outputs,) int32 and its weight, align_corners false; the rest is the next cell's.

    ``outputs`` samples cover ``pixels`` image pixels, MAP_STRIDE of which make a cell; there are ``cells`` of them.
    """
    pixel = (torch.arange(outputs, device=device) + 0.5) * (pixels / outputs)
    at = (pixel / MAP_STRIDE - 0.5).clamp(0, cells - 1)
    low = at.floor()
    return low.int(), 1 - (at - low)

"""Resampling from the network's pixels to those of the image: labels by nearest neighbour, depth within segments."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from dvps_ros.config.network import MAP_STRIDE
from dvps_ros.scene.blocks import blocks
from dvps_ros.scene.indexing import look_up


@dataclass(frozen=True)
class Nearest:
    """Nearest neighbour of each image pixel among the network's pixels.

    Attributes: ``rows`` (H',) and ``columns`` (W',) int64 of the network's (H, W) ``size``.
    """

    rows: Tensor
    columns: Tensor
    size: tuple[int, int]

    @staticmethod
    @lru_cache(maxsize=8)
    def of(
        size: tuple[int, int], output_size: tuple[int, int], extent: tuple[float, float], device: torch.device
    ) -> Nearest:
        """The mapping from ``size`` (H, W) to ``output_size``, which covers ``extent`` (h, w) of its pixels.

        It is the same for all frames of a camera, so it is kept, and so is what it computes.
        """
        with torch.inference_mode(False):  # a tensor kept from inference mode could not be used outside of it
            rows, columns = (
                ((torch.arange(new, device=device) + 0.5) * (covered / new)).long().clamp(max=old - 1)
                for old, new, covered in zip(size, output_size, extent, strict=True)
            )
            return Nearest(rows, columns, size)

    def __call__(self, image: Tensor) -> Tensor:
        """An image (H, W) of any type, resampled to (H', W'); itself, if that is the same."""
        return image if self.same else image.index_select(1, self.columns).index_select(0, self.rows)

    @cached_property
    def same(self) -> bool:
        """Whether the image's pixels are the network's."""
        return all(
            len(at) == old and bool((at.diff() == 1).all())
            for at, old in zip((self.rows, self.columns), self.size, strict=True)
        )

    @cached_property
    def readers(self) -> Tensor:
        """(H * W,) float64: number of image pixels that read each of the network's pixels, row by row."""
        with torch.inference_mode(False):
            rows, columns = (
                torch.bincount(at, minlength=old) for at, old in zip((self.rows, self.columns), self.size, strict=True)
            )
            return (rows[:, None] * columns[None, :]).double().flatten()

    @cached_property
    def samples(self) -> tuple[Tensor, Tensor]:
        """Rows and columns of the image: the middle reader of each of the network's rows and columns that are read."""
        with torch.inference_mode(False):
            return _middle(self.rows, self.size[0]), _middle(self.columns, self.size[1])


def _middle(at: Tensor, old: int) -> Tensor:
    """Index of the middle entry of each value 0..old - 1 that occurs in the ascending ``at``."""
    counts = torch.bincount(at, minlength=old)
    return (counts.cumsum(0) - counts + counts // 2)[counts > 0]


def own_depth(own: Tensor, elsewhere: Tensor, winner: Tensor, nearest: Nearest, extent: tuple[float, float]) -> Tensor:
    """Depth (H', W') in metres of each pixel's query in ``own`` (N, h, w), or of ``elsewhere`` (h, w) without a query.

    The values equal bilinear upsampling of every query's map and selection of one per pixel, but only selected values
    are interpolated, at the image's resolution. Depth is never interpolated across a segment's border.

    Parameters
    ----------
    winner : (H, W) int64, query of each of the network's pixels, N for none.
    extent : (h, w) of the network's pixels that the image covers.
    """
    maps = torch.cat([own, elsewhere[None]]).float()  # (N+1, h, w)
    _, cells_down, cells_across = maps.shape
    output = len(nearest.rows), len(nearest.columns)
    low_y, weight_y = _bilinear_taps(output[0], extent[0], cells_down, maps.device)
    low_x, weight_x = _bilinear_taps(output[1], extent[1], cells_across, maps.device)
    # One index serves all four cells of a pixel: that of the upper left cell, with four different offsets. Beyond the
    # last cell of a row or column the weight is 0.
    flat = torch.cat([maps.flatten(), maps.new_zeros(cells_across + 1)])
    layer = winner.int() * (cells_down * cells_across)
    start = (layer if nearest.same else layer.index_select(1, nearest.columns)) + low_x  # (H, W')
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
    """Standard deviation (H, W), as a share of depth, of each pixel's query (N, h, w), else of ``backup`` (1, h, w).

    It is the value of the pixel's cell, without interpolation. ``winner`` is (H, W) int64, N for none.
    """
    maps = torch.cat([own, backup]).float()  # (N+1, h, w)
    _, cells_down, cells_across = maps.shape
    rows, columns = (torch.arange(side, device=maps.device) // MAP_STRIDE for side in winner.shape)
    cell = (winner * (cells_down * cells_across)).add_((rows * cells_across)[:, None]).add_(columns)
    return look_up(maps.flatten(), cell)


def _bilinear_taps(outputs: int, pixels: float, cells: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The lower cell (outputs,) int32 and its weight (align_corners=False); the next cell has the remaining weight.

    ``outputs`` samples cover ``pixels`` pixels of the network; a cell has MAP_STRIDE pixels, and there are ``cells``.
    """
    pixel = (torch.arange(outputs, device=device) + 0.5) * (pixels / outputs)
    at = (pixel / MAP_STRIDE - 0.5).clamp(0, cells - 1)
    low = at.floor()
    return low.int(), 1 - (at - low)

"""Assignment of pixels to kept queries, tile by tile, so that query maps are never upsampled to the whole image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dvps_ros.config import MergeConfig
from dvps_ros.config.network import MAP_STRIDE

#: Side of a tile in cells of the maps; some of its masks fit into the processor's cache.
_TILE = 16
#: Bound of the rounding error of an interpolated probability.
_SLACK = 1e-4


def win_pixels(
    mask_logits: Tensor, scores: Tensor, size: tuple[int, int], config: MergeConfig
) -> tuple[Tensor, Tensor]:
    """Index of each pixel's query (int64; -1: none) and its mask probability there (float32), both of shape ``size``.

    Every pixel belongs to the query with the largest score x mask probability, if the probability reaches the threshold
    and the query keeps enough of its own mask.

    Parameters
    ----------
    mask_logits : (N, h, w) of the kept queries, at 1/4 of the padded image.
    scores : (N,).
    size : (H, W) of the image before padding (at the bottom and right).
    config : thresholds.
    """
    count = len(scores)
    if count == 0:
        return scores.new_full(size, -1, dtype=torch.long), scores.new_zeros(size)
    winner = scores.new_zeros(size, dtype=torch.long)
    probability = scores.new_empty(size)
    own_mask = scores.new_zeros(count)  # number of pixels whose probability reaches the threshold
    height, width = (min(math.ceil(s / MAP_STRIDE) + 1, m) for s, m in zip(size, mask_logits.shape[-2:], strict=True))
    maps = mask_logits[:, :height, :width].float()  # without the padding
    for tile in _tiles(maps, scores, size, config.mask_threshold, own_mask):
        if len(tile.queries) == 0:
            probability[tile.rows, tile.columns] = 0
            continue
        masks = tile.upsampled(maps).sigmoid_()  # (n, rows, columns)
        own_mask[tile.queries] += torch.ge(masks, config.mask_threshold, out=torch.empty_like(masks)).flatten(1).sum(1)
        best, first = masks.mul_(scores[tile.queries, None, None]).max(0)
        owner = tile.queries[first]
        winner[tile.rows, tile.columns] = owner
        probability[tile.rows, tile.columns] = best / scores[owner]
    inside = probability >= config.mask_threshold
    won = torch.bincount(winner[inside], minlength=count)
    stays = (won > 0) & (won >= config.overlap_threshold * own_mask)
    inside &= stays[winner]
    return winner.where(inside, -1), probability.where(inside, 0)


@dataclass(frozen=True)
class _Tile:
    """A rectangle of pixels, and the (n,) queries, in ascending order, that may win pixels or have a mask there."""

    queries: Tensor
    rows: slice
    columns: slice

    def upsampled(self, maps: Tensor) -> Tensor:
        """(n, rows, columns): the maps of the tile's queries, from ``maps`` (N, h, w), interpolated to pixels."""
        top, first, down = _cells(self.rows, maps.shape[1])
        left, second, right = _cells(self.columns, maps.shape[2])
        part = maps[self.queries, top:down, left:right]
        part = F.interpolate(part[None], scale_factor=MAP_STRIDE, mode="bilinear", align_corners=False)[0]
        return part[:, first : first + self.rows.stop - self.rows.start][
            ..., second : second + self.columns.stop - self.columns.start
        ]


def _cells(pixels: slice, cells: int) -> tuple[int, int, int]:
    """First cell that ``pixels`` read, offset of the first pixel from that of the cell, and end of the cells."""
    first = max(pixels.start // MAP_STRIDE - 1, 0)
    return first, pixels.start - first * MAP_STRIDE, min(-(-pixels.stop // MAP_STRIDE) + 1, cells)


def _tiles(maps: Tensor, scores: Tensor, size: tuple[int, int], threshold: float, own_mask: Tensor) -> Iterator[_Tile]:
    """The tiles of the image, each with its queries; adds the pixels of masks that cover whole tiles to ``own_mask``.

    An interpolated value lies between the smallest and the largest value of the cells around its tile. A query cannot
    win if its largest score x probability is below the smallest one of another query. If it is below threshold x score
    of every query that reaches the threshold, the query wins only pixels that none of these reaches, and those have no
    owner. A mask covers all or nothing of a tile if all its values lie on one side of the threshold. On CUDA these
    tests cost more than they save, so the image is one tile.
    """
    if maps.device.type != "cpu":
        yield _Tile(torch.arange(len(maps), device=maps.device), slice(0, size[0]), slice(0, size[1]))
        return
    greatest, least = (sign * _pooled(sign * maps) for sign in (1, -1))  # (N, tiles down, tiles across)
    greatest, least = greatest.sigmoid() + _SLACK, least.sigmoid() - _SLACK
    by_score = scores[:, None, None]
    whole, reaches = least >= threshold, greatest >= threshold
    to_beat = threshold * by_score.where(reaches, math.inf).amin(0)  # infinite where no query reaches the threshold
    may_win = greatest * by_score >= torch.maximum(to_beat, (least * by_score).amax(0))
    wanted = may_win | (reaches & ~whole)
    side = _TILE * MAP_STRIDE
    spans = [[slice(at, min(at + side, length)) for at in range(0, length, side)] for length in size]
    areas = torch.tensor([[(r.stop - r.start) * (c.stop - c.start) for c in spans[1]] for r in spans[0]])
    down, across = areas.shape
    own_mask += ((whole & ~wanted)[:, :down, :across] * areas).flatten(1).sum(1)
    tiles = wanted[:, :down, :across].permute(1, 2, 0).reshape(-1, len(maps))
    queries = tiles.nonzero()[:, 1].split(tiles.sum(1).tolist())
    yield from (_Tile(q, r, c) for q, (r, c) in zip(queries, ((r, c) for r in spans[0] for c in spans[1]), strict=True))


def _pooled(maps: Tensor) -> Tensor:
    """(N, tiles down, tiles across): the largest value of (N, h, w) in each tile and one cell around it."""
    return F.max_pool2d(maps[None], _TILE + 2, _TILE, padding=1, ceil_mode=True)[0]

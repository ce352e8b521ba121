"""Assignment of pixels to kept queries, without upsampling every query's map to the whole image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dvps_ros.config import MergeConfig
from dvps_ros.config.network import MAP_STRIDE
from dvps_ros.scene.indexing import look_up, occurrences

#: Cells of the maps along the side of a block, pixels along it, and pixels of a block.
_CELLS = 2
_SIDE = _CELLS * MAP_STRIDE
_AREA = _SIDE * _SIDE
#: Bound by which a probability may leave the range of its cells: interpolation in float32 errs by 1e-6 of the logits,
#: and where these are so large that it is more, probabilities are 0 or 1.
_SLACK = 1e-4
#: Largest logit; the sigmoid of a tenth of it is exactly 1.
_LARGEST = 1e3


def win_pixels(
    mask_logits: Tensor, scores: Tensor, size: tuple[int, int], config: MergeConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Who owns each pixel.

    Every pixel belongs to the query with the largest score x mask probability, if the probability reaches the threshold
    and the query keeps enough of its own mask. On a CPU queries are compared pixel by pixel only in blocks of the image
    where they compete; on CUDA the choice would cost more than it saves.

    Parameters
    ----------
    mask_logits : (N, h, w) of the kept queries, at 1/4 of the padded image.
    scores : (N,).
    size : (H, W) of the image before padding (at the bottom and right).
    config : thresholds.

    Returns
    -------
    winner : (H, W) int64, index of each pixel's query; N: nobody's.
    probability : (H, W) float32, mask probability of that query, 0 for nobody's.
    pixels : (N,) int64, number of pixels of each query.
    """
    count = len(scores)
    if count == 0:
        nobody = scores.new_zeros(size, dtype=torch.long)
        return nobody, scores.new_zeros(size), scores.new_zeros(0, dtype=torch.long)
    height, width = (min(math.ceil(s / MAP_STRIDE) + 1, m) for s, m in zip(size, mask_logits.shape[-2:], strict=True))
    # Without the padding; a value that is infinite would make its neighbours NaN.
    maps = mask_logits[:, :height, :width].float().clamp(-_LARGEST, _LARGEST)
    compare = _compare_blocks if maps.device.type == "cpu" else _compare_all
    with torch.autocast(maps.device.type, enabled=False):  # training's, in which products would be bf16
        winner, best, own_mask = compare(maps, scores, size, config.mask_threshold)
    probability = best.div_(look_up(scores, winner))
    winner.masked_fill_(~(probability >= config.mask_threshold), count)  # NaN fails, too
    won = occurrences(winner, count + 1)[:count]
    stays = won >= config.overlap_threshold * own_mask
    index = torch.arange(count, device=maps.device).where(stays, count)
    winner = look_up(index, winner, count)
    return winner, probability.masked_fill_(winner == count, 0), won * stays


def _compare_all(maps: Tensor, scores: Tensor, size: tuple[int, int], threshold: float) -> tuple[Tensor, ...]:
    """Best query of each pixel (int64), its score x probability (float32), both of shape ``size``; pixels of each mask.

    The last is (N,) float32.
    """
    masks = F.interpolate(maps[None], scale_factor=MAP_STRIDE, mode="bilinear", align_corners=False)[0]
    masks = masks[:, : size[0], : size[1]].sigmoid()
    own_mask = torch.ge(masks, threshold, out=torch.empty_like(masks)).flatten(1).sum(1)
    best, winner = masks.mul_(scores[:, None, None]).max(0)
    return winner, best, own_mask


def _compare_blocks(maps: Tensor, scores: Tensor, size: tuple[int, int], threshold: float) -> tuple[Tensor, ...]:
    """As ``_compare_all``; pixels that no query can own have some query and the value 0."""
    down, across = (math.ceil(s / _SIDE) for s in size)
    missing = [blocks * _CELLS + 1 - cells for blocks, cells in zip((down, across), maps.shape[1:], strict=True)]
    # beyond the last cells, interpolation repeats them
    padded = F.pad(maps[None], (1, missing[1], 1, missing[0]), mode="replicate")[0]
    candidates, covering = _candidates(padded, scores, threshold)
    in_image = _in_image(size, down, across)
    areas = torch.full((down * across,), float(_AREA)) if in_image is None else in_image.sum(1).float()
    own_mask = covering @ areas
    best = np.full((down * across, _AREA), -1, np.float32)  # less than any value
    winner = np.zeros((down * across, _AREA), np.int16 if len(scores) < 1 << 15 else np.int64)
    for pairs in candidates.split(2 * down * across):  # never more than twice the image's pixels at once
        pixels = _upsampled(padded, pairs, across).sigmoid_()  # (P, 64)
        covered = torch.ge(pixels, threshold, out=torch.empty_like(pixels))  # a sum of float32 is faster than of bool
        if in_image is not None:
            covered *= in_image[pairs.block]
        own_mask.index_add_(0, pairs.query, covered.sum(1))
        _keep_best(best, winner, pairs, pixels.mul_(scores[pairs.query, None]).numpy())
    whole = (down, across, _SIDE, _SIDE), (down * _SIDE, across * _SIDE)
    winner, best = (
        np.ascontiguousarray(values.reshape(whole[0]).swapaxes(1, 2).reshape(whole[1])[: size[0], : size[1]])
        for values in (winner, best)
    )
    return torch.from_numpy(winner).long(), torch.from_numpy(best), own_mask


def _keep_best(best: np.ndarray, winner: np.ndarray, pairs: _Pairs, value: np.ndarray) -> None:
    """Enter the ``value`` (P, 64) of each pair into its block's rows of ``best`` and ``winner`` where it is larger.

    One pass takes the first pair of each block, the next one the second. NumPy needs a third of torch's time for it.
    """
    block, query = pairs.block.numpy(), pairs.query.numpy().astype(winner.dtype)
    pair = np.flatnonzero(np.diff(block, prepend=-1))  # the first one of each block
    left = np.diff(pair, append=len(block))
    while len(pair):
        at, new = block[pair], value[pair]
        before = best[at]
        winner[at] = np.where(new > before, query[pair, None], winner[at])
        best[at] = np.maximum(new, before)
        more = left > 1
        pair, left = pair[more] + 1, left[more] - 1


@dataclass(frozen=True)
class _Pairs:
    """Blocks and queries that have to be looked at there, by block, then by query; both (P,) int64."""

    block: Tensor
    query: Tensor

    def split(self, most: int) -> list[_Pairs]:
        """The same pairs in order, at most ``most`` at a time."""
        return [_Pairs(*part) for part in zip(self.block.split(most), self.query.split(most), strict=True)]


def _candidates(padded: Tensor, scores: Tensor, threshold: float) -> tuple[_Pairs, Tensor]:
    """Queries that may win a pixel of a block or have the border of their mask there; and masks that cover others.

    ``padded`` is (N, 2 * down + 2, 2 * across + 2) for (down, across) blocks. The second result is (N, blocks) float32:
    1 where a mask covers all of a block in which the query is no candidate.

    An interpolated value lies between the smallest and the largest of the block's cells and their neighbours. A query
    cannot win if its largest score x probability is below the smallest one of another query. If it is below threshold x
    the least score, the query wins only pixels where no query reaches the threshold, and those have no owner. A mask
    covers all or nothing of a block if all its values lie on one side of the threshold.
    """
    greatest = _around(padded, torch.maximum).sigmoid_().add_(_SLACK).flatten(1)  # (N, blocks)
    least = _around(padded, torch.minimum).sigmoid_().sub_(_SLACK).flatten(1)
    by_score = scores[:, None]
    whole = least >= threshold
    border = (greatest >= threshold).logical_and_(~whole)
    to_beat = least.mul_(by_score).amax(0).clamp_min_(threshold * float(scores.min()))
    wanted = (greatest.mul_(by_score) >= to_beat).logical_or_(border)
    block, query = np.divmod(np.flatnonzero(np.ascontiguousarray(wanted.numpy().T)), len(scores))
    return _Pairs(torch.from_numpy(block), torch.from_numpy(query)), (whole & ~wanted).float()


def _around(padded: Tensor, choose: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """``choose`` (maximum or minimum) of each block's cells and those beside it.

    ``padded`` as in ``_candidates`` -> (N, down, across). Its row 2b is the cell above block b.
    """
    rows = choose(padded[:, ::2], padded[:, 1::2])
    rows = choose(rows[:, :-1], rows[:, 1:])
    columns = choose(rows[..., ::2], rows[..., 1::2])
    return choose(columns[..., :-1], columns[..., 1:])


def _upsampled(padded: Tensor, pairs: _Pairs, across: int) -> Tensor:
    """(P, 64) float32: the pixels of each pair's block, bilinear between the centres of cells; ``across`` in a row."""
    height, width = padded.shape[1:]
    corner = (pairs.query * height + pairs.block // across * _CELLS) * width + pairs.block % across * _CELLS
    reach = torch.arange(_CELLS + 2)
    near = padded.flatten()[corner[:, None] + (reach[:, None] * width + reach).flatten()]  # (P, 16)
    at = (torch.arange(_SIDE) + 0.5) / MAP_STRIDE + 0.5  # of pixels, in cells from the centre of the first
    taps = (1 - (at - reach[:, None]).abs()).clamp_min(0)  # (4, 8)
    return near @ torch.einsum("ir,jc->ijrc", taps, taps).reshape(-1, _AREA)


def _in_image(size: tuple[int, int], down: int, across: int) -> Tensor | None:
    """(blocks, 64) bool: which pixels of the blocks belong to the image; None if all do."""
    if all(side % _SIDE == 0 for side in size):
        return None
    rows, columns = (
        (torch.arange(blocks * _SIDE) < side).view(blocks, _SIDE)
        for side, blocks in zip(size, (down, across), strict=True)
    )
    return (rows[:, None, :, None] & columns[None, :, None, :]).reshape(down * across, _AREA)

"""Parts of a mask that lie far from each other: one query has then found several things."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from dvps_ros.config.network import MAP_STRIDE

#: Masks are sampled once per cell of the network's maps, in its middle.
_MIDDLE = MAP_STRIDE // 2
#: Samples from which a part is a thing of its own; a smaller one stays with the largest part.
_FEWEST = 2


def split_parts(winner: Tensor, things: Tensor, gap: int) -> tuple[Tensor, Tensor]:
    """Things whose mask consists of parts with more than about ``gap`` pixels between them, as one thing for each part.

    A network that has learned from few frames joins far things that look alike, and their common box would lie across
    the street between them. A thing behind a pole stays one thing, behind a wider obstacle it becomes two.

    Parameters
    ----------
    winner : (H, W) int64, query of each pixel, N for none.
    things : (N,) bool, which queries are things; stuff is not split.
    gap : pixels, rounded to the spacing of samples; 0: nothing is split.

    Returns
    -------
    part : (H, W) int64, index of each pixel's part, M for none. The largest part of query q has index q.
    query : (M,) int64, query of each part; the first N are 0..N - 1.
    """
    queries = torch.arange(len(things), device=winner.device)
    sampled = winner[_MIDDLE::MAP_STRIDE, _MIDDLE::MAP_STRIDE].cpu().numpy()
    seen = np.bincount(sampled.ravel(), minlength=len(things) + 1)[:-1]
    present = np.flatnonzero((seen > _FEWEST) & things.cpu().numpy())
    if gap == 0 or len(present) == 0:
        return winner, queries
    masks = sampled == present[:, None, None]  # (T, h, w)
    labels = _connected(masks, max(round(gap / (2 * MAP_STRIDE)), 1))
    count = int(labels.max())
    if count == len(present):  # one part each
        return winner, queries
    own = labels[masks]
    thing, size = np.zeros(count + 1, np.int64), np.bincount(own)
    thing[own] = np.broadcast_to(np.arange(len(present))[:, None, None], masks.shape)[masks]
    order = np.lexsort((-size[1:], thing[1:])) + 1  # parts of each thing, the largest first
    largest = np.r_[True, np.diff(thing[order]) > 0]
    new = order[~largest & (size[order] >= _FEWEST)]
    query = present[thing[new]]
    part = winner.masked_fill(winner == len(things), len(things) + len(new))
    for index, (number, of) in enumerate(zip(new.tolist(), query.tolist(), strict=True), len(things)):
        _relabel(part, of, labels[thing[number]] == number, index)
    return part, torch.cat((queries, torch.from_numpy(query).to(winner.device)))


def _relabel(part: Tensor, old: int, cells: np.ndarray, new: int) -> None:
    """In place, ``old`` becomes ``new`` in the pixels of ``part`` (H, W) that belong to ``cells`` (h, w) bool."""
    cell, span = [], []
    for axis, (side, most) in enumerate(zip(part.shape, cells.shape, strict=True)):
        of_pixel = np.minimum(np.arange(side) // MAP_STRIDE, most - 1)  # the last cell has the pixels that remain
        touched = np.flatnonzero(cells.max(1 - axis)[of_pixel])
        span.append(slice(touched[0], touched[-1] + 1))
        cell.append(of_pixel[span[-1]])
    window = part[span[0], span[1]]
    inside = torch.from_numpy(cells[cell[0][:, None], cell[1]]).to(part.device)
    window.masked_fill_((window == old) & inside, new)


def _connected(masks: np.ndarray, radius: int) -> np.ndarray:
    """(T, h, w) number of the connected part of each cell within ``radius`` of ``masks`` (T, h, w) bool, 0 elsewhere.

    Parts count from 1 over all masks.
    """
    things, rows, columns = masks.shape
    tall = np.zeros((things, rows + 2 * radius + 1, columns), np.uint8)  # the masks below each other, apart
    tall[:, :rows] = masks
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    _, labels = cv2.connectedComponents(cv2.dilate(tall.reshape(-1, columns), kernel), connectivity=8)
    return labels.reshape(tall.shape)[:, :rows]

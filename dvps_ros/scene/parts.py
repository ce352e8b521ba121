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
    """Splits things whose mask has parts that are more than ``gap`` pixels apart.

    A network that has learned from few frames joins far things that look alike, and their common box would lie across
    the street between them. A thing behind a pole stays one thing, behind a wider obstacle it becomes two. Masks are
    compared at one sample per ``MAP_STRIDE`` pixels. So parts are split for certain if they are ``gap`` +
    ``MAP_STRIDE`` pixels apart; those with fewer than two samples are never split off.

    Parameters
    ----------
    winner : (H, W) int64, query of each pixel, N for none.
    things : (N,) bool, which queries are things; stuff is not split.
    gap : pixels, rounded down to a multiple of ``MAP_STRIDE``; 0: nothing is split.

    Returns
    -------
    part : (H, W) int64, index of each pixel's part, M for none. The part of query q with most samples has index q, and
        so have pixels of q that lie far from the samples of all its parts.
    query : (M,) int64, query of each part; the first N are 0..N - 1.
    """
    queries = torch.arange(len(things), device=winner.device)
    if gap == 0:
        return winner, queries
    sampled = winner[_MIDDLE::MAP_STRIDE, _MIDDLE::MAP_STRIDE].cpu().numpy()
    seen = np.bincount(sampled.ravel(), minlength=len(things) + 1)[:-1]
    present = np.flatnonzero((seen > _FEWEST) & things.cpu().numpy())
    if len(present) == 0:
        return winner, queries
    masks = sampled == present[:, None, None]  # (T, h, w)
    labels = _connected(masks, gap // MAP_STRIDE)
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


def _connected(masks: np.ndarray, gap: int) -> np.ndarray:
    """(T, h, w) number of the connected part of each cell of, or beside, ``masks`` (T, h, w) bool; elsewhere 0.

    Cells of one mask are connected if at most ``gap`` empty cells lie between them. Parts count from 1 over all masks.
    """
    things, rows, columns = masks.shape
    reach = gap + 1  # cells grown to squares of this side touch if ``gap`` cells lie between them
    tall = np.zeros((things, rows + reach, columns), np.uint8)  # the masks below each other, too far apart to touch
    tall[:, :rows] = masks
    grown = cv2.dilate(tall.reshape(-1, columns), np.ones((reach, reach), np.uint8))
    _, labels = cv2.connectedComponents(grown, connectivity=8)
    return labels.reshape(tall.shape)[:, :rows]

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
    winner : (H, W) int64, query of each pixel, -1 for none.
    things : (N,) bool, which queries are things; stuff is not split.
    gap : pixels, rounded to the spacing of samples; 0: nothing is split.

    Returns
    -------
    part : (H, W) int64, index of each pixel's part, -1 for none. The largest part of query q has index q.
    query : (M,) int64, query of each part; the first N are 0..N - 1.
    """
    queries = torch.arange(len(things), device=winner.device)
    sampled = winner[_MIDDLE::MAP_STRIDE, _MIDDLE::MAP_STRIDE].cpu().numpy()
    seen = np.bincount(sampled.ravel() + 1, minlength=len(things) + 1)[1:]
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
    thing[own] = np.nonzero(masks)[0]
    order = np.lexsort((-size[1:], thing[1:])) + 1  # parts of each thing, the largest first
    largest = np.r_[True, np.diff(thing[order]) > 0]
    new = order[~largest & (size[order] >= _FEWEST)]
    index = present[thing]
    index[new] = len(things) + np.arange(len(new))
    cells = torch.from_numpy(np.where(labels > 0, index[labels], present[:, None, None])).to(winner.device)
    split = torch.from_numpy(np.unique(thing[new])).to(winner.device)
    layer = torch.full((len(things) + 1,), -1, device=winner.device)  # its last entry is for no query, -1
    layer[torch.from_numpy(present).to(winner.device)[split]] = split
    rows, columns = (layer[winner] >= 0).nonzero(as_tuple=True)
    down, across = ((at // MAP_STRIDE).clamp(max=most - 1) for at, most in zip((rows, columns), sampled.shape, strict=True))
    part = winner.clone()
    part[rows, columns] = cells[layer[winner[rows, columns]], down, across]
    return part, torch.cat((queries, torch.from_numpy(present[thing[new]]).to(winner.device)))


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

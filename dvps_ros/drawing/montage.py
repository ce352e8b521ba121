"""Montage of pictures: one row per moment, one column per kind of picture, with headings."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_GAP = 6
_HEADING = 30
_CAPTION = 24
_PAPER = (24, 24, 28)
_INK = (235, 235, 235)
_FAINT = (170, 170, 175)


def compose(
    title: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[np.ndarray]]], height: int = 256
) -> np.ndarray:
    """Compose pictures to one.

    Parameters
    ----------
    title : the line at the top; ASCII, as all texts.
    columns : the heading of each column.
    rows : for each row its caption and one (H, W, 3) uint8 RGB picture per column.
    height : height of every tile in pixels. The first picture of a column sets its width; others are fitted into it.

    Returns
    -------
    (H', W', 3) uint8 RGB.

    Raises
    ------
    ValueError : there are no rows, or a row has another number of pictures than columns.
    """
    if not rows:
        raise ValueError("a montage needs at least one row")
    for caption, pictures in rows:
        if len(pictures) != len(columns):
            raise ValueError(f"row {caption!r} has {len(pictures)} pictures for {len(columns)} columns")
    widths = [round(picture.shape[1] * height / picture.shape[0]) for picture in rows[0][1]]
    lefts = np.cumsum([_GAP, *(width + _GAP for width in widths)])
    canvas = np.full((2 * _HEADING + len(rows) * (_CAPTION + height + _GAP), lefts[-1], 3), _PAPER, np.uint8)
    _write(canvas, title, _GAP, 22, 0.65, _INK)
    for left, heading in zip(lefts, columns, strict=False):
        _write(canvas, heading, left, _HEADING + 22, 0.55, _INK)
    top = 2 * _HEADING
    for caption, pictures in rows:
        _write(canvas, caption, _GAP, top + 17, 0.5, _FAINT)
        top += _CAPTION
        for left, width, picture in zip(lefts, widths, pictures, strict=False):
            canvas[top : top + height, left : left + width] = _fitted(picture, width, height)
        top += height + _GAP
    return canvas


def _fitted(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """``picture``, scaled to fit into ``width`` x ``height`` and centered on the background."""
    factor = min(width / picture.shape[1], height / picture.shape[0])
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    if size != (picture.shape[1], picture.shape[0]):
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    tile = np.full((height, width, 3), _PAPER, np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = picture
    return tile


def _write(canvas: np.ndarray, text: str, left: int, baseline: int, scale: float, color: tuple[int, int, int]) -> None:
    cv2.putText(canvas, text, (int(left), baseline), cv2.FONT_HERSHEY_SIMPLEX, scale, color, 1, cv2.LINE_AA)

"""Text in pictures: tags that do not overlap."""

from __future__ import annotations

import math

import cv2
import numpy as np

Rect = tuple[int, int, int, int]  # left, top, right, bottom in pixels
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def text_width(text: str, height: int) -> float:
    """Width of ``text`` in pixels, with capitals of ``height`` * 0.72 pixels."""
    scale, _ = font(height)
    return cv2.getTextSize(text, _FONT, scale, 1)[0][0]


def font(height: int) -> tuple[float, int]:
    """OpenCV's scale and thickness for capitals ``height`` * 0.72 pixels tall."""
    scale = 0.72 * height / 21  # Hershey capitals are 21 units
    return scale, max(1, round(scale * 1.7))


def tag(
    picture: np.ndarray,
    text: str,
    center: tuple[float, float],
    height: int,
    color: tuple[int, int, int],
    background: tuple[int, int, int] | None,
    taken: list[Rect] | None = None,
) -> None:
    """Write ``text`` into ``picture`` (H, W, 3) uint8 around ``center``, unless it would overlap a ``taken`` rectangle.

    The text has a pill of the ``background`` color behind it, or for None a soft shadow.
    """
    sharp = 4  # draw at this scale and shrink, because OpenCV's strokes are coarse at small sizes
    scale, _ = font(height * sharp)
    thickness = max(2, round(scale * 2.1))
    (wide, _), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    pad = 0.45 * height
    box_w, box_h = math.ceil(wide / sharp + 2 * pad), math.ceil(1.45 * height)
    left = round(min(max(center[0] - box_w / 2, 1), picture.shape[1] - box_w - 1))
    top = round(min(max(center[1] - box_h / 2, 1), picture.shape[0] - box_h - 1))
    rect = (left, top, left + box_w, top + box_h)
    if left < 0 or top < 0 or (taken is not None and any(_touch(rect, other) for other in taken)):
        return
    if taken is not None:
        taken.append(rect)
    canvas = np.zeros((box_h * sharp, box_w * sharp), np.uint8)
    at = (round(pad * sharp), round((box_h / 2 + 0.36 * height) * sharp))
    strokes = cv2.putText(canvas.copy(), text, at, _FONT, scale, 255, thickness, cv2.LINE_AA)
    if background is None:
        halo = cv2.putText(canvas, text, at, _FONT, scale, 255, thickness + 3 * sharp, cv2.LINE_AA)
        back, back_color, strength = cv2.GaussianBlur(halo, (0, 0), sharp), (0, 0, 0), 0.75
    else:
        back, back_color, strength = _pill(canvas), background, 0.82
    area = picture[top : top + box_h, left : left + box_w]
    for layer, tint, share in ((back, back_color, strength), (strokes, color, 1.0)):
        alpha = cv2.resize(layer, (box_w, box_h), interpolation=cv2.INTER_AREA).astype(np.float32)[..., None] / 255
        area[:] = (area * (1 - share * alpha) + np.array(tint, np.float32) * share * alpha).round().astype(np.uint8)


def _pill(canvas: np.ndarray) -> np.ndarray:
    height, width = canvas.shape
    radius = min(height, width) // 4
    pill = canvas.copy()
    cv2.rectangle(pill, (radius, 0), (width - radius - 1, height - 1), 255, -1)
    cv2.rectangle(pill, (0, radius), (width - 1, height - radius - 1), 255, -1)
    for x in (radius, width - radius - 1):
        for y in (radius, height - radius - 1):
            cv2.circle(pill, (x, y), radius, 255, -1)
    return pill


def _touch(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]

"""Cuts: whether two pictures that follow each other show different places."""

from __future__ import annotations

import cv2
import numpy as np

#: Pictures are compared at this many pixels a side, (width, height).
_SIZE = (64, 32)
#: The correlation below which they are not alike, and by how much what is ahead may have grown from one to the other.
_ALIKE, _GROWTH = 0.5, (1.0, 1.2, 1.45)
#: Deviation in grey levels below which there is nothing to see.
_PLAIN = 2.0


def is_cut(before: np.ndarray, now: np.ndarray) -> bool:
    """Whether the middle of a picture is found nowhere in the next one, both (h, w) uint8 grey levels."""
    width, height = _SIZE
    second = cv2.resize(now, _SIZE, interpolation=cv2.INTER_AREA)
    alike = []
    for growth in _GROWTH:
        first = cv2.resize(before, (round(width * growth), round(height * growth)), interpolation=cv2.INTER_AREA)
        top, left = (first.shape[0] - height // 2) // 2, (first.shape[1] - width // 2) // 2
        middle = first[top : top + height // 2, left : left + width // 2]
        if middle.std() < _PLAIN or second.std() < _PLAIN:
            return False
        alike.append(float(cv2.matchTemplate(second, middle, cv2.TM_CCOEFF_NORMED).max()))
    return max(alike) < _ALIKE

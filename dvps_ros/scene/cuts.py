"""Detection of cuts: two consecutive images that show different places."""

from __future__ import annotations

import cv2
import numpy as np

#: Size (width, height) at which images are compared.
_SIZE = (64, 32)
#: Smallest correlation of two images of one place.
_MIN_CORRELATION = 0.5
#: Factors by which the scene ahead may have grown from one image to the next.
_GROWTH = (1.0, 1.2, 1.45)
#: Standard deviation in grey levels below which an image has no texture to compare.
_MIN_TEXTURE = 2.0


def is_cut(before: np.ndarray, now: np.ndarray) -> bool:
    """Whether the central half of ``before`` correlates with no part of ``now``; both (h, w) uint8 grey levels."""
    width, height = _SIZE
    second = cv2.resize(now, _SIZE, interpolation=cv2.INTER_AREA)
    correlations = []
    for growth in _GROWTH:
        first = cv2.resize(before, (round(width * growth), round(height * growth)), interpolation=cv2.INTER_AREA)
        top, left = (first.shape[0] - height // 2) // 2, (first.shape[1] - width // 2) // 2
        middle = first[top : top + height // 2, left : left + width // 2]
        if middle.std() < _MIN_TEXTURE or second.std() < _MIN_TEXTURE:
            return False
        correlations.append(float(cv2.matchTemplate(second, middle, cv2.TM_CCOEFF_NORMED).max()))
    return max(correlations) < _MIN_CORRELATION

"""Error of the scale of depth: predicted / true distance of whole frames."""

from __future__ import annotations

import math

import numpy as np

#: Width of a histogram bin of the logarithm, 1/2000, and number of bins on each side of 0.
_STEP, _STEPS = 0.0005, 8000


class DepthScale:
    """Median and spread over frames of the median ratio of a frame's labelled pixels, limited to e⁻⁴..e⁴."""

    def __init__(self) -> None:
        self._counts = np.zeros(2 * _STEPS + 1, np.int64)

    def update(self, pred: np.ndarray, true: np.ndarray) -> None:
        """Add a frame of distances (H, W) in metres; true 0 = no label. Frames without labelled pixels are ignored."""
        labelled = (true > 0) & np.isfinite(true) & np.isfinite(pred) & (pred > 0)
        if labelled.any():
            step = round(math.log(float(np.median(pred[labelled] / true[labelled]))) / _STEP)
            self._counts[min(max(step, -_STEPS), _STEPS) + _STEPS] += 1

    def compute(self) -> dict[str, float]:
        """``scale``, the median of all frames, and ``scale_error``, the root mean square of their logarithms.

        Both are NaN without frames. Above 1, predicted distances are too large.
        """
        total = int(self._counts.sum())
        if not total:
            return {"scale": math.nan, "scale_error": math.nan}
        # the lower median for an even number of frames
        middle = int(np.searchsorted(np.cumsum(self._counts), (total + 1) // 2))
        logarithms = (np.arange(2 * _STEPS + 1) - _STEPS) * _STEP
        return {
            "scale": math.exp((middle - _STEPS) * _STEP),
            "scale_error": math.sqrt(float(self._counts @ logarithms**2) / total),
        }

    def state(self) -> dict[str, int]:
        """Counts by bin; the sum of the states of all parts is the state of the whole."""
        return {str(step - _STEPS): int(count) for step, count in enumerate(self._counts)}

    def load_state(self, state: dict[str, int]) -> None:
        """Replace the counts."""
        self._counts = np.array([state[str(step - _STEPS)] for step in range(2 * _STEPS + 1)], np.int64)

"""How far the scale of depth is off: the median, over frames, of predicted divided by true distance."""

from __future__ import annotations

import math

import numpy as np

#: Steps of ln that are told apart, half of one in a thousand, and how many there are on each side of 1.
_STEP, _STEPS = 0.0005, 8000


class DepthScale:
    """Each frame counts once, by the median ratio of its labelled pixels; ratios beyond e⁴ count as e⁴."""

    def __init__(self) -> None:
        self._counts = np.zeros(2 * _STEPS + 1, np.int64)

    def update(self, pred: np.ndarray, true: np.ndarray) -> None:
        """Count one frame of distances (H, W); true 0 = no label. A frame without labelled pixels does not count."""
        labelled = (true > 0) & np.isfinite(true) & np.isfinite(pred) & (pred > 0)
        if labelled.any():
            step = round(math.log(float(np.median(pred[labelled] / true[labelled]))) / _STEP)
            self._counts[min(max(step, -_STEPS), _STEPS) + _STEPS] += 1

    def compute(self) -> dict[str, float]:
        """``scale``: the median of all frames (1 where it is right, above where things seem too far); NaN for none."""
        total = int(self._counts.sum())
        if not total:
            return {"scale": math.nan}
        # of an even number of frames the lower of the two in the middle
        middle = int(np.searchsorted(np.cumsum(self._counts), (total + 1) // 2))
        return {"scale": math.exp((middle - _STEPS) * _STEP)}

    def state(self) -> dict[str, int]:
        """Counts by step of ln; states of parts add up, in any order, to the state of the whole."""
        return {str(step - _STEPS): int(count) for step, count in enumerate(self._counts)}

    def load_state(self, state: dict[str, int]) -> None:
        """Replace the counts."""
        self._counts = np.array([state[str(step - _STEPS)] for step in range(2 * _STEPS + 1)], np.int64)

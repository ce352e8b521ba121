"""Error of the scale of depth: predicted / true distance of whole frames."""

from __future__ import annotations

import math

import numpy as np

from dvps_ros.metrics.histogram import LogHistogram

#: Width of a histogram bin of the logarithm, 1/2000, and number of bins on each side of 0.
_STEP, _STEPS = 0.0005, 8000


class DepthScale:
    """Median and error over frames of the median ratio of a frame's labelled pixels, limited to e⁻⁴..e⁴."""

    def __init__(self) -> None:
        self._logarithms = LogHistogram(_STEP, _STEPS)

    def update(self, pred: np.ndarray, true: np.ndarray) -> None:
        """Add a frame of distances (H, W) in metres; true 0 = no label. Frames without labelled pixels are ignored."""
        labelled = (true > 0) & np.isfinite(true) & np.isfinite(pred) & (pred > 0)
        if labelled.any():
            self._logarithms.add(math.log(float(np.median(pred[labelled] / true[labelled]))))

    def compute(self) -> dict[str, float]:
        """``scale``, the median of all frames, and ``scale_error``, the root mean square of their logarithms.

        Both are NaN without frames. Above 1, predicted distances are too large.
        """
        counts = self._logarithms.counts
        total = int(counts.sum())
        if not total:
            return {"scale": math.nan, "scale_error": math.nan}
        return {
            "scale": math.exp(self._logarithms.at((total + 1) // 2)),  # the lower median for an even number of frames
            "scale_error": math.sqrt(float(counts @ self._logarithms.logarithms**2) / total),
        }

    def state(self) -> dict[str, int]:
        """Counts by bin; the sum of the states of all parts is the state of the whole."""
        return self._logarithms.state()

    def load_state(self, state: dict[str, int]) -> None:
        """Replace the counts."""
        self._logarithms.load_state(state)

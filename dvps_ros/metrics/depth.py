"""Errors of metric depth, and calibration of its uncertainty, over all pixels with a label.

Eigen et al., NIPS 2014; Uhrig et al., 3DV 2017 for SILog.
"""

from __future__ import annotations

import math

import numpy as np

from dvps_ros.metrics.histogram import LogHistogram

_SUMS = ("abs_rel", "sq_rel", "sq", "log", "sq_log")
_COUNTS = ("pixels", "invalid", "delta1", "delta2", "delta3", "with_deviation", "within")
#: Sums are multiples of 1 / _STEPS in Python's unbounded integers, so that they do not depend on the order.
_STEPS = 2**32
#: Lower limit in metres of predictions in logarithms.
_NEAREST = 1e-3
#: Ratios of error and deviation are counted in bins of this width of the logarithm, this many on each side of 1.
_RATIO_STEP, _RATIO_STEPS = 0.01, 400
#: Share of normal errors within one standard deviation.
_ONE_DEVIATION = math.erf(math.sqrt(0.5))


class DepthErrors:
    """absRel, sqRel, RMSE, RMSElog, SILog, three delta accuracies, and the share of pixels within one predicted
    standard deviation; each labelled pixel has the same weight."""

    def __init__(self) -> None:
        self._state = dict.fromkeys((*_SUMS, *_COUNTS), 0)
        self._ratios = LogHistogram(_RATIO_STEP, _RATIO_STEPS)

    def update(self, pred: np.ndarray, true: np.ndarray, deviation: np.ndarray | None = None) -> None:
        """Add an image, or a stack of images.

        Parameters
        ----------
        pred, true : metres, of the same shape; true depth 0 = no label. A prediction that is not finite counts as
            ``invalid`` and is left out of the averages.
        deviation : predicted standard deviation of ``pred`` in metres, of the same shape; None if there is none.

        Raises
        ------
        ValueError : shapes differ.
        """
        pred, true = np.asarray(pred, np.float64), np.asarray(true, np.float64)
        if pred.shape != true.shape:
            raise ValueError(f"predicted depth of shape {pred.shape}, true depth of shape {true.shape}")
        labelled = (true > 0) & np.isfinite(true)
        pred, true = pred[labelled], true[labelled]
        finite = np.isfinite(pred)
        if deviation is not None:
            predicted = np.asarray(deviation, np.float64)[labelled][finite]
            self._state["with_deviation"] += predicted.size
            error = np.abs(pred[finite] - true[finite])
            self._state["within"] += int(np.count_nonzero(error <= predicted))
            self._ratios.add(_log_ratio(error, predicted))
        self._state["invalid"] += int(finite.size - np.count_nonzero(finite))
        pred, true = np.maximum(pred[finite], _NEAREST), true[finite]

        difference = pred - true
        log = np.log(pred) - np.log(true)
        ratio = np.exp(np.abs(log))
        for name, values in (
            ("abs_rel", np.abs(difference) / true),
            ("sq_rel", difference**2 / true),
            ("sq", difference**2),
            ("log", log),
            ("sq_log", log**2),
        ):
            self._state[name] += round(float(values.sum()) * _STEPS)
        self._state["pixels"] += true.size
        for power in (1, 2, 3):
            self._state[f"delta{power}"] += int(np.count_nonzero(ratio < 1.25**power))

    def compute(self) -> dict[str, float]:
        """The errors of all images so far; NaN without a labelled pixel.

        Returns
        -------
        ``absRel``, ``sqRel`` (m), ``RMSE`` (m), ``RMSElog``, ``SILog`` (100 * the standard deviation of the log error
        over all pixels, KITTI's scale), ``delta1``, ``delta2``, ``delta3`` (shares 0..1 with ratio below 1.25, 1.25²,
        1.25³), ``pixels`` and ``invalid``. With predicted deviations also ``within``, the share of pixels whose error
        is at most one deviation (0.683 for calibrated normal errors), and ``deviation_scale``, the factor on all
        these deviations that would make it 0.683 (to 1 %, limited to e⁻⁴..e⁴): ``merge.deviation_scale`` times it is
        the calibrated one.
        """
        count = self._state["pixels"]
        mean = {name: self._state[name] / _STEPS / count if count else math.nan for name in _SUMS}
        variance = mean["sq_log"] - mean["log"] ** 2
        return {
            "absRel": mean["abs_rel"],
            "sqRel": mean["sq_rel"],
            "RMSE": math.sqrt(mean["sq"]),
            "RMSElog": math.sqrt(mean["sq_log"]),
            "SILog": 100.0 * math.sqrt(max(variance, 0.0)) if count else math.nan,
            **{f"delta{n}": self._state[f"delta{n}"] / count if count else math.nan for n in (1, 2, 3)},
            **self._calibration(),
            "pixels": count,
            "invalid": self._state["invalid"],
        }

    def _calibration(self) -> dict[str, float]:
        """``within`` and ``deviation_scale``; empty without predicted deviations."""
        if not (predicted := self._state["with_deviation"]):
            return {}
        return {
            "within": self._state["within"] / predicted,
            "deviation_scale": math.exp(self._ratios.at(_ONE_DEVIATION * predicted)),
        }

    def state(self) -> dict[str, int]:
        """Exact integer sums and counts; the sum of the states of all parts is the state of the whole."""
        return self._state | self._ratios.state()

    def load_state(self, state: dict[str, int]) -> None:
        """Replace the sums. Raises ``ValueError`` if they have other names."""
        if unlike := set(state) ^ set(self.state()):
            raise ValueError(f"the state's entries {sorted(unlike)} are missing or unknown")
        self._ratios.load_state(state)
        self._state = {name: int(state[name]) for name in self._state}

    def merge(self, other: DepthErrors) -> None:
        """Add the sums of ``other``."""
        theirs = other.state()
        self.load_state({name: value + theirs[name] for name, value in self.state().items()})


def _log_ratio(error: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Logarithms of the ratios of errors and deviations (N,); -inf without an error, also where the deviation is 0."""
    ratio = np.divide(error, deviation, out=np.full_like(error, np.inf), where=deviation > 0)
    with np.errstate(divide="ignore"):
        return np.log(np.where(error > 0, ratio, 0))

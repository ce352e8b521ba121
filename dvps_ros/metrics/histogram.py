"""Histogram of ratios by their logarithm: counts that can be added, and quantiles of them."""

from __future__ import annotations

import numpy as np


class LogHistogram:
    """Counts of logarithms, each in the nearest of the bins -steps * step, .., 0, .., steps * step.

    Attributes: ``counts`` (2 * steps + 1,) int64.
    """

    def __init__(self, step: float, steps: int) -> None:
        self._step, self._steps = step, steps
        self.counts = np.zeros(2 * steps + 1, np.int64)

    def add(self, logarithms: np.ndarray | float) -> None:
        """Count logarithms of any shape; those beyond the ends, and infinite ones, are in the last bins."""
        bins = np.rint(np.clip(np.ravel(logarithms) / self._step, -self._steps, self._steps)).astype(np.int64)
        self.counts += np.bincount(bins + self._steps, minlength=len(self.counts))

    def at(self, rank: float) -> float:
        """The smallest logarithm with at least ``rank`` counts up to it; 0 < rank <= the sum of the counts."""
        return (int(np.searchsorted(np.cumsum(self.counts), rank)) - self._steps) * self._step

    @property
    def logarithms(self) -> np.ndarray:
        """(2 * steps + 1,) float64, the logarithm of each bin."""
        return (np.arange(len(self.counts)) - self._steps) * self._step

    def state(self) -> dict[str, int]:
        """Counts by bin; the sum of the states of all parts is the state of the whole."""
        return {str(index - self._steps): int(count) for index, count in enumerate(self.counts)}

    def load_state(self, state: dict[str, int]) -> None:
        """Replace the counts. Raises ``KeyError`` if one is missing."""
        self.counts = np.array([state[name] for name in self.state()], np.int64)

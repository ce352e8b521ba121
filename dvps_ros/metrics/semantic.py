"""Intersection over union of classes, of whatever classes the labels tell apart (Everingham et al., IJCV 2010)."""

from __future__ import annotations

from typing import Any

import numpy as np

from dvps_ros.labels import DIVISOR, SemanticTable


class MeanIou:
    """IoU of each label value, and their mean, over everything it was updated with.

    A value may stand for several classes; predicting any of them is right. Of the pixels with value v, those whose
    predicted class is in the value's set are true positives, all others false negatives, unlabelled predictions too. A
    pixel of another value is a false positive of v when its predicted class is in the set of v, and not in that of its
    own value: where a class belongs to two values, it is right for both and wrong, if wrong, for both. A class in no
    set is a false negative where it is predicted, and nobody's false positive. Pixels without a label count for
    nothing. The mean is over the values that the labels have; one that no label has is absent, predicted or not.

    Parameters
    ----------
    table : V values, and the sets of K classes that they may be.
    """

    def __init__(self, table: SemanticTable) -> None:
        self.table = table
        # pixels by value and predicted class; the last column is unlabelled
        self._counts = np.zeros((len(table), len(table.labels) + 1), np.int64)

    def update(self, panoptic: np.ndarray, rows: np.ndarray) -> None:
        """Count one image, or any stack of them.

        Parameters
        ----------
        panoptic : predicted, integers of any shape, class * 1000 + instance, 255000 unlabelled.
        rows : of the table, integers of the same shape, -1 without a label.

        Raises
        ------
        ValueError : shapes differ, or a row is beyond the table.
        """
        panoptic, rows = np.asarray(panoptic).astype(np.int64), np.asarray(rows).astype(np.int64)
        if panoptic.shape != rows.shape:
            raise ValueError(f"predicted map of shape {panoptic.shape}, true map of shape {rows.shape}")
        if rows.size and rows.max() >= len(self.table):
            raise ValueError(f"row {rows.max()} of a table with {len(self.table)} rows")
        labelled = rows >= 0
        classes = panoptic[labelled] // DIVISOR
        width = self._counts.shape[1]
        classes = np.where((classes >= 0) & (classes < width - 1), classes, width - 1)
        found = np.bincount(rows[labelled] * width + classes, minlength=self._counts.size)
        self._counts += found.reshape(self._counts.shape)

    def compute(self) -> dict[str, Any]:
        """The measures so far, 0..100.

        Returns
        -------
        ``{"mIoU", "per_value": {name: IoU}, "absent": [names of values]}``; the mean over nothing is NaN.
        """
        member = np.zeros_like(self._counts, dtype=bool)
        for row, classes in enumerate(self.table.sets):
            member[row, sorted(classes)] = True
        right = np.where(member, self._counts, 0)
        wrong = self._counts - right
        false = member.astype(np.int64) @ wrong.sum(0)  # a class in a pixel's own set is in no wrong count
        hits, pixels = right.sum(1), self._counts.sum(1)
        present = pixels > 0
        values = {
            name: 100.0 * int(hits[row]) / int(pixels[row] + false[row])
            for row, name in enumerate(self.table.names)
            if present[row]
        }
        return {
            "mIoU": float(np.mean(list(values.values()))) if values else float("nan"),
            "per_value": values,
            "absent": [name for row, name in enumerate(self.table.names) if not present[row]],
        }

    def state(self) -> dict[str, np.ndarray]:
        """Whole-number counts (V, K+1); states of parts of a split add up to the state of the whole."""
        return {"counts": self._counts.copy()}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Replace the counts (V, K+1); ``ValueError`` when they are of another table."""
        counts = np.asarray(state["counts"], np.int64)
        if counts.shape != self._counts.shape:
            raise ValueError(f"state of shape {counts.shape}, expected {self._counts.shape}")
        self._counts = counts.copy()

    def merge(self, other: MeanIou) -> None:
        """Add what ``other`` has counted."""
        self.load_state({"counts": self._counts + other._counts})

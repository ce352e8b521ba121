"""Intersection over union of classes, or of the groups of classes that labels distinguish (Everingham et al., 2010)."""

from __future__ import annotations

from typing import Any

import numpy as np

from dvps_ros.labels import DIVISOR, SemanticTable


class MeanIou:
    """IoU of each label value, and their mean, over all images so far.

    A value may stand for several classes, and each of them is a correct prediction. A pixel with value v is a true
    positive of v if its predicted class is in the set of v; otherwise, also without a prediction, it is a false
    negative. A pixel with another value is a false positive of v if its predicted class is in the set of v but not in
    the set of its own value. A class that belongs to two values therefore counts for both. A predicted class in no set
    is a false negative, but no value's false positive. Pixels without a label are ignored. The mean is taken over the
    values that occur in the labels; others are absent, whether predicted or not.

    Parameters
    ----------
    table : V values, each with its set of the K classes.
    """

    def __init__(self, table: SemanticTable) -> None:
        self.table = table
        # number of pixels by value and predicted class; the last column is "no prediction"
        self._counts = np.zeros((len(table), len(table.labels) + 1), np.int64)

    def update(self, panoptic: np.ndarray, rows: np.ndarray) -> None:
        """Add an image, or a stack of images.

        Parameters
        ----------
        panoptic : prediction, integers of any shape, class * 1000 + instance, 255000 unlabelled.
        rows : true rows of the table, integers of the same shape, -1 without a label.

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
        """The measures over all images so far, 0..100.

        Returns
        -------
        ``{"mIoU", "per_value": {name: IoU}, "absent": [names of values]}``; a mean over no value is NaN.
        """
        member = np.zeros_like(self._counts, dtype=bool)
        for row, classes in enumerate(self.table.sets):
            member[row, sorted(classes)] = True
        right = np.where(member, self._counts, 0)
        wrong = self._counts - right
        false = member.astype(np.int64) @ wrong.sum(0)  # ``wrong`` excludes classes in the pixel's own set
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
        """Integer counts (V, K+1); the sum of the states of all parts of a split is the state of the whole."""
        return {"counts": self._counts.copy()}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Replace the counts (V, K+1). Raises ``ValueError`` if they have another table."""
        counts = np.asarray(state["counts"], np.int64)
        if counts.shape != self._counts.shape:
            raise ValueError(f"state of shape {counts.shape}, expected {self._counts.shape}")
        self._counts = counts.copy()

    def merge(self, other: MeanIou) -> None:
        """Add the counts of ``other``."""
        self.load_state({"counts": self._counts + other._counts})

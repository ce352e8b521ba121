"""Depth-aware (video) panoptic quality: DPQ and DVPQ (Qiao et al., ViP-DeepLab, CVPR 2021)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from dvps_ros.labels import VOID, LabelSet
from dvps_ros.metrics.panoptic import JointCounts, PanopticQuality, add_pairs, count_pairs

GROUPS = ("all", "thing", "stuff")


class DepthAwareVideoPanopticQuality:
    """PQ of tubes of k frames, without predicted pixels whose depth is wrong.

    If the true depth is positive and |predicted - true| / true exceeds the threshold, the predicted label becomes void:
    it causes no false positive, but its segment loses the overlap. The true labels do not change. For k > 1 the maps
    of k consecutive frames are joined, and equal ids are one segment. Counts are summed over all windows within each
    sequence. k = 1 gives DPQ, or PQ for the threshold None.

    Parameters
    ----------
    labels : the class table.
    frames : window lengths k.
    thresholds : relative depth errors lambda; None = no depth test.

    Attributes
    ----------
    windows : number of windows of each length.
    depth_windows : number of those whose frames all have true depth.
    """

    def __init__(
        self,
        labels: LabelSet,
        frames: Sequence[int] = (1, 2, 3, 4),
        thresholds: Sequence[float | None] = (None, 0.5, 0.25, 0.1),
    ) -> None:
        if not frames or min(frames) < 1:
            raise ValueError(f"window lengths must be 1 or more, got {tuple(frames)}")
        self.labels = labels
        self.frames = tuple(frames)
        self.thresholds = tuple(thresholds)
        self.windows, self.depth_windows = dict.fromkeys(self.frames, 0), dict.fromkeys(self.frames, 0)
        self._quality = {(k, limit): PanopticQuality(labels) for k in self.frames for limit in self.thresholds}
        self.begin_sequence()

    def begin_sequence(self) -> None:
        """Begin another sequence: no window extends across this call."""
        self._recent: dict[float | None, deque[JointCounts]] = {
            limit: deque(maxlen=max(self.frames)) for limit in self.thresholds
        }

    def update(
        self,
        panoptic_pred: np.ndarray,
        panoptic_true: np.ndarray,
        depth_pred: np.ndarray | None = None,
        depth_true: np.ndarray | None = None,
    ) -> None:
        """Add a whole sequence.

        Parameters
        ----------
        panoptic_pred, panoptic_true : (T, H, W) integers, class * 1000 + instance, 255000 void.
        depth_pred, depth_true : (T, H, W) metres; true depth 0 = no label. Required unless every threshold is None.

        Raises
        ------
        ValueError : shapes differ, ids are not integers, or depth is missing.
        """
        pred, true = np.asarray(panoptic_pred), np.asarray(panoptic_true)
        shapes = {np.shape(a) for a in (pred, true, depth_pred, depth_true) if a is not None}
        if len(shapes) != 1 or pred.ndim != 3:
            raise ValueError(f"a sequence needs maps of one shape (T, H, W), got {sorted(shapes)}")
        if any(limit is not None for limit in self.thresholds) and (depth_pred is None or depth_true is None):
            raise ValueError("a depth threshold needs predicted and true depth")
        self.begin_sequence()
        for t in range(len(pred)):
            self.update_frame(
                pred[t],
                true[t],
                None if depth_pred is None else depth_pred[t],
                None if depth_true is None else depth_true[t],
            )
        self.begin_sequence()

    def update_frame(
        self,
        panoptic_pred: np.ndarray,
        panoptic_true: np.ndarray,
        depth_pred: np.ndarray | None = None,
        depth_true: np.ndarray | None = None,
    ) -> None:
        """Add the next frame of the current sequence, with all windows that end at it.

        Maps are (H, W), otherwise as in ``update``. A frame without true depth (None) counts for the threshold None
        alone, and no window of the other thresholds extends across it. Raises ``ValueError`` if shapes differ or the
        predicted depth is missing.
        """
        error = None
        if any(limit is not None for limit in self.thresholds) and depth_true is not None:
            if depth_pred is None:
                raise ValueError("a depth threshold needs predicted and true depth")
            error = relative_error(depth_pred, depth_true)
            if error.shape != np.shape(panoptic_pred):
                raise ValueError(f"depth of shape {error.shape}, labels of shape {np.shape(panoptic_pred)}")
        for limit in self.thresholds:
            if limit is not None and error is None:
                self._recent[limit].clear()
                continue
            kept = panoptic_pred if limit is None or error is None else without_wrong_depth(panoptic_pred, error, limit)
            self._recent[limit].append(count_pairs(kept, panoptic_true))
        for k in self.frames:
            whole = [limit for limit in self.thresholds if len(self._recent[limit]) >= k]
            self.windows[k] += bool(whole)
            self.depth_windows[k] += any(limit is not None for limit in whole)
            for limit in whole:
                self._quality[k, limit].update_pairs(add_pairs(list(self._recent[limit])[-k:]))

    def quality(self, k: int, threshold: float | None) -> PanopticQuality:
        """The counts of one entry of ``compute``, with SQ and RQ."""
        return self._quality[k, threshold]

    def compute(self) -> dict[str, dict[str, Any]]:
        """All measures of the sequences so far, 0..100.

        Returns
        -------
        ``{"k1/none": {"all", "thing", "stuff", "per_class": {name: PQ}, "absent": [names]}, "k1/0.5": ..}``. Absent
        classes (in neither truth nor prediction) are left out of ``per_class`` and the means. A mean over no class is
        NaN, for example if no sequence has k frames.
        """
        result = {}
        for (k, limit), quality in self._quality.items():
            parts = quality.compute()
            result[entry(k, limit)] = {
                **{group: parts[group]["PQ"] for group in GROUPS},
                "per_class": {name: row["PQ"] for name, row in parts["per_class"].items()},
                "absent": parts["absent"],
            }
        return result

    def means(self) -> dict[str, dict[str, float]]:
        """``{"DPQ": {"all", "thing", "stuff"}, "DVPQ": ..}``: means over the thresholds at k = 1, and over k as well.

        The threshold None and lengths without a window with depth are left out, and so is a mean over no value.
        """
        limits = [limit for limit in self.thresholds if limit is not None]
        seen = [k for k in self.frames if self.depth_windows[k]]
        values = self.compute()
        return {
            name: {
                group: float(np.mean([values[entry(k, limit)][group] for k in lengths for limit in limits]))
                for group in GROUPS
            }
            for name, lengths in (("DPQ", [k for k in seen if k == 1]), ("DVPQ", seen))
            if lengths and limits and (name == "DPQ" or max(lengths) > 1)
        }

    def state(self) -> dict[str, np.ndarray]:
        """(4, K) counts by entry, and (2, F) numbers of windows by length.

        The sum over disjoint sequences is the state of all.
        """
        return {
            "windows": np.array([[n[k] for k in self.frames] for n in (self.windows, self.depth_windows)], np.int64),
            **{entry(k, limit): quality.state() for (k, limit), quality in self._quality.items()},
        }

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Replace all (4, K) counts. Raises ``ValueError`` if the state has other entries."""
        entries = {entry(k, limit): quality for (k, limit), quality in self._quality.items()}
        if set(state) != {"windows", *entries}:
            raise ValueError(f"state with entries {sorted(state)}, expected windows and {sorted(entries)}")
        self.windows, self.depth_windows = (
            {k: int(n) for k, n in zip(self.frames, row, strict=True)} for row in state["windows"]
        )
        for name, quality in entries.items():
            quality.load_state(state[name])

    def merge(self, other: DepthAwareVideoPanopticQuality) -> None:
        """Add the counts of ``other`` on other sequences. Raises ``ValueError`` for other frames or thresholds."""
        mine, theirs = self.state(), other.state()
        if set(mine) != set(theirs):
            raise ValueError(f"cannot merge entries {sorted(theirs)} into {sorted(mine)}")
        self.load_state({name: mine[name] + theirs[name] for name in mine})


def entry(k: int, threshold: float | None) -> str:
    """The name of one measure: ``"k1/0.5"``, ``"k4/none"``."""
    return f"k{k}/{'none' if threshold is None else f'{threshold:g}'}"


def relative_error(pred: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(H, W) float64 |pred - true| / true where the true depth is positive, else 0; NaN where the prediction is NaN.

    Both are (H, W) metres. Raises ``ValueError`` if their shapes differ.
    """
    # float64 first: the difference of two unsigned maps, as from PNG readers, would wrap around
    pred, true = np.asarray(pred, np.float64), np.asarray(true, np.float64)
    if pred.shape != true.shape:
        raise ValueError(f"predicted depth of shape {pred.shape}, true depth of shape {true.shape}")
    labelled = (true > 0) & np.isfinite(true)
    return np.where(labelled, np.abs(pred - true) / np.where(labelled, true, 1.0), 0.0)


def without_wrong_depth(panoptic: np.ndarray, error: np.ndarray, threshold: float) -> np.ndarray:
    """The predicted map (H, W) with void where the relative depth error exceeds ``threshold`` or is NaN."""
    return np.where(error <= threshold, np.asarray(panoptic).astype(np.int64), VOID)
